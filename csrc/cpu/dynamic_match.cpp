// CPU: divides samples into bands of output rows (forward), groups of channels and bands of large planes' rows
// (backward); the arithmetic is in dynamic_match_simd.cpp. The division depends on the sizes alone and sums over samples are added in their order, so
// results do not depend on threads or run, nor a sample's on its batch.

#include "dynamic_match.h"

#include <algorithm>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "checks.h"
#include "cpu/dynamic_match_simd.h"
#include "cpu/instruction_set.h"
#include "cpu/plane_shape.h"
#include "cpu/raw.h"
#include "cpu/sums.h"
#include "serve.h"
#include "tuned.h"

namespace rpstn {
namespace {

using at::Tensor;

// Rows of a band: its part of every joint and of a group of channels stays in the nearest caches.
int64_t band_rows(const DynamicConv2dShape& s) {
  constexpr int64_t kElements = 512;
  const int64_t rows = kElements / std::max<int64_t>(1, s.out_width) / 4 * 4;
  return tuned("match_rows", std::clamp<int64_t>(rows, 4, 64));
}

Tensor dynamic_match_cpu(
    const Tensor& features, const Tensor& kernels, const Tensor& weight, const Tensor& bias, int64_t top,
    int64_t left, int64_t bottom, int64_t right) {
  check_dynamic_match(features, kernels, weight, bias, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels, weight, bias);
  const DynamicMatchShape shape{
      features.size(1), weight.size(0), plane_shape(features, kernels, top, left, bottom, right)};
  const auto& s = shape.plane;
  auto out = empty_result({features.size(0), shape.joints, s.out_height, s.out_width}, features.options().dtype(dtype));
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

// Calls body(sample, first channel, last channel, first row, last row) for all groups of channels and bands of `height`
// rows of `samples`, shared out among threads; `work` multiply-adds for each channel and row.
template <typename Body>
void for_groups_and_bands(
    int64_t samples, int64_t channels, int64_t height, const Bands& bands, int64_t work, const Body& body) {
  const int64_t groups = (channels + kMatchChannels - 1) / kMatchChannels;
  const int64_t grain = worth_a_thread(kMatchChannels * std::min(bands.rows, height) * work);
  at::parallel_for(0, samples * groups * bands.count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t channel = i / bands.count % groups * kMatchChannels, row = i % bands.count * bands.rows;
      body(i / (groups * bands.count), channel, std::min(channels, channel + kMatchChannels), row,
           std::min(height, row + bands.rows));
    }
  });
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
  const int64_t samples = features.size(0), channels = shape.channels, joints = shape.joints;
  const int64_t size = s.height * s.width, out_size = s.out_height * s.out_width, taps = s.kernel_h * s.kernel_w;
  const Bands feature_bands(s.height, s.width, s.kernel_h), bands(s.out_height, s.out_width, s.kernel_h);
  const bool whole = feature_bands.count == 1 && bands.count == 1;
  auto grad_features = empty_gradient_result(features, dtype, need_features);
  auto grad_kernels = empty_gradient(kernels, acc, need_kernels);
  auto grad_weight = empty_gradient(weight, acc, need_weight);
  auto grad_bias = at::empty({need_bias ? joints : 0}, weight.options().dtype(acc));
  const auto d = dense(grad_out, dtype), f = dense(features, dtype), k = dense(kernels, dtype);
  const auto w = dense(weight, acc);
  // Each sample's and band's part of the gradients of kernels and weight, each sample's of the bias.
  const auto kernel_parts =
      bands.count == 1 ? grad_kernels : at::empty({need_kernels ? bands.count * kernels.numel() : 0}, w.options());
  const auto weight_parts = at::empty({need_weight ? samples * bands.count * weight.numel() : 0}, w.options());
  const auto bias_parts = at::empty({need_bias ? samples * joints : 0}, w.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "dynamic_match_backward", [&] {
    using raw_t = Raw<scalar_t>::type;
    using acc_t = Accumulate<raw_t>::type;
    const auto simd = (*RPSTN_SELECT(dynamic_match_simd<raw_t>))();
    const auto *d_data = input<scalar_t>(d), *f_data = input<scalar_t>(f), *k_data = input<scalar_t>(k);
    const auto* w_data = w.const_data_ptr<acc_t>();
    auto* gf_data = need_features ? output<scalar_t>(grad_features) : nullptr;
    auto *gk_data = need_kernels ? kernel_parts.template mutable_data_ptr<acc_t>() : nullptr,
         *gw_data = need_weight ? weight_parts.template mutable_data_ptr<acc_t>() : nullptr,
         *gb_data = need_bias ? bias_parts.template mutable_data_ptr<acc_t>() : nullptr;
    const bool past_caches = stored_past_caches(s, grad_features.nbytes());
    const auto advanced = [](auto* data, int64_t by) { return data == nullptr ? data : data + by; };
    if (need_kernels || need_weight || (need_features && whole)) {
      const int64_t work = s.out_width * (3 * taps + 2 * joints);
      for_groups_and_bands(
          samples, channels, s.out_height, bands, work,
          [&](int64_t sample, int64_t begin, int64_t end, int64_t first_row, int64_t last_row) {
            const int64_t planes = sample * channels, part = sample * bands.count + first_row / bands.rows;
            simd.backward(
                shape, begin, end, first_row, last_row, d_data + sample * joints * out_size, f_data + planes * size,
                k_data + planes * taps, w_data, whole ? advanced(gf_data, planes * size) : nullptr,
                advanced(gk_data, part * channels * taps), advanced(gw_data, part * joints * channels), past_caches);
          });
    }
    if (need_features && !whole) {
      for_groups_and_bands(
          samples, channels, s.height, feature_bands, s.width * (taps + joints),
          [&](int64_t sample, int64_t begin, int64_t end, int64_t first_row, int64_t last_row) {
            simd.features_band(
                shape, begin, end, first_row, last_row, d_data + sample * joints * out_size,
                k_data + sample * channels * taps, w_data, gf_data + sample * channels * size, past_caches);
          });
    }
    if (need_kernels && bands.count > 1) {
      auto* total = grad_kernels.template mutable_data_ptr<acc_t>();
      for (int64_t sample = 0; sample < samples; ++sample) {
        const int64_t place = sample * channels * taps;
        add_in_order(bands.count, channels * taps, gk_data + place * bands.count, total + place);
      }
    }
    if (need_weight) {
      add_in_order(
          samples * bands.count, weight.numel(), gw_data, grad_weight.template mutable_data_ptr<acc_t>());
    }
    if (need_bias) {
      at::parallel_for(0, samples, worth_a_thread(joints * out_size), [&](int64_t first, int64_t last) {
        simd.sum_planes((last - first) * joints, out_size, d_data + first * joints * out_size,
                        gb_data + first * joints);
      });
      add_in_order(samples, joints, gb_data, grad_bias.template mutable_data_ptr<acc_t>());
    }
  });
  return {as_dtype(grad_features, features.scalar_type()), as_dtype(grad_kernels, kernels.scalar_type()),
          as_dtype(grad_weight, weight.scalar_type()), as_dtype(grad_bias, weight.scalar_type())};
}

}  // namespace

void serve_dynamic_match(torch::Library& m) {
  m.impl("dynamic_match", &dynamic_match_cpu);
  m.impl("dynamic_match_backward", &dynamic_match_backward_cpu);
}

}  // namespace rpstn
