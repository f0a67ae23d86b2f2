// Compiled once per instruction set, RPSTN_ISA naming its namespace; the loops are in planes.h.

#include "cpu/dynamic_conv2d_simd.h"

#include "cpu/planes.h"

namespace rpstn::RPSTN_ISA {
namespace {

// This plane, if it is one of those before `end`.
template <typename scalar_t>
Ahead plane_ahead(const scalar_t* planes, int64_t plane, int64_t end, int64_t size) {
  if (plane >= end) return {};
  return {planes + plane * size, size * static_cast<int64_t>(sizeof(scalar_t))};
}

}  // namespace

template <typename scalar_t>
void dynamic_conv2d_planes(
    const DynamicConv2dShape& s, const scalar_t* features, const scalar_t* kernels, scalar_t* output,
    int64_t begin, int64_t end) {
  using acc_t = typename Accumulate<scalar_t>::type;
  const int64_t size = s.height * s.width, out_size = s.out_height * s.out_width, taps = s.kernel_h * s.kernel_w;
  Plane<acc_t> plane(s);
  const Scratch<acc_t> unrounded(std::is_same_v<scalar_t, acc_t> ? 0 : out_size);
  for (int64_t p = begin; p < end; ++p) {
    plane.set_features(features + p * size);
    rounded_into(output + p * out_size, out_size, unrounded.data,
                 [&](acc_t* out) {
                   plane.output(kernels + p * taps, out, plane_ahead(features, p + 1, end, size));
                 });
  }
}

template <typename scalar_t>
void dynamic_conv2d_backward_planes(
    const DynamicConv2dShape& s, const scalar_t* grad_output, const scalar_t* features, const scalar_t* kernels,
    scalar_t* grad_features, scalar_t* grad_kernels, int64_t begin, int64_t end) {
  using acc_t = typename Accumulate<scalar_t>::type;
  const int64_t size = s.height * s.width, out_size = s.out_height * s.out_width, taps = s.kernel_h * s.kernel_w;
  PlaneGradients<acc_t> plane(s);
  const Scratch<acc_t> unrounded(std::is_same_v<scalar_t, acc_t> ? 0 : larger(size, taps));
  for (int64_t p = begin; p < end; ++p) {
    const Ahead next_gradient = plane_ahead(grad_output, p + 1, end, out_size);
    plane.set_gradient(grad_output + p * out_size);
    if (grad_features != nullptr) {
      const Ahead ahead = grad_kernels != nullptr ? plane_ahead(features, p, end, size) : next_gradient;
      rounded_into(grad_features + p * size, size, unrounded.data,
                   [&](acc_t* out) { plane.features_gradient(kernels + p * taps, out, ahead); });
    }
    if (grad_kernels != nullptr) {
      plane.set_features(features + p * size);
      rounded_into(grad_kernels + p * taps, taps, unrounded.data,
                   [&](acc_t* out) { plane.kernel_gradient(out, next_gradient); });
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
RPSTN_INSTANTIATE(Half)
RPSTN_INSTANTIATE(BFloat16)

}  // namespace rpstn::RPSTN_ISA
