// CUDA: checks, memory and the order of the kernels. In training the heat maps are read twice, before and after the
// batch's statistics are known.

#include "joint_relation_norm.h"

#include <algorithm>

#include "checks.h"
#include "cuda/joint_relation_norm.cuh"
#include "cuda/relation_tensors.h"
#include "cuda/stream.h"
#include "serve.h"

namespace rpstn {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// For blocks that count themselves; a launch before theirs sets it to 0.
struct Counter {
  Tensor memory;

  explicit Counter(const Tensor& like) : memory(at::empty({1}, like.options().dtype(at::kInt))) {}
  unsigned* data() const { return static_cast<unsigned*>(memory.mutable_data_ptr()); }
};

Tensor doubles(int64_t count, const Tensor& like) { return at::empty({count}, like.options().dtype(at::kDouble)); }

// With a momentum, in training, the running statistics are moved.
JointRelationNormForward forward(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean, const Tensor& running_var,
    bool training, double eps, std::optional<double> momentum, double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation_norm(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean,
                            running_var, training, eps, scale, scale_tensor);
  const DeviceScope scope(heatmaps);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto acc = accumulate_dtype(dtype);
  const auto values = as_maps(heatmaps, dtype);
  const auto shape = relation_shape(values);
  auto out = at::empty(values.sizes(), values.options());
  auto moments = at::empty({shape.samples, shape.joints, shape.joints + 2}, values.options().dtype(acc));
  if (values.numel() == 0) return {out, moments.zero_(), dense(running_mean, acc).clone(), dense(running_var, acc).clone()};
  auto mean = at::empty({shape.joints}, moments.options()), var = at::empty({shape.joints}, moments.options());
  const RelationMemory parameters(dtype, shape, weight_g, bias_g, weight_o, bias_o);
  const Tensor gamma = norm_weight.contiguous(), beta = norm_bias.contiguous();
  const auto of = kernel_dtype(dtype);
  const Numbers parts(shape.samples * shape.chunks() * (shape.part() + shape.joints), values),
      folded(shape.samples * shape.part(), values), gain(shape.joints, values), scratch(norm_fold_scratch(of, shape), values);
  const Tensor sums = doubles(shape.samples * 3 * shape.joints, values), exact = doubles(2 * shape.joints, values);
  const Counter counter(values);
  const auto running = [&](const Tensor& statistic) -> RunningStatistic {
    if (training && !momentum.has_value()) return {};
    void* data = training ? statistic.mutable_data_ptr() : const_cast<void*>(statistic.const_data_ptr());
    return {{data, kernel_dtype(statistic.scalar_type())}, statistic.stride(0)};
  };
  const NormBatch batch = {counter.data(),
                           mean.mutable_data_ptr(),
                           var.mutable_data_ptr(),
                           exact.mutable_data_ptr<double>(),
                           gain.data(),
                           eps,
                           raw(gamma),
                           running(running_mean),
                           running(running_var),
                           momentum.value_or(0.0)};
  const auto x = maps_of(values);
  launch_own_products(of, shape, x, /*centred=*/training, parts.data(), batch.counter, scope.stream);
  launch_norm_fold(of, shape, relation_scale(scale, scale_tensor), parameters.all(), training, parts.data(), scratch.data(),
                   moments.mutable_data_ptr(), folded.data(), sums.mutable_data_ptr<double>(), batch, scope.stream);
  const Mixture mixture = {gain.data(),  folded.data(),
                           nullptr,      element(folded.data(), shape.matrix(), acc),
                           shape.part(), batch.exact,
                           raw(beta)};
  launch_mix(of, shape, x, {}, mixture, out.mutable_data_ptr(), {}, scope.stream);
  return {out, moments, mean, var};
}

JointRelationNormForward joint_relation_norm_forward_cuda(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean, const Tensor& running_var,
    bool training, double eps, double scale, const OptionalTensor& scale_tensor) {
  return forward(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var, training,
                 eps, /*momentum=*/std::nullopt, scale, scale_tensor);
}

JointRelationNormForward joint_relation_norm_training_cuda(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean, const Tensor& running_var, double eps,
    double momentum, double scale, const OptionalTensor& scale_tensor) {
  return forward(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var,
                 /*training=*/true, eps, momentum, scale, scale_tensor);
}

JointRelationNorm joint_relation_norm_cuda(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean,
    const Tensor& running_var, bool training, double eps, double scale, const OptionalTensor& scale_tensor) {
  return without_moments(joint_relation_norm_forward_cuda(
      heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var, training, eps,
      scale, scale_tensor));
}

JointRelationNormSums joint_relation_norm_sums_cuda(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor, "joint_relation_norm_sums");
  const DeviceScope scope(heatmaps);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto acc = accumulate_dtype(dtype);
  const auto values = as_maps(heatmaps, dtype);
  const auto shape = relation_shape(values);
  const int64_t joints = shape.joints;
  auto moments = at::empty({shape.samples, joints, joints + 2}, values.options().dtype(acc));
  auto statistics = doubles(2 * joints, values).view({2, joints});
  if (values.numel() == 0) return {moments.zero_(), statistics.zero_()};
  const RelationMemory parameters(dtype, shape, weight_g, bias_g, weight_o, bias_o);
  const auto of = kernel_dtype(dtype);
  const Numbers parts(shape.samples * shape.chunks() * (shape.part() + joints), values),
      folded(shape.samples * shape.part(), values), scratch(norm_fold_scratch(of, shape), values);
  const Tensor sums = doubles(shape.samples * 3 * joints, values);
  // The norm's own parameters have no part in what is asked for here.
  const Counter counter(values);
  const NormBatch batch = {counter.data(), nullptr, nullptr, statistics.mutable_data_ptr<double>(), nullptr, 1.0, {}, {}, {}, 0.0};
  launch_own_products(of, shape, maps_of(values), /*centred=*/true, parts.data(), batch.counter, scope.stream);
  launch_norm_fold(of, shape, relation_scale(scale, scale_tensor), parameters.all(), /*training=*/true, parts.data(),
                   scratch.data(), moments.mutable_data_ptr(), folded.data(), sums.mutable_data_ptr<double>(), batch,
                   scope.stream);
  return {moments, statistics};
}

Tensor joint_relation_norm_gradient_sums_cuda(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments, const Tensor& mean, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o, double scale,
    const OptionalTensor& scale_tensor) {
  check_joint_relation_norm_gradient_sums(grad_out, heatmaps, moments, mean, weight_g, bias_g, weight_o, bias_o, scale,
                                          scale_tensor);
  const DeviceScope scope(heatmaps);
  const auto dtype = heatmaps.scalar_type();
  const auto acc = accumulate_dtype(dtype);
  const auto shape = relation_shape(heatmaps);
  const int64_t joints = shape.joints, row = shape.part(), width = joints + 2;
  auto of_samples = at::empty({shape.samples, 2, joints}, heatmaps.options().dtype(at::kDouble));
  if (heatmaps.numel() == 0) return of_samples.zero_();
  const auto grads = as_maps(grad_out, dtype), values = as_maps(heatmaps, dtype), kept = dense(moments, acc);
  const auto mu = dense(mean, acc);
  const RelationMemory parameters(dtype, shape, weight_g, bias_g, weight_o, bias_o);
  const auto of = kernel_dtype(dtype);
  const Numbers parts(shape.samples * shape.chunks() * row, values), products(shape.samples * shape.matrix(), values),
      folded(shape.samples * row, values), scratch(norm_fold_scratch(of, shape), values);
  const Tensor sums = doubles(shape.samples * 3 * joints, values);
  const NormGradientWork work = {products.data(), folded.data(), sums.mutable_data_ptr<double>(),
                                 of_samples.mutable_data_ptr<double>()};
  const auto factor = relation_scale(scale, scale_tensor);
  const Shift centre = {element(const_cast<void*>(kept.const_data_ptr()), joints + 1, acc), joints * width, width};
  launch_products(of, shape, maps_of(grads), maps_of(values), centre, parts.data(), /*counter=*/nullptr, scope.stream);
  launch_norm_gradient_sums(of, shape, factor, parameters.all(), parts.data(), kept.const_data_ptr(), mu.const_data_ptr(),
                            scratch.data(), work, /*batch=*/{}, scope.stream);
  return of_samples;
}

JointRelationNormBackward joint_relation_norm_backward_cuda(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments, const Tensor& mean, const Tensor& var,
    const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, bool training, double eps, double scale, const OptionalTensor& scale_tensor,
    bool need_heatmaps, bool need_parameters, const OptionalTensor& totals) {
  check_joint_relation_norm_backward(grad_out, heatmaps, moments, mean, var, weight_g, bias_g, weight_o, bias_o,
                                     norm_weight, training, eps, scale, scale_tensor, totals);
  const auto dtype = heatmaps.scalar_type();
  const auto acc = accumulate_dtype(dtype);
  const DeviceScope scope(heatmaps);
  const auto shape = relation_shape(heatmaps);
  const auto factor = relation_scale(scale, scale_tensor);
  const int64_t joints = shape.joints, size = shape.matrix(), row = shape.part(), gradient = factor.gradients(shape);
  auto grad_heatmaps = empty_gradient(heatmaps, dtype, need_heatmaps);
  const auto of_parameter = [&](const Tensor& parameter) { return gradient_like(parameter, need_parameters); };
  auto grad_weight_g = of_parameter(weight_g), grad_bias_g = of_parameter(bias_g), grad_weight_o = of_parameter(weight_o),
       grad_bias_o = of_parameter(bias_o), grad_norm_weight = of_parameter(norm_weight),
       grad_norm_bias = of_parameter(norm_weight);
  auto grad_scale = scale_tensor.has_value() ? of_parameter(*scale_tensor) : at::empty({0}, moments.options());
  if (heatmaps.numel() == 0) {
    for (const auto* grad : {&grad_weight_g, &grad_bias_g, &grad_weight_o, &grad_bias_o, &grad_norm_weight,
                             &grad_norm_bias, &grad_scale}) {
      grad->zero_();
    }
  } else if (need_heatmaps || need_parameters) {
    const auto grads = as_maps(grad_out, dtype), values = as_maps(heatmaps, dtype), kept = dense(moments, acc);
    const auto mu = dense(mean, acc), variance = dense(var, acc), gamma = norm_weight.contiguous();
    const RelationMemory parameters(dtype, shape, weight_g, bias_g, weight_o, bias_o);
    const auto of = kernel_dtype(dtype);
    const Numbers parts(shape.samples * shape.chunks() * row, values), products(shape.samples * size, values),
        folded(shape.samples * row, values), mixing(shape.samples * (2 * size + joints), values),
        gradients(shape.samples * gradient, values), gain(joints, values),
        scratch(std::max(norm_fold_scratch(of, shape), norm_fold_backward_scratch(of, shape)), values);
    const Tensor sums = doubles(shape.samples * 3 * joints, values), of_t = doubles(shape.samples * 2 * joints, values),
                 of_batch = doubles(3 * joints, values);
    const Counter counter(values);
    const Tensor batch_totals = totals.has_value() ? dense(*totals, at::kDouble) : Tensor();
    const NormGradientWork work = {products.data(), folded.data(), sums.mutable_data_ptr<double>(),
                                   of_t.mutable_data_ptr<double>()};
    const NormBatchGradients batch = {counter.data(),
                                      training,
                                      eps,
                                      variance.const_data_ptr(),
                                      raw(gamma),
                                      totals.has_value() ? batch_totals.const_data_ptr<double>() : nullptr,
                                      of_batch.mutable_data_ptr<double>(),
                                      gain.data(),
                                      target(grad_norm_weight),
                                      target(grad_norm_bias)};
    const auto x = maps_of(values), d = maps_of(grads);
    const int64_t width = joints + 2;
    const void* centres = element(const_cast<void*>(kept.const_data_ptr()), joints + 1, acc);
    const Shift centre = {training ? centres : nullptr, joints * width, width};
    launch_products(of, shape, d, x, centre, parts.data(), batch.counter, scope.stream);
    launch_norm_gradient_sums(of, shape, factor, parameters.all(), parts.data(), kept.const_data_ptr(),
                              mu.const_data_ptr(), scratch.data(), work, batch, scope.stream);
    launch_norm_fold_backward(of, shape, factor, parameters.all(), kept.const_data_ptr(), mu.const_data_ptr(), batch.batch,
                              work, scratch.data(), mixing.data(), gradients.data(), scope.stream);
    const Mixture mixture = {gain.data(), mixing.data(), element(mixing.data(), size, acc),
                             element(mixing.data(), 2 * size, acc), 2 * size + joints};
    const SampleSums over_samples =
        need_parameters ? sums_over_samples(shape, gradient, gradients.data(), grad_weight_g, grad_bias_g, grad_weight_o,
                                            grad_bias_o, grad_scale)
                        : SampleSums{};
    if (need_heatmaps) {
      launch_mix(of, shape, d, x, mixture, grad_heatmaps.mutable_data_ptr(), over_samples, scope.stream);
    } else {
      launch_add_samples(of, over_samples, scope.stream);
    }
  }
  return {grad_heatmaps, grad_weight_g,    grad_bias_g,    grad_weight_o,
          grad_bias_o,   grad_norm_weight, grad_norm_bias, grad_scale};
}

}  // namespace

void serve_joint_relation_norm(torch::Library& m) {
  m.impl("joint_relation_norm", &joint_relation_norm_cuda);
  m.impl("joint_relation_norm_forward", &joint_relation_norm_forward_cuda);
  m.impl("joint_relation_norm_training", &joint_relation_norm_training_cuda);
  m.impl("joint_relation_norm_backward", &joint_relation_norm_backward_cuda);
  m.impl("joint_relation_norm_sums", &joint_relation_norm_sums_cuda);
  m.impl("joint_relation_norm_gradient_sums", &joint_relation_norm_gradient_sums_cuda);
}

}  // namespace rpstn
