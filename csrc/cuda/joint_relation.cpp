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
  const auto wg = dense(weight_g, acc), bg = dense(bias_g, acc), wo = dense(weight_o, acc), bo = dense(bias_o, acc);
  const ScaleMemory factor(scale, scale_tensor, acc);
  const auto of = kernel_dtype(dtype);
  const auto x = maps_of(values);
  if (launch_one_read_forward(of, shape, factor.raw, x, wg.const_data_ptr(), bg.const_data_ptr(), wo.const_data_ptr(),
                              bo.const_data_ptr(), gram.mutable_data_ptr(), out.mutable_data_ptr(), scope.stream)) {
    return {out, gram};
  }
  const Numbers parts(shape.samples * shape.chunks() * shape.part(), values), folded(shape.samples * shape.part(), values),
      scratch(fold_scratch(shape), values);
  launch_products(of, shape, x, x, /*same=*/true, {}, parts.data(), scope.stream);
  launch_fold(of, shape, factor.raw, parts.data(), wg.const_data_ptr(), bg.const_data_ptr(), wo.const_data_ptr(),
              bo.const_data_ptr(), scratch.data(), gram.mutable_data_ptr(), folded.data(), scope.stream);
  const Mixture mixture = {nullptr, folded.data(), nullptr, element(folded.data(), shape.matrix(), acc), shape.part()};
  launch_mix(of, shape, x, {}, mixture, out.mutable_data_ptr(), scope.stream);
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
  const ScaleMemory factor(scale, scale_tensor, acc);
  const int64_t size = shape.matrix(), row = shape.part(), gradient = factor.raw.gradients(shape);
  auto grad_heatmaps = empty_gradient(heatmaps, dtype, need_heatmaps);
  auto grad_parameters = at::empty({gradient}, heatmaps.options().dtype(acc));
  if (shape.samples == 0 || shape.joints == 0) {
    grad_parameters.zero_();
  } else if (need_heatmaps || need_parameters) {
    const auto grads = as_maps(grad_out, dtype), values = as_maps(heatmaps, dtype), products = dense(gram, acc);
    const auto wg = dense(weight_g, acc), bg = dense(bias_g, acc), wo = dense(weight_o, acc);
    const Numbers gradients(shape.samples * gradient, values);
    const auto of = kernel_dtype(dtype);
    const auto d = maps_of(grads), x = maps_of(values);
    // The kernel that reads once writes the gradient of the heat maps.
    const bool done = need_heatmaps && launch_one_read_backward(
        of, shape, factor.raw, d, x, products.const_data_ptr(), wg.const_data_ptr(), bg.const_data_ptr(), wo.const_data_ptr(),
        grad_heatmaps.mutable_data_ptr(), gradients.data(), scope.stream);
    if (!done) {
      const Numbers parts(shape.samples * shape.chunks() * row, values), folded(shape.samples * 2 * size, values),
          scratch(fold_backward_scratch(shape), values);
      launch_products(of, shape, d, x, /*same=*/false, {}, parts.data(), scope.stream);
      launch_fold_backward(of, shape, factor.raw, parts.data(), products.const_data_ptr(), wg.const_data_ptr(), bg.const_data_ptr(),
                           wo.const_data_ptr(), scratch.data(), folded.data(), gradients.data(), scope.stream);
      const Mixture mixture = {nullptr, folded.data(), element(folded.data(), size, acc), nullptr, 2 * size};
      if (need_heatmaps) launch_mix(of, shape, d, x, mixture, grad_heatmaps.mutable_data_ptr(), scope.stream);
    }
    if (need_parameters) launch_add_samples(of, shape.samples, gradient, gradients.data(), grad_parameters.mutable_data_ptr(), scope.stream);
  }
  const auto part = [&](int64_t begin, const auto& like) { return unpacked(grad_parameters, begin, like, need_parameters); };
  return {grad_heatmaps, part(0, weight_g), part(size, bias_g), part(row, weight_o), part(row + size, bias_g),
          part(2 * row, scale_tensor)};
}

}  // namespace

void serve_joint_relation(torch::Library& m) {
  m.impl("joint_relation", &joint_relation_cuda);
  m.impl("joint_relation_forward", &joint_relation_forward_cuda);
  m.impl("joint_relation_backward", &joint_relation_backward_cuda);
}

}  // namespace rpstn
