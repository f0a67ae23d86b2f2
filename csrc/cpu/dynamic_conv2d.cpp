// CPU: divides the planes among threads; the arithmetic is in dynamic_conv2d_simd.cpp. Every result belongs to one
// band of one plane and one thread, so results do not depend on threads, batch or run.

#include "dynamic_conv2d.h"

#include <tuple>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "checks.h"
#include "cpu/dynamic_conv2d_simd.h"
#include "cpu/instruction_set.h"
#include "cpu/plane_shape.h"
#include "cpu/raw.h"
#include "cpu/sums.h"
#include "serve.h"

namespace rpstn {
namespace {

using at::Tensor;
using Gradients = std::tuple<Tensor, Tensor>;

// Multiply-adds of one band are `rows` x width x taps.
int64_t grain(const DynamicConv2dShape& s, int64_t rows, int64_t width) {
  return worth_a_thread(rows * width * s.kernel_h * s.kernel_w);
}

Tensor dynamic_conv2d_cpu(
    const Tensor& features, const Tensor& kernels, int64_t top, int64_t left, int64_t bottom, int64_t right) {
  check_dynamic_conv2d(features, kernels, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels);
  const auto shape = plane_shape(features, kernels, top, left, bottom, right);
  auto out = empty_result({features.size(0), features.size(1), shape.out_height, shape.out_width},
                          features.options().dtype(dtype));
  const auto f = dense(features, dtype), k = dense(kernels, dtype);
  if (out.numel() == 0) return out;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "dynamic_conv2d", [&] {
    const auto simd = (*RPSTN_SELECT(dynamic_conv2d_simd<Raw<scalar_t>::type>))();
    const auto *f_data = input<scalar_t>(f), *k_data = input<scalar_t>(k);
    auto* out_data = output<scalar_t>(out);
    const bool past_caches = stored_past_caches(shape, out.nbytes());
    const Bands bands = bands_for_threads(shape, shape.out_height, shape.out_width);
    at::parallel_for(
        0, shape.planes * bands.count, grain(shape, bands.rows, shape.out_width), [&](int64_t begin, int64_t end) {
          if (bands.count == 1) {
            simd.forward(shape, f_data, k_data, out_data, past_caches, begin, end);
          } else {
            simd.forward_bands(shape, bands.rows, f_data, k_data, out_data, past_caches, begin, end);
          }
        });
  });
  return out;
}

// In bands of the features' rows.
template <typename scalar_t>
void features_in_bands(
    const DynamicConv2dSimd<scalar_t>& simd, const DynamicConv2dShape& s, const scalar_t* grad, const scalar_t* kernels,
    scalar_t* grad_features, bool past_caches) {
  const Bands bands = bands_for_threads(s, s.height, s.width);
  at::parallel_for(0, s.planes * bands.count, grain(s, bands.rows, s.width), [&](int64_t begin, int64_t end) {
    simd.features_bands(s, bands.rows, grad, kernels, grad_features, past_caches, begin, end);
  });
}

// In bands of the output's rows, whose parts are added in their order.
template <typename scalar_t, typename acc_t>
void kernels_in_bands(
    const DynamicConv2dSimd<scalar_t>& simd, const DynamicConv2dShape& s, const scalar_t* grad, const scalar_t* features,
    acc_t* grad_kernels, const at::TensorOptions& options) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  const Bands bands(s.out_height, s.out_width, s.kernel_h);
  const auto parts = at::empty({s.planes * bands.count, taps}, options);
  auto* part = parts.template mutable_data_ptr<acc_t>();
  at::parallel_for(
      0, s.planes * bands.count, grain(s, bands.rows, s.out_width), [&](int64_t begin, int64_t end) {
        simd.kernels_bands(s, bands.rows, grad, features, part, begin, end);
      });
  for (int64_t p = 0; p < s.planes; ++p)
    add_in_order(bands.count, taps, part + p * bands.count * taps, grad_kernels + p * taps);
}

Gradients dynamic_conv2d_backward_cpu(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, int64_t top, int64_t left,
    int64_t bottom, int64_t right, bool need_features, bool need_kernels) {
  check_dynamic_conv2d_backward(grad_out, features, kernels, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels);
  const auto shape = plane_shape(features, kernels, top, left, bottom, right);
  const bool whole = Bands(shape.height, shape.width, shape.kernel_h).count == 1 &&
                     Bands(shape.out_height, shape.out_width, shape.kernel_h).count == 1;
  const auto acc = accumulate_dtype(dtype);
  auto grad_features = empty_gradient_result(features, dtype, need_features);
  auto grad_kernels = empty_gradient(kernels, whole ? dtype : acc, need_kernels);
  const auto d = dense(grad_out, dtype), f = dense(features, dtype), k = dense(kernels, dtype);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "dynamic_conv2d_backward", [&] {
    using raw_t = Raw<scalar_t>::type;
    using acc_t = Accumulate<raw_t>::type;
    const auto simd = (*RPSTN_SELECT(dynamic_conv2d_simd<raw_t>))();
    const auto *d_data = input<scalar_t>(d), *f_data = input<scalar_t>(f), *k_data = input<scalar_t>(k);
    auto* grad_f = need_features ? output<scalar_t>(grad_features) : nullptr;
    const bool past_caches = stored_past_caches(shape, grad_features.nbytes());
    // By itself where planes are cut: because they are large, or because they are fewer than the threads.
    if (grad_f != nullptr && (!whole || bands_for_threads(shape, shape.height, shape.width).count > 1)) {
      features_in_bands(simd, shape, d_data, k_data, grad_f, past_caches);
      grad_f = nullptr;
    }
    if (!whole) {
      if (!need_kernels) return;
      return kernels_in_bands(simd, shape, d_data, f_data, grad_kernels.template mutable_data_ptr<acc_t>(),
                              grad_kernels.options().dtype(acc));
    }
    auto* grad_k = need_kernels ? output<scalar_t>(grad_kernels) : nullptr;
    if (grad_f == nullptr && grad_k == nullptr) return;
    at::parallel_for(
        0, shape.planes, grain(shape, shape.out_height, shape.out_width), [&](int64_t begin, int64_t end) {
          simd.backward(shape, d_data, f_data, k_data, grad_f, grad_k, past_caches, begin, end);
        });
  });
  return {as_dtype(grad_features, features.scalar_type()), as_dtype(grad_kernels, kernels.scalar_type())};
}

}  // namespace

void serve_dynamic_conv2d(torch::Library& m) {
  m.impl("dynamic_conv2d", &dynamic_conv2d_cpu);
  m.impl("dynamic_conv2d_backward", &dynamic_conv2d_backward_cpu);
}

}  // namespace rpstn
