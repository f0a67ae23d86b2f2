// CPU: divides samples into bands of output rows (forward) and groups of channels (backward); the arithmetic is in
// dynamic_match_simd.cpp. The division depends on the sizes alone and sums over samples are added in their order, so
// results do not depend on threads or run, nor a sample's on its batch.

#include "dynamic_match.h"

#include <algorithm>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "checks.h"
#include "cpu/dynamic_match_simd.h"
#include "cpu/instruction_set.h"
#include "cpu/plane_shape.h"
#include "cpu/raw.h"
#include "cpu/sums.h"
#include "first_copy.h"

namespace rpstn {
namespace {

using at::Tensor;

// Rows of a band: its part of every joint and of a group of channels stays in the nearest caches.
int64_t band_rows(const DynamicConv2dShape& s) {
  constexpr int64_t kElements = 512;
  return std::clamp<int64_t>(kElements / std::max<int64_t>(1, s.out_width) / 4 * 4, 4, 64);
}

Tensor dynamic_match_cpu(
    const Tensor& features, const Tensor& kernels, const Tensor& weight, const Tensor& bias, int64_t top,
    int64_t left, int64_t bottom, int64_t right) {
  check_dynamic_match(features, kernels, weight, bias, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels, weight, bias);
  const DynamicMatchShape shape{
      features.size(1), weight.size(0), plane_shape(features, kernels, top, left, bottom, right)};
  const auto& s = shape.plane;
  auto out = at::empty({features.size(0), shape.joints, s.out_height, s.out_width}, features.options().dtype(dtype));
  const auto f = dense(features, dtype), k = dense(kernels, dtype);
  const auto w = dense(weight, accumulate_dtype(dtype)), b = dense(bias, accumulate_dtype(dtype));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "dynamic_match", [&] {
    using raw_t = Raw<scalar_t>::type;
    using acc_t = Accumulate<raw_t>::type;
    const auto simd = (*RPSTN_SELECT(dynamic_match_simd<raw_t>))();
    const auto *f_data = input<scalar_t>(f), *k_data = input<scalar_t>(k);
    const auto *w_data = w.const_data_ptr<acc_t>(), *b_data = b.const_data_ptr<acc_t>();
    auto* out_data = output<scalar_t>(out);
    const int64_t rows = band_rows(s), bands = (s.out_height + rows - 1) / rows;
    const int64_t work = shape.channels * rows * s.out_width * (s.kernel_h * s.kernel_w + shape.joints);
    at::parallel_for(0, features.size(0) * bands, worth_a_thread(work), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t sample = i / bands, begin = i % bands * rows;
        simd.forward(
            shape, begin, std::min(s.out_height, begin + rows), f_data + sample * shape.channels * s.height * s.width,
            k_data + sample * shape.channels * s.kernel_h * s.kernel_w, w_data, b_data,
            out_data + sample * shape.joints * s.out_height * s.out_width);
      }
    });
  });
  return out;
}

DynamicMatchBackward dynamic_match_backward_cpu(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, const Tensor& weight, int64_t top,
    int64_t left, int64_t bottom, int64_t right, bool need_features, bool need_kernels, bool need_weight,
    bool need_bias) {
  check_dynamic_match_backward(grad_out, features, kernels, weight, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels, weight);
  const auto acc = accumulate_dtype(dtype);
  const DynamicMatchShape shape{
      features.size(1), weight.size(0), plane_shape(features, kernels, top, left, bottom, right)};
  const auto& s = shape.plane;
  const int64_t samples = features.size(0), out_size = s.out_height * s.out_width;
  const auto empty = [](at::IntArrayRef sizes, bool needed, at::TensorOptions options) {
    return at::empty(needed ? sizes : at::IntArrayRef{0}, options);
  };
  auto grad_features = empty(features.sizes(), need_features, features.options().dtype(dtype));
  auto grad_kernels = empty(kernels.sizes(), need_kernels, kernels.options().dtype(dtype));
  auto grad_weight = empty(weight.sizes(), need_weight, weight.options().dtype(acc));
  auto grad_bias = empty({shape.joints}, need_bias, weight.options().dtype(acc));
  const auto d = dense(grad_out, dtype), f = dense(features, dtype), k = dense(kernels, dtype);
  const auto w = dense(weight, acc);
  // Each sample's part of the gradients of weight and bias.
  const auto weight_parts = at::empty({need_weight ? samples * weight.numel() : 0}, w.options());
  const auto bias_parts = at::empty({need_bias ? samples * shape.joints : 0}, w.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "dynamic_match_backward", [&] {
    using raw_t = Raw<scalar_t>::type;
    using acc_t = Accumulate<raw_t>::type;
    const auto simd = (*RPSTN_SELECT(dynamic_match_simd<raw_t>))();
    const auto *d_data = input<scalar_t>(d), *f_data = input<scalar_t>(f), *k_data = input<scalar_t>(k);
    const auto* w_data = w.const_data_ptr<acc_t>();
    auto* gf_data = need_features ? output<scalar_t>(grad_features) : nullptr;
    auto* gk_data = need_kernels ? output<scalar_t>(grad_kernels) : nullptr;
    auto *gw_data = need_weight ? weight_parts.template mutable_data_ptr<acc_t>() : nullptr,
         *gb_data = need_bias ? bias_parts.template mutable_data_ptr<acc_t>() : nullptr;
    const auto advanced = [](auto* data, int64_t by) { return data == nullptr ? data : data + by; };
    if (need_features || need_kernels || need_weight) {
      const int64_t groups = (shape.channels + kMatchChannels - 1) / kMatchChannels;
      const int64_t work = kMatchChannels * out_size * (3 * s.kernel_h * s.kernel_w + 2 * shape.joints);
      at::parallel_for(0, samples * groups, worth_a_thread(work), [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          const int64_t sample = i / groups, begin = i % groups * kMatchChannels;
          const int64_t planes = sample * shape.channels;
          simd.backward(
              shape, begin, std::min(shape.channels, begin + kMatchChannels),
              d_data + sample * shape.joints * out_size, f_data + planes * s.height * s.width,
              k_data + planes * s.kernel_h * s.kernel_w, w_data, advanced(gf_data, planes * s.height * s.width),
              advanced(gk_data, planes * s.kernel_h * s.kernel_w),
              advanced(gw_data, planes * shape.joints));
        }
      });
    }
    if (need_weight) {
      add_in_order(samples, weight.numel(), gw_data, grad_weight.template mutable_data_ptr<acc_t>());
    }
    if (need_bias) {
      at::parallel_for(0, samples, worth_a_thread(shape.joints * out_size), [&](int64_t first, int64_t last) {
        simd.sum_planes((last - first) * shape.joints, out_size, d_data + first * shape.joints * out_size,
                        gb_data + first * shape.joints);
      });
      add_in_order(samples, shape.joints, gb_data, grad_bias.template mutable_data_ptr<acc_t>());
    }
  });
  return {as_dtype(grad_features, features.scalar_type()), as_dtype(grad_kernels, kernels.scalar_type()),
          as_dtype(grad_weight, weight.scalar_type()), as_dtype(grad_bias, weight.scalar_type())};
}

TORCH_LIBRARY_IMPL(rpstn_ext, CPU, m) {
  if (!first_copy()) return;
  m.impl("dynamic_match", &dynamic_match_cpu);
  m.impl("dynamic_match_backward", &dynamic_match_backward_cpu);
}

}  // namespace
}  // namespace rpstn
