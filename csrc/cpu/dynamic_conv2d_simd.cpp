// Compiled once per instruction set, RPSTN_ISA naming its namespace; the loops are in planes.h and plane_gradients.h.

#include "cpu/dynamic_conv2d_simd.h"

#include "cpu/plane_gradients.h"
#include "cpu/planes.h"

namespace rpstn::RPSTN_ISA {
namespace {

// This plane, if it is one of those before `end`.
template <typename scalar_t>
Ahead plane_ahead(const scalar_t* planes, int64_t plane, int64_t end, int64_t size) {
  if (plane >= end) return {};
  return {planes + plane * size, size * static_cast<int64_t>(sizeof(scalar_t))};
}

template <typename scalar_t>
void forward(
    const DynamicConv2dShape& s, const scalar_t* features, const scalar_t* kernels, scalar_t* output, bool past_caches,
    int64_t begin, int64_t end) {
  using acc_t = typename Accumulate<scalar_t>::type;
  const int64_t size = s.height * s.width, out_size = s.out_height * s.out_width, taps = s.kernel_h * s.kernel_w;
  const bool streams = past_caches && std::is_same_v<scalar_t, acc_t>;
  Plane<acc_t> plane(s);
  const Scratch<acc_t> unrounded(std::is_same_v<scalar_t, acc_t> ? 0 : out_size);
  for (int64_t p = begin; p < end; ++p) {
    plane.set_features(features + p * size);
    rounded_into(output + p * out_size, out_size, unrounded.data,
                 [&](acc_t* out) {
                   plane.output(kernels + p * taps, out, streams, plane_ahead(features, p + 1, end, size));
                 });
  }
  if (streams) finish_stores();
}

template <typename scalar_t>
void backward(
    const DynamicConv2dShape& s, const scalar_t* grad_output, const scalar_t* features, const scalar_t* kernels,
    scalar_t* grad_features, scalar_t* grad_kernels, bool past_caches, int64_t begin, int64_t end) {
  using acc_t = typename Accumulate<scalar_t>::type;
  const int64_t size = s.height * s.width, out_size = s.out_height * s.out_width, taps = s.kernel_h * s.kernel_w;
  const bool streams = past_caches && std::is_same_v<scalar_t, acc_t>;
  if constexpr (std::is_same_v<scalar_t, acc_t>) {
    if (grad_kernels != nullptr && in_one_pass<scalar_t>(s)) {
      BothGradients<acc_t> both(s);
      for (int64_t p = begin; p < end; ++p) {
        both.compute(grad_output + p * out_size, features + p * size, kernels + p * taps,
                     grad_features != nullptr ? grad_features + p * size : nullptr, grad_kernels + p * taps, streams);
      }
      if (streams) finish_stores();
      return;
    }
  }
  PlaneGradients<acc_t> plane(s);
  const Scratch<acc_t> unrounded(std::is_same_v<scalar_t, acc_t> ? 0 : larger(size, taps));
  for (int64_t p = begin; p < end; ++p) {
    const Ahead next_gradient = plane_ahead(grad_output, p + 1, end, out_size);
    plane.set_gradient(grad_output + p * out_size);
    if (grad_features != nullptr) {
      const Ahead ahead = grad_kernels != nullptr ? plane_ahead(features, p, end, size) : next_gradient;
      rounded_into(grad_features + p * size, size, unrounded.data,
                   [&](acc_t* out) { plane.features_gradient(kernels + p * taps, out, streams, ahead); });
    }
    if (grad_kernels != nullptr) {
      plane.set_features(features + p * size);
      rounded_into(grad_kernels + p * taps, taps, unrounded.data,
                   [&](acc_t* out) { plane.kernel_gradient(out, next_gradient); });
    }
  }
  if (streams) finish_stores();
}

// Calls body(plane, first row, last row) for bands [begin, end) of `rows` of each plane's `height` rows.
template <typename Body>
void for_bands(int64_t height, int64_t rows, int64_t begin, int64_t end, Body body) {
  const int64_t bands = (height + rows - 1) / rows;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t first = i % bands * rows;
    body(i / bands, first, first + rows < height ? first + rows : height);
  }
}

template <bool kTurned, typename scalar_t>
void correlate_bands(
    const DynamicConv2dShape& s, int64_t rows, const scalar_t* input, const scalar_t* kernels, scalar_t* output,
    bool past_caches, int64_t begin, int64_t end) {
  using acc_t = typename Accumulate<scalar_t>::type;
  const bool streams = past_caches && std::is_same_v<scalar_t, acc_t>;
  Plane<acc_t> plane(largest_band(s, rows));
  const Scratch<acc_t> unrounded(std::is_same_v<scalar_t, acc_t> ? 0 : rows * s.out_width);
  for_bands(s.out_height, rows, begin, end, [&](int64_t p, int64_t first, int64_t last) {
    plane.set_band(band_of(s, first, last), input + p * s.height * s.width);
    rounded_into(output + (p * s.out_height + first) * s.out_width, (last - first) * s.out_width, unrounded.data,
                 [&](acc_t* out) {
                   plane.template output<kTurned>(kernels + p * s.kernel_h * s.kernel_w, out, streams, {});
                 });
  });
  if (streams) finish_stores();
}

template <typename scalar_t>
void features_bands(
    const DynamicConv2dShape& s, int64_t rows, const scalar_t* grad_output, const scalar_t* kernels,
    scalar_t* grad_features, bool past_caches, int64_t begin, int64_t end) {
  correlate_bands<true>(transposed(s), rows, grad_output, kernels, grad_features, past_caches, begin, end);
}

template <typename scalar_t, typename acc_t>
void kernels_bands(
    const DynamicConv2dShape& s, int64_t rows, const scalar_t* grad_output, const scalar_t* features, acc_t* parts,
    int64_t begin, int64_t end) {
  PlaneGradients<acc_t> plane(largest_band(s, rows));
  acc_t* part = parts + begin * s.kernel_h * s.kernel_w;
  for_bands(s.out_height, rows, begin, end, [&](int64_t p, int64_t first, int64_t last) {
    plane.set_band(band_of(s, first, last), features + p * s.height * s.width);
    plane.set_gradient_of_band(grad_output + (p * s.out_height + first) * s.out_width);
    plane.kernel_gradient(part, {});
    part += s.kernel_h * s.kernel_w;
  });
}

}  // namespace

template <typename scalar_t>
DynamicConv2dSimd<scalar_t> dynamic_conv2d_simd() {
  using acc_t = typename Accumulate<scalar_t>::type;
  return {&forward<scalar_t>, &backward<scalar_t>, &correlate_bands<false, scalar_t>, &features_bands<scalar_t>,
          &kernels_bands<scalar_t, acc_t>};
}

template DynamicConv2dSimd<double> dynamic_conv2d_simd<double>();
template DynamicConv2dSimd<float> dynamic_conv2d_simd<float>();
template DynamicConv2dSimd<Half> dynamic_conv2d_simd<Half>();
template DynamicConv2dSimd<BFloat16> dynamic_conv2d_simd<BFloat16>();

}  // namespace rpstn::RPSTN_ISA
