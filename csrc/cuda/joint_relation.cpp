// CUDA: checks, memory and the order of the kernels; the arithmetic is in joint_relation.cu.

#include "joint_relation.h"

#include "checks.h"
#include "cuda/relation_tensors.h"
#include "cuda/stream.h"
#include "serve.h"

namespace rpstn {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

JointRelationForward joint_relation_forward_cuda(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
  const DeviceScope scope(heatmaps);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto acc = accumulate_dtype(dtype);
  const auto values = as_maps(heatmaps, dtype);
  const auto shape = relation_shape(values);
  auto out = at::empty(values.sizes(), values.options());
  auto gram = at::empty({shape.samples, shape.joints, shape.joints}, values.options().dtype(acc));
  if (gram.numel() == 0) return {out, gram};
  const RelationMemory parameters(dtype, shape, weight_g, bias_g, weight_o, bias_o);
  const auto factor = relation_scale(scale, scale_tensor);
  const auto of = kernel_dtype(dtype);
  const auto x = maps_of(values);
  if (launch_one_read_forward(of, shape, factor, x, parameters.all(), gram.mutable_data_ptr(), out.mutable_data_ptr(),
                              scope.stream)) {
    return {out, gram};
  }
  const Numbers parts(shape.samples * shape.chunks() * shape.part(), values), folded(shape.samples * shape.part(), values),
      scratch(fold_scratch(of, shape), values);
  launch_own_products(of, shape, x, /*centred=*/false, parts.data(), /*counter=*/nullptr, scope.stream);
  launch_fold(of, shape, factor, parts.data(), parameters.all(), scratch.data(), gram.mutable_data_ptr(), folded.data(),
              scope.stream);
  const Mixture mixture = {nullptr, folded.data(), nullptr, element(folded.data(), shape.matrix(), acc), shape.part()};
  launch_mix(of, shape, x, {}, mixture, out.mutable_data_ptr(), {}, scope.stream);
  return {out, gram};
}

Tensor joint_relation_cuda(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  return std::get<0>(joint_relation_forward_cuda(heatmaps, weight_g, bias_g, weight_o, bias_o, scale,
                                                 scale_tensor));
}

JointRelationBackward joint_relation_backward_cuda(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& gram, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, double scale, const OptionalTensor& scale_tensor,
    bool need_heatmaps, bool need_parameters) {
  check_joint_relation_backward(grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor);
  const auto dtype = heatmaps.scalar_type();
  const auto acc = accumulate_dtype(dtype);
  const DeviceScope scope(heatmaps);
  const auto shape = relation_shape(heatmaps);
  const auto factor = relation_scale(scale, scale_tensor);
  const int64_t size = shape.matrix(), row = shape.part(), gradient = factor.gradients(shape);
  auto grad_heatmaps = empty_gradient(heatmaps, dtype, need_heatmaps);
  const auto of_parameter = [&](const Tensor& parameter) { return gradient_like(parameter, need_parameters); };
  auto grad_weight_g = of_parameter(weight_g), grad_bias_g = of_parameter(bias_g), grad_weight_o = of_parameter(weight_o),
       grad_bias_o = of_parameter(bias_g);
  auto grad_scale = scale_tensor.has_value() ? of_parameter(*scale_tensor) : at::empty({0}, gram.options());
  if (shape.samples == 0 || shape.joints == 0) {
    for (const auto* grad : {&grad_weight_g, &grad_bias_g, &grad_weight_o, &grad_bias_o, &grad_scale}) grad->zero_();
  } else if (need_heatmaps || need_parameters) {
    const auto grads = as_maps(grad_out, dtype), values = as_maps(heatmaps, dtype), products = dense(gram, acc);
    const RelationMemory parameters(dtype, shape, weight_g, bias_g, weight_o);
    const Numbers gradients(shape.samples * gradient, values);
    const auto of = kernel_dtype(dtype);
    const auto d = maps_of(grads), x = maps_of(values);
    const SampleSums sums = need_parameters ? sums_over_samples(shape, gradient, gradients.data(), grad_weight_g,
                                                                grad_bias_g, grad_weight_o, grad_bias_o, grad_scale)
                                            : SampleSums{};
    // The kernel that reads once writes the gradient of the heat maps.
    const bool done = need_heatmaps && launch_one_read_backward(
        of, shape, factor, d, x, products.const_data_ptr(), parameters.all(), grad_heatmaps.mutable_data_ptr(),
        gradients.data(), scope.stream);
    if (!done) {
      const Numbers parts(shape.samples * shape.chunks() * row, values), folded(shape.samples * 2 * size, values),
          scratch(fold_backward_scratch(of, shape), values);
      launch_products(of, shape, d, x, {}, parts.data(), /*counter=*/nullptr, scope.stream);
      launch_fold_backward(of, shape, factor, parts.data(), products.const_data_ptr(), parameters.all(), scratch.data(),
                           folded.data(), gradients.data(), scope.stream);
      const Mixture mixture = {nullptr, folded.data(), element(folded.data(), size, acc), nullptr, 2 * size};
      if (need_heatmaps) launch_mix(of, shape, d, x, mixture, grad_heatmaps.mutable_data_ptr(), sums, scope.stream);
    }
    if (done || !need_heatmaps) launch_add_samples(of, sums, scope.stream);
  }
  return {grad_heatmaps, grad_weight_g, grad_bias_g, grad_weight_o, grad_bias_o, grad_scale};
}

}  // namespace

void serve_joint_relation(torch::Library& m) {
  m.impl("joint_relation", &joint_relation_cuda);
  m.impl("joint_relation_forward", &joint_relation_forward_cuda);
  m.impl("joint_relation_backward", &joint_relation_backward_cuda);
}

}  // namespace rpstn
