// CPU: what is done to every chunk and every sample; joint_relation_work.h divides it among threads, the arithmetic is
// in joint_relation_simd.cpp.

#include "joint_relation.h"

#include <algorithm>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "checks.h"
#include "cpu/instruction_set.h"
#include "cpu/joint_relation_simd.h"
#include "cpu/joint_relation_work.h"
#include "cpu/raw.h"
#include "serve.h"

namespace rpstn {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

template <typename tensor_t>
void forward(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, Tensor& out, Tensor& gram) {
  using scalar_t = typename Raw<tensor_t>::type;
  using acc_t = typename Accumulate<scalar_t>::type;
  const auto simd = (*RPSTN_SELECT(joint_relation_simd<scalar_t>))();
  const Division d(heatmaps, 1);
  const int64_t size = d.matrix();
  const auto* x = input<tensor_t>(heatmaps);
  auto* z = output<tensor_t>(out);
  auto* g = gram.mutable_data_ptr<acc_t>();
  const auto *wg = weight_g.const_data_ptr<acc_t>(), *bg = bias_g.const_data_ptr<acc_t>(),
             *wo = weight_o.const_data_ptr<acc_t>(), *bo = bias_o.const_data_ptr<acc_t>();
  const int64_t work = 3 * size + d.joints;  // two matrices of scratch, A - I and c
  d.run<acc_t>(
      Order::forwards, size, work, Nothing{},
      [&](int64_t b, int64_t begin, int64_t end, acc_t* scratch, acc_t* sums) {
        const scalar_t* values = x + b * d.sample_size();
        simd.product(d.shape(), begin, end, values, values, nullptr, d.ahead_of_sums(b, begin, true), scratch, sums, nullptr);
      },
      [&](int64_t b, const double* total, acc_t* f) {
        acc_t* of_sample = g + b * size;
        std::copy_n(total, size, of_sample);
        simd.fold(d.joints, static_cast<acc_t>(scale), of_sample, wg, bg, wo, bo, f, f + 2 * size, f + 3 * size);
      },
      [&](int64_t b, int64_t begin, int64_t end, acc_t* scratch, const acc_t* f) {
        simd.mix(d.shape(), begin, end, nullptr, f + 2 * size, x + b * d.sample_size(), nullptr, nullptr,
                 f + 3 * size, d.ahead_of_mixing(b, begin, /*own_pass=*/false), d.stores(/*own_pass=*/false), scratch,
                 z + b * d.sample_size());
      });
}

template <typename tensor_t>
void backward(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& gram, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, double scale, bool need_heatmaps, Tensor& grad_heatmaps,
    Tensor& grad_parameters) {
  using scalar_t = typename Raw<tensor_t>::type;
  using acc_t = typename Accumulate<scalar_t>::type;
  const auto simd = (*RPSTN_SELECT(joint_relation_simd<scalar_t>))();
  const Division d(heatmaps, 2);
  const int64_t size = d.matrix(), row = size + d.joints;
  const auto *grad = input<tensor_t>(grad_out), *x = input<tensor_t>(heatmaps);
  auto* grad_x = output<tensor_t>(grad_heatmaps);
  const auto* products = gram.const_data_ptr<acc_t>();
  const auto *wg = weight_g.const_data_ptr<acc_t>(), *bg = bias_g.const_data_ptr<acc_t>(),
             *wo = weight_o.const_data_ptr<acc_t>();
  // The total of the products and sums, four matrices of scratch, A^T - I and Q; the gradients of Wg, bg, Wo, bo and scale.
  const int64_t work = row + 6 * size, gradient = 2 * row + 1;
  const Buffer<acc_t> gradients_memory(d.samples * gradient);
  acc_t* gradients = gradients_memory.data;

  const auto run = [&](const auto& mix) {
    d.run<acc_t>(
        Order::forwards, row, work, Nothing{},
        [&](int64_t b, int64_t begin, int64_t end, acc_t* scratch, acc_t* sums) {
          simd.product(d.shape(), begin, end, grad + b * d.sample_size(), x + b * d.sample_size(), nullptr,
                       d.ahead_of_sums(b, begin, true), scratch, sums, sums + size);
        },
        [&](int64_t b, const double* total, acc_t* products_of_sample) {
          acc_t *f = products_of_sample + row, *g = gradients + b * gradient;
          std::copy_n(total, row, products_of_sample);
          simd.fold_backward(
              d.joints, static_cast<acc_t>(scale), products + b * size, products_of_sample, products_of_sample + size, wg,
              bg, wo, f, f + 4 * size, f + 5 * size, g, g + size, g + row, g + row + size, g + 2 * row);
        },
        mix);
  };
  if (need_heatmaps) {
    run([&](int64_t b, int64_t begin, int64_t end, acc_t* scratch, const acc_t* of_sample) {
      const acc_t* f = of_sample + row;
      simd.mix(d.shape(), begin, end, nullptr, f + 4 * size, grad + b * d.sample_size(), f + 5 * size,
               x + b * d.sample_size(), nullptr, d.ahead_of_mixing(b, begin, /*own_pass=*/false),
               d.stores(/*own_pass=*/false), scratch, grad_x + b * d.sample_size());
    });
  } else {
    run(Nothing{});
  }
  add_in_order(d.samples, gradient, gradients, grad_parameters.mutable_data_ptr<acc_t>());
}

JointRelationForward joint_relation_forward_cpu(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto acc = accumulate_dtype(dtype);
  const auto values = dense(heatmaps, dtype);
  const auto joints = values.size(1);
  auto out = empty_result(values.sizes(), values.options());
  auto gram = at::empty({values.size(0), joints, joints}, values.options().dtype(acc));
  if (gram.numel() == 0) return {out, gram};
  const auto wg = dense(weight_g, acc), bg = dense(bias_g, acc), wo = dense(weight_o, acc), bo = dense(bias_o, acc);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation", [&] {
    forward<scalar_t>(values, wg, bg, wo, bo, number(scale, scale_tensor), out, gram);
  });
  return {out, gram};
}

Tensor joint_relation_cpu(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  return std::get<0>(joint_relation_forward_cpu(heatmaps, weight_g, bias_g, weight_o, bias_o, scale,
                                                scale_tensor));
}

JointRelationBackward joint_relation_backward_cpu(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& gram, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, double scale, const OptionalTensor& scale_tensor,
    bool need_heatmaps, bool need_parameters) {
  check_joint_relation_backward(grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor);
  const auto dtype = heatmaps.scalar_type();
  const auto acc = accumulate_dtype(dtype);
  const int64_t joints = heatmaps.size(1), row = joints * joints + joints;
  auto grad_heatmaps = empty_gradient_result(heatmaps, dtype, need_heatmaps);
  auto grad_parameters = at::empty({2 * row + 1}, heatmaps.options().dtype(acc));
  if (heatmaps.size(0) == 0 || joints == 0) {
    grad_parameters.zero_();
  } else if (need_heatmaps || need_parameters) {
    const auto grads = dense(grad_out, dtype), values = dense(heatmaps, dtype), products = dense(gram, acc);
    const auto wg = dense(weight_g, acc), bg = dense(bias_g, acc), wo = dense(weight_o, acc);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation_backward", [&] {
      backward<scalar_t>(grads, values, products, wg, bg, wo, number(scale, scale_tensor), need_heatmaps,
                         grad_heatmaps, grad_parameters);
    });
  }
  const auto part = [&](int64_t begin, const auto& like) { return unpacked(grad_parameters, begin, like, need_parameters); };
  return {grad_heatmaps, part(0, weight_g), part(joints * joints, bias_g), part(row, weight_o),
          part(row + joints * joints, bias_g), part(2 * row, scale_tensor)};
}

}  // namespace

void serve_joint_relation(torch::Library& m) {
  m.impl("joint_relation", &joint_relation_cpu);
  m.impl("joint_relation_forward", &joint_relation_forward_cpu);
  m.impl("joint_relation_backward", &joint_relation_backward_cpu);
}

}  // namespace rpstn
