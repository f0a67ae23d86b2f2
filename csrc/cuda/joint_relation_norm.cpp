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

struct Parameters {
  Tensor weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias;  // dense, in the type of the sums

  NormParameters raw() const {
    return {weight_g.const_data_ptr(), bias_g.const_data_ptr(),      weight_o.const_data_ptr(),
            bias_o.const_data_ptr(),   norm_weight.const_data_ptr(), norm_bias.const_data_ptr()};
  }
};

// Memory of the batch's statistics.
struct Batch {
  Tensor exact, gain;

  Batch(int64_t joints, const Tensor& like)
      : exact(at::empty({3 * joints}, like.options().dtype(at::kDouble))),
        gain(at::empty({joints}, like.options().dtype(accumulate_dtype(like.scalar_type())))) {}
  NormBatch raw(const Tensor& mean, const Tensor& var) const {
    return {mean.mutable_data_ptr(), var.mutable_data_ptr(), exact.mutable_data_ptr<double>(), gain.mutable_data_ptr()};
  }
};

Tensor doubles(int64_t count, const Tensor& like) { return at::empty({count}, like.options().dtype(at::kDouble)); }

JointRelationNormForward joint_relation_norm_forward_cuda(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean,
    const Tensor& running_var, bool training, double eps, double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation_norm(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean,
                            running_var, training, eps, scale, scale_tensor);
  const DeviceScope scope(heatmaps);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto acc = accumulate_dtype(dtype);
  const auto values = as_maps(heatmaps, dtype);
  const auto shape = relation_shape(values);
  auto out = at::empty(values.sizes(), values.options());
  auto moments = at::empty({shape.samples, shape.joints, shape.joints + 2}, values.options().dtype(acc));
  auto mean = dense(running_mean, acc).clone(), var = dense(running_var, acc).clone();
  if (values.numel() == 0) return {out, moments.zero_(), mean, var};
  const Parameters parameters = {dense(weight_g, acc), dense(bias_g, acc),      dense(weight_o, acc),
                                 dense(bias_o, acc),   dense(norm_weight, acc), dense(norm_bias, acc)};
  const Numbers parts(shape.samples * shape.chunks() * shape.part(), values), folded(shape.samples * shape.part(), values),
      scratch(norm_fold_scratch(shape), values);
  const Tensor sums_memory = doubles(shape.samples * 3 * shape.joints, values);
  auto* sums = sums_memory.mutable_data_ptr<double>();
  const Batch batch_memory(shape.joints, values);
  const auto batch = batch_memory.raw(mean, var);
  const ScaleMemory factor(scale, scale_tensor, acc);
  const auto of = kernel_dtype(dtype);
  const auto x = maps_of(values);
  const int64_t width = shape.joints + 2;
  const Shift centre = {training ? element(moments.mutable_data_ptr(), shape.joints + 1, acc) : nullptr,
                        shape.joints * width, width};
  launch_centre(of, shape, x, training, moments.mutable_data_ptr(), scope.stream);
  launch_products(of, shape, x, x, /*same=*/true, centre, parts.data(), scope.stream);
  launch_norm_fold(of, shape, factor.raw, parameters.raw(), parts.data(), scratch.data(), moments.mutable_data_ptr(),
                   folded.data(), sums, scope.stream);
  launch_norm_statistics(of, shape, training, eps, parameters.raw(), sums, batch, scope.stream);
  launch_normalise(of, shape, parameters.raw(), batch, folded.data(), scope.stream);
  const Mixture mixture = {batch.gain, folded.data(), nullptr, element(folded.data(), shape.matrix(), acc), shape.part()};
  launch_mix(of, shape, x, {}, mixture, out.mutable_data_ptr(), scope.stream);
  return {out, moments, mean, var};
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
  const int64_t joints = shape.joints, width = joints + 2;
  auto moments = at::empty({shape.samples, joints, width}, values.options().dtype(acc));
  const Batch batch(joints, values);
  const auto statistics = batch.exact.narrow(0, 0, 2 * joints).view({2, joints});
  if (values.numel() == 0) return {moments.zero_(), statistics.zero_()};
  // The norm's own parameters have no part in what is asked for here.
  const Parameters parameters = {dense(weight_g, acc), dense(bias_g, acc), dense(weight_o, acc),
                                 dense(bias_o, acc),   dense(bias_o, acc), dense(bias_o, acc)};
  const Numbers parts(shape.samples * shape.chunks() * shape.part(), values), folded(shape.samples * shape.part(), values),
      scratch(norm_fold_scratch(shape), values);
  const Tensor sums = doubles(shape.samples * 3 * joints, values);
  const auto mean = at::empty({joints}, moments.options()), var = at::empty({joints}, moments.options());
  const ScaleMemory factor(scale, scale_tensor, acc);
  const auto of = kernel_dtype(dtype);
  const auto x = maps_of(values);
  const Shift centre = {element(moments.mutable_data_ptr(), joints + 1, acc), joints * width, width};
  launch_centre(of, shape, x, /*training=*/true, moments.mutable_data_ptr(), scope.stream);
  launch_products(of, shape, x, x, /*same=*/true, centre, parts.data(), scope.stream);
  launch_norm_fold(of, shape, factor.raw, parameters.raw(), parts.data(), scratch.data(), moments.mutable_data_ptr(),
                   folded.data(), sums.mutable_data_ptr<double>(), scope.stream);
  launch_norm_statistics(of, shape, /*training=*/true, /*eps=*/1.0, parameters.raw(), sums.const_data_ptr<double>(),
                         batch.raw(mean, var), scope.stream);
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
  const Parameters parameters = {dense(weight_g, acc), dense(bias_g, acc), dense(weight_o, acc),
                                 dense(bias_o, acc),   dense(bias_o, acc), dense(bias_o, acc)};
  const Numbers parts(shape.samples * shape.chunks() * row, values), products(shape.samples * shape.matrix(), values),
      folded(shape.samples * row, values), scratch(norm_fold_scratch(shape), values);
  const Tensor sums = doubles(shape.samples * 3 * joints, values);
  const NormGradientWork work = {products.data(), folded.data(), sums.mutable_data_ptr<double>(),
                                 of_samples.mutable_data_ptr<double>(), nullptr};
  const Batch batch_memory(joints, values);
  const auto batch = batch_memory.raw(mu, mu);  // of which the mean alone has a part in t
  const ScaleMemory factor(scale, scale_tensor, acc);
  const auto of = kernel_dtype(dtype);
  const auto raw = parameters.raw();
  const Shift centre = {element(const_cast<void*>(kept.const_data_ptr()), joints + 1, acc), joints * width, width};
  launch_norm_statistics(of, shape, /*training=*/false, /*eps=*/1.0, raw, nullptr, batch, scope.stream);
  launch_products(of, shape, maps_of(grads), maps_of(values), /*same=*/false, centre, parts.data(), scope.stream);
  launch_norm_gradient_sums(of, shape, factor.raw, raw, parts.data(), kept.const_data_ptr(), batch, scratch.data(), work,
                            scope.stream);
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
  const ScaleMemory factor(scale, scale_tensor, acc);
  const int64_t joints = shape.joints, size = shape.matrix(), row = shape.part(), gradient = factor.raw.gradients(shape);
  auto grad_heatmaps = empty_gradient(heatmaps, dtype, need_heatmaps);
  auto grad_parameters = at::empty({gradient + 2 * joints}, heatmaps.options().dtype(acc));
  if (heatmaps.numel() == 0) {
    grad_parameters.zero_();
  } else if (need_heatmaps || need_parameters) {
    const auto grads = as_maps(grad_out, dtype), values = as_maps(heatmaps, dtype), kept = dense(moments, acc);
    const auto mu = dense(mean, acc), variance = dense(var, acc);
    const Parameters parameters = {dense(weight_g, acc), dense(bias_g, acc),      dense(weight_o, acc),
                                   dense(bias_o, acc),   dense(norm_weight, acc), dense(norm_weight, acc)};
    const Numbers parts(shape.samples * shape.chunks() * row, values), products(shape.samples * size, values),
        folded(shape.samples * row, values), mixing(shape.samples * (2 * size + joints), values),
        gradients(shape.samples * gradient, values),
        scratch(std::max(norm_fold_scratch(shape), norm_fold_backward_scratch(shape)), values);
    const Tensor sums = doubles(shape.samples * 3 * joints, values), of_t = doubles(shape.samples * 2 * joints, values),
                 batch_gradients = doubles(3 * joints, values);
    const NormGradientWork work = {products.data(), folded.data(), sums.mutable_data_ptr<double>(),
                                   of_t.mutable_data_ptr<double>(), batch_gradients.mutable_data_ptr<double>()};
    const Batch batch_memory(joints, values);
    const auto batch = batch_memory.raw(mu, variance);
    const auto of = kernel_dtype(dtype);
    const auto raw = parameters.raw();
    const auto x = maps_of(values), d = maps_of(grads);
    const int64_t width = joints + 2;
    const void* centres = element(const_cast<void*>(kept.const_data_ptr()), joints + 1, acc);
    const Shift centre = {training ? centres : nullptr, joints * width, width};
    auto* grad_norm = element(grad_parameters.mutable_data_ptr(), gradient, acc);
    launch_norm_statistics(of, shape, /*training=*/false, eps, raw, nullptr, batch, scope.stream);
    launch_products(of, shape, d, x, /*same=*/false, centre, parts.data(), scope.stream);
    launch_norm_gradient_sums(of, shape, factor.raw, raw, parts.data(), kept.const_data_ptr(), batch, scratch.data(), work,
                              scope.stream);
    const Tensor of_batch = totals.has_value() ? dense(*totals, at::kDouble) : Tensor();
    launch_norm_batch_gradients(of, shape, training, batch, work,
                                totals.has_value() ? of_batch.const_data_ptr<double>() : nullptr, grad_norm, scope.stream);
    launch_norm_fold_backward(of, shape, factor.raw, raw, kept.const_data_ptr(), batch, work, scratch.data(), mixing.data(),
                              gradients.data(), scope.stream);
    const Mixture mixture = {batch.gain, mixing.data(), element(mixing.data(), size, acc),
                             element(mixing.data(), 2 * size, acc), 2 * size + joints};
    if (need_heatmaps) launch_mix(of, shape, d, x, mixture, grad_heatmaps.mutable_data_ptr(), scope.stream);
    if (need_parameters) launch_add_samples(of, shape.samples, gradient, gradients.data(), grad_parameters.mutable_data_ptr(), scope.stream);
  }
  const auto part = [&](int64_t begin, const auto& like) { return unpacked(grad_parameters, begin, like, need_parameters); };
  return {grad_heatmaps,
          part(0, weight_g),
          part(size, bias_g),
          part(row, weight_o),
          part(row + size, bias_o),
          part(gradient, norm_weight),
          part(gradient + joints, norm_weight),
          part(2 * row, scale_tensor)};
}

}  // namespace

void serve_joint_relation_norm(torch::Library& m) {
  m.impl("joint_relation_norm", &joint_relation_norm_cuda);
  m.impl("joint_relation_norm_forward", &joint_relation_norm_forward_cuda);
  m.impl("joint_relation_norm_backward", &joint_relation_norm_backward_cuda);
  m.impl("joint_relation_norm_sums", &joint_relation_norm_sums_cuda);
  m.impl("joint_relation_norm_gradient_sums", &joint_relation_norm_gradient_sums_cuda);
}

}  // namespace rpstn
