#include "cpu/dynamic_conv2d_simd.h"

namespace rpstn::RPSTN_ISA {

template <typename scalar_t>
void dynamic_conv2d_planes(
    const DynamicConv2dShape& s, const scalar_t* features, const scalar_t* kernels, scalar_t* output,
    int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p) {
    const scalar_t* f = features + p * s.height * s.width;
    const scalar_t* k = kernels + p * s.kernel_h * s.kernel_w;
    for (int64_t y = 0; y < s.out_height; ++y) {
      for (int64_t x = 0; x < s.out_width; ++x) {
        scalar_t total = 0;
        for (int64_t i = 0; i < s.kernel_h; ++i) {
          for (int64_t j = 0; j < s.kernel_w; ++j) {
            const int64_t v = y + i - s.pad_top, u = x + j - s.pad_left;
            if (v >= 0 && v < s.height && u >= 0 && u < s.width) total += k[i * s.kernel_w + j] * f[v * s.width + u];
          }
        }
        output[(p * s.out_height + y) * s.out_width + x] = total;
      }
    }
  }
}

template <typename scalar_t>
void dynamic_conv2d_backward_planes(
    const DynamicConv2dShape& s, const scalar_t* grad_output, const scalar_t* features, const scalar_t* kernels,
    scalar_t* grad_features, scalar_t* grad_kernels, int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p) {
    const scalar_t* f = features + p * s.height * s.width;
    const scalar_t* k = kernels + p * s.kernel_h * s.kernel_w;
    const scalar_t* d = grad_output + p * s.out_height * s.out_width;
    scalar_t* gf = grad_features ? grad_features + p * s.height * s.width : nullptr;
    for (int64_t n = 0; gf && n < s.height * s.width; ++n) gf[n] = 0;
    for (int64_t i = 0; i < s.kernel_h; ++i) {
      for (int64_t j = 0; j < s.kernel_w; ++j) {
        double total = 0;
        for (int64_t y = 0; y < s.out_height; ++y) {
          for (int64_t x = 0; x < s.out_width; ++x) {
            const int64_t v = y + i - s.pad_top, u = x + j - s.pad_left;
            if (v < 0 || v >= s.height || u < 0 || u >= s.width) continue;
            total += d[y * s.out_width + x] * f[v * s.width + u];
            if (gf) gf[v * s.width + u] += d[y * s.out_width + x] * k[i * s.kernel_w + j];
          }
        }
        if (grad_kernels) grad_kernels[(p * s.kernel_h + i) * s.kernel_w + j] = static_cast<scalar_t>(total);
      }
    }
  }
}

#define RPSTN_INSTANTIATE(scalar_t)                                                                                 \
  template void dynamic_conv2d_planes<scalar_t>(                                                                    \
      const DynamicConv2dShape&, const scalar_t*, const scalar_t*, scalar_t*, int64_t, int64_t);                    \
  template void dynamic_conv2d_backward_planes<scalar_t>(                                                           \
      const DynamicConv2dShape&, const scalar_t*, const scalar_t*, const scalar_t*, scalar_t*, scalar_t*, int64_t, \
      int64_t);
RPSTN_INSTANTIATE(float)
RPSTN_INSTANTIATE(double)

}  // namespace rpstn::RPSTN_ISA
