// Derivatives of any order, shape inference and the autocast rule of joint_relation_norm; see joint_relation_norm.h.

#include "joint_relation_norm.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "autograd/derivatives.h"
#include "autograd/relation_form.h"
#include "checks.h"
#include "dtypes.h"
#include "first_copy.h"

namespace rpstn {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using Signature = JointRelationNorm(
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
    const Tensor&, const Tensor&, bool, double, double, const OptionalTensor&);
using ForwardSignature = JointRelationNormForward(
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
    const Tensor&, const Tensor&, bool, double, double, const OptionalTensor&);
using BackwardSignature = JointRelationNormBackward(
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
    const Tensor&, const Tensor&, const Tensor&, bool, double, double, const OptionalTensor&, bool, bool,
    const OptionalTensor&);
using TrainingSignature = JointRelationNormForward(
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
    const Tensor&, const Tensor&, double, double, double, const OptionalTensor&);

const auto& plain_op() {
  static const auto op = find_op<Signature>("rpstn_ext::joint_relation_norm");
  return op;
}

const auto& forward_op() {
  static const auto op = find_op<ForwardSignature>("rpstn_ext::joint_relation_norm_forward");
  return op;
}

const auto& training_op() {
  static const auto op = find_op<TrainingSignature>("rpstn_ext::joint_relation_norm_training");
  return op;
}

const auto& backward_op() {
  static const auto op = find_op<BackwardSignature>("rpstn_ext::joint_relation_norm_backward");
  return op;
}

// The operation from differentiable ATen operations: second and higher derivatives are taken of this form. In
// evaluation mean and var are given.
Tensor differentiable_form(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& mean, const Tensor& var,
    bool training, double eps, double scale,
    const OptionalTensor& scale_tensor) {
  const auto acc = accumulate_dtype(heatmaps.scalar_type());
  const auto related =
      relation_form(as_dtype(heatmaps, acc), weight_g, bias_g, weight_o, bias_o, scale, scale_tensor).flatten(2);
  const auto column = [acc](const Tensor& of_joints) { return as_dtype(of_joints, acc).unsqueeze(1); };
  constexpr int64_t kSamplesAndColumns[] = {0, 2};
  const auto over = at::OptionalIntArrayRef(kSamplesAndColumns);
  const auto mu = training ? related.mean(over, /*keepdim=*/true) : column(mean);
  const auto centred = related - mu;
  const auto variance = training ? centred.square().mean(over, /*keepdim=*/true) : column(var);
  const auto out = centred * (variance + eps).rsqrt() * column(norm_weight) + column(norm_bias);
  return as_dtype(out.view_as(heatmaps), heatmaps.scalar_type());
}

struct JointRelationNormBackwardFunction : torch::autograd::Function<JointRelationNormBackwardFunction> {
  static variable_list forward(
      AutogradContext* ctx, const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments,
      const Tensor& mean, const Tensor& var, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
      const Tensor& bias_o, const Tensor& norm_weight, bool training, double eps, double scale,
      const OptionalTensor& scale_tensor, bool need_heatmaps, bool need_parameters) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward(
        {grad_out, heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, mean, var, or_undefined(scale_tensor)});
    ctx->saved_data["training"] = training;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["need_heatmaps"] = need_heatmaps;
    ctx->saved_data["need_parameters"] = need_parameters;
    at::AutoDispatchBelowADInplaceOrView below;
    auto [of_heatmaps, of_weight_g, of_bias_g, of_weight_o, of_bias_o, of_norm_weight, of_norm_bias, of_scale] =
        backward_op().call(grad_out, heatmaps, moments, mean, var, weight_g, bias_g, weight_o, bias_o, norm_weight,
                           training, eps, scale, scale_tensor, need_heatmaps, need_parameters, std::nullopt);
    return {of_heatmaps, of_weight_g, of_bias_g, of_weight_o, of_bias_o, of_norm_weight, of_norm_bias, of_scale};
  }

  // Differentiates the first derivative as a function of grad_out, heat maps, parameters and scale. Moments and
  // statistics are functions of the heat maps and get no gradients of their own; no derivative depends on norm_bias.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    constexpr size_t kInputs = 7;  // grad_out, heat maps, four parameters, norm_weight
    const bool create_graph = at::GradMode::is_enabled();
    at::AutoGradMode with_grad(true);
    auto weights = grads;
    if (!ctx->saved_data["need_heatmaps"].toBool()) weights[0] = Tensor();
    for (size_t i = 1; i < weights.size(); ++i) {
      if (!ctx->saved_data["need_parameters"].toBool()) weights[i] = Tensor();
    }
    const auto saved = ctx->get_saved_variables();
    variable_list inputs;
    for (size_t i = 0; i < kInputs; ++i) inputs.push_back(leaf_or_alias(saved[i], create_graph));
    const auto scale_tensor = leaf_or_alias(saved[9], create_graph);
    const auto norm_bias = at::zeros_like(inputs[6].detach()).requires_grad_();
    const auto out = differentiable_form(
        inputs[1], inputs[2], inputs[3], inputs[4], inputs[5], inputs[6], norm_bias, saved[7], saved[8],
        ctx->saved_data["training"].toBool(), ctx->saved_data["eps"].toDouble(),
        ctx->saved_data["scale"].toDouble(), if_defined(scale_tensor));
    variable_list arguments(inputs.begin() + 1, inputs.end());
    arguments.push_back(norm_bias);
    if (scale_tensor.defined()) {
      arguments.push_back(scale_tensor);
      inputs.push_back(scale_tensor);
    }
    auto needed = needed_inputs(ctx, 0, inputs.size() + 3);
    needed.erase(needed.begin() + 2, needed.begin() + 5);  // those of moments, mean and var
    const auto second = second_derivatives(out, inputs[0], arguments, weights, inputs, needed, create_graph);
    return {second[0], second[1], Tensor(), Tensor(), Tensor(), second[2], second[3],
            second[4], second[5], second[6], Tensor(), Tensor(), Tensor(),
            scale_tensor.defined() ? second[7] : Tensor(), Tensor(), Tensor()};
  }
};

struct JointRelationNormFunction : torch::autograd::Function<JointRelationNormFunction> {
  // With a momentum the running statistics are moved.
  static variable_list forward(
      AutogradContext* ctx, const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g,
      const Tensor& weight_o, const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias,
      const Tensor& running_mean, const Tensor& running_var, bool training, double eps, std::optional<double> momentum,
      double scale, const OptionalTensor& scale_tensor) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [out, moments, mean, var] =
        momentum.has_value()
            ? training_op().call(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean,
                                 running_var, eps, *momentum, scale, scale_tensor)
            : forward_op().call(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean,
                                running_var, training, eps, scale, scale_tensor);
    ctx->set_materialize_grads(false);
    ctx->mark_non_differentiable({moments, mean, var});
    ctx->save_for_backward({heatmaps, moments, mean, var, weight_g, bias_g, weight_o, bias_o, norm_weight,
                            or_undefined(scale_tensor)});
    ctx->saved_data["training"] = training;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["scale"] = scale;
    return {out, moments, mean, var};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(14);
    const auto saved = ctx->get_saved_variables();
    const auto& scale_tensor = saved[9];
    auto needed = needed_inputs(ctx, 0, scale_tensor.defined() ? 10 : 9);
    needed.erase(needed.begin() + 7, needed.begin() + 9);  // those of the running statistics
    auto [of_heatmaps, of_weight_g, of_bias_g, of_weight_o, of_bias_o, of_norm_weight, of_norm_bias, of_scale] =
        backward_op().call(grads[0], saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], saved[6], saved[7],
                           saved[8], ctx->saved_data["training"].toBool(), ctx->saved_data["eps"].toDouble(),
                           ctx->saved_data["scale"].toDouble(), if_defined(scale_tensor), needed[0], any_of(needed, 1),
                           std::nullopt);
    const auto kept = [&](size_t i, const Tensor& grad) { return needed[i] ? grad : Tensor(); };
    return {kept(0, of_heatmaps), kept(1, of_weight_g), kept(2, of_bias_g), kept(3, of_weight_o), kept(4, of_bias_o),
            kept(5, of_norm_weight), kept(6, of_norm_bias), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(),
            scale_tensor.defined() ? kept(7, of_scale) : Tensor()};
  }
};

// --- Autograd ---

// As JointRelationNormFunction takes them: the maps and convolutions in one type, the norm's parameters in their own.
JointRelationNormForward with_gradients(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean, const Tensor& running_var,
    bool training, double eps, std::optional<double> momentum, double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation_norm(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean,
                            running_var, training, eps, scale, scale_tensor);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  auto results = JointRelationNormFunction::apply(
      as_dtype(heatmaps, dtype), as_dtype(weight_g, dtype), as_dtype(bias_g, dtype), as_dtype(weight_o, dtype),
      as_dtype(bias_o, dtype), norm_weight, norm_bias, running_mean, running_var, training, eps, momentum, scale,
      as_dtype(scale_tensor, accumulate_dtype(dtype)));
  return {results[0], results[1], results[2], results[3]};
}

JointRelationNorm joint_relation_norm_autograd(
    c10::DispatchKeySet keys, const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g,
    const Tensor& weight_o, const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias,
    const Tensor& running_mean, const Tensor& running_var, bool training, double eps, double scale,
    const OptionalTensor& scale_tensor) {
  if (!needs_autograd(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, scale_tensor)) {
    return call_below(plain_op(), keys, heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias,
                      running_mean, running_var, training, eps, scale, scale_tensor);
  }
  return without_moments(with_gradients(
      heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var, training, eps,
      /*momentum=*/std::nullopt, scale, scale_tensor));
}

// Saved tensors see the change in place.
void have_moved(const Tensor& running_mean, const Tensor& running_var) {
  for (const auto* moved : {&running_mean, &running_var}) moved->unsafeGetTensorImpl()->bump_version();
}

// Below autograd.
JointRelationNormForward joint_relation_norm_training_in_place(
    c10::DispatchKeySet keys, const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g,
    const Tensor& weight_o, const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias,
    const Tensor& running_mean, const Tensor& running_var, double eps, double momentum, double scale,
    const OptionalTensor& scale_tensor) {
  auto results = call_below(training_op(), keys, heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias,
                            running_mean, running_var, eps, momentum, scale, scale_tensor);
  have_moved(running_mean, running_var);
  return results;
}

JointRelationNormForward joint_relation_norm_training_autograd(
    c10::DispatchKeySet keys, const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g,
    const Tensor& weight_o, const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias,
    const Tensor& running_mean, const Tensor& running_var, double eps, double momentum, double scale,
    const OptionalTensor& scale_tensor) {
  if (!needs_autograd(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, scale_tensor)) {
    return joint_relation_norm_training_in_place(
        keys, heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var, eps,
        momentum, scale, scale_tensor);
  }
  auto results = with_gradients(
      heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var, /*training=*/true,
      eps, momentum, scale, scale_tensor);
  have_moved(running_mean, running_var);
  return results;
}

JointRelationNormBackward joint_relation_norm_backward_autograd(
    c10::DispatchKeySet keys, const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments,
    const Tensor& mean, const Tensor& var, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, const Tensor& norm_weight, bool training, double eps, double scale,
    const OptionalTensor& scale_tensor, bool need_heatmaps, bool need_parameters, const OptionalTensor& totals) {
  if (!needs_autograd(grad_out, heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, scale_tensor)) {
    return call_below(backward_op(), keys, grad_out, heatmaps, moments, mean, var, weight_g, bias_g, weight_o, bias_o,
                      norm_weight, training, eps, scale, scale_tensor, need_heatmaps, need_parameters, totals);
  }
  TORCH_CHECK_NOT_IMPLEMENTED(!totals.has_value(), "joint_relation_norm_backward: expected no gradient of the gradients "
                              "where totals are given, other processes' parts of it are not known here");
  auto grads = JointRelationNormBackwardFunction::apply(
      grad_out, heatmaps, moments, mean, var, weight_g, bias_g, weight_o, bias_o, norm_weight, training, eps, scale,
      scale_tensor, need_heatmaps, need_parameters);
  return {grads[0], grads[1], grads[2], grads[3], grads[4], grads[5], grads[6], grads[7]};
}

// --- Shape inference ---

JointRelationNormForward joint_relation_norm_forward_meta(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean,
    const Tensor& running_var, bool training, double eps, double scale,
    const OptionalTensor& scale_tensor) {
  check_joint_relation_norm(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean,
                            running_var, training, eps, scale, scale_tensor);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto options = heatmaps.options().dtype(dtype), sums = options.dtype(accumulate_dtype(dtype));
  const auto joints = heatmaps.sym_size(1);
  return {at::empty_symint(heatmaps.sym_sizes(), options),
          at::empty_symint({heatmaps.sym_size(0), joints, joints + 2}, sums), at::empty_symint({joints}, sums),
          at::empty_symint({joints}, sums)};
}

JointRelationNormForward joint_relation_norm_training_meta(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean, const Tensor& running_var, double eps,
    double /*momentum*/, double scale, const OptionalTensor& scale_tensor) {
  return joint_relation_norm_forward_meta(
      heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var, /*training=*/true,
      eps, scale, scale_tensor);
}

JointRelationNorm joint_relation_norm_meta(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean,
    const Tensor& running_var, bool training, double eps, double scale, const OptionalTensor& scale_tensor) {
  return without_moments(joint_relation_norm_forward_meta(
      heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var, training, eps,
      scale, scale_tensor));
}

JointRelationNormBackward joint_relation_norm_backward_meta(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments, const Tensor& mean, const Tensor& var,
    const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, bool training, double eps, double scale,
    const OptionalTensor& scale_tensor, bool need_heatmaps, bool need_parameters, const OptionalTensor& totals) {
  check_joint_relation_norm_backward(grad_out, heatmaps, moments, mean, var, weight_g, bias_g, weight_o, bias_o,
                                     norm_weight, training, eps, scale, scale_tensor, totals);
  const auto of = [&](const Tensor& parameter) { return empty_gradient(parameter, need_parameters); };
  return {empty_gradient(heatmaps, need_heatmaps), of(weight_g), of(bias_g), of(weight_o), of(bias_o), of(norm_weight),
          of(norm_weight), empty_gradient(scale_tensor, moments, need_parameters)};
}

JointRelationNormSums joint_relation_norm_sums_meta(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor, "joint_relation_norm_sums");
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto joints = heatmaps.sym_size(1);
  const auto options = heatmaps.options();
  return {at::empty_symint({heatmaps.sym_size(0), joints, joints + 2}, options.dtype(accumulate_dtype(dtype))),
          at::empty_symint({2, joints}, options.dtype(at::kDouble))};
}

Tensor joint_relation_norm_gradient_sums_meta(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments, const Tensor& mean, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o, double scale,
    const OptionalTensor& scale_tensor) {
  check_joint_relation_norm_gradient_sums(grad_out, heatmaps, moments, mean, weight_g, bias_g, weight_o, bias_o, scale,
                                          scale_tensor);
  return at::empty_symint({heatmaps.sym_size(0), 2, heatmaps.sym_size(1)}, heatmaps.options().dtype(at::kDouble));
}

// --- Autocast: the heat maps and convolutions in autocast's dtype; sums and the normalisation stay in float32 ---

template <c10::DeviceType kDevice, c10::DispatchKey kKey>
JointRelationNorm joint_relation_norm_autocast(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean,
    const Tensor& running_var, bool training, double eps, double scale,
    const OptionalTensor& scale_tensor) {
  const c10::impl::ExcludeDispatchKeyGuard without_autocast(kKey);
  const auto dtype = at::autocast::get_autocast_dtype(kDevice);
  const auto cast = [dtype](const Tensor& tensor) { return at::autocast::cached_cast(dtype, tensor, kDevice); };
  return plain_op().call(cast(heatmaps), cast(weight_g), cast(bias_g), cast(weight_o), cast(bias_o), norm_weight,
                         norm_bias, running_mean, running_var, training, eps, scale, scale_tensor);
}

template <c10::DeviceType kDevice, c10::DispatchKey kKey>
JointRelationNormForward joint_relation_norm_training_autocast(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean, const Tensor& running_var, double eps,
    double momentum, double scale, const OptionalTensor& scale_tensor) {
  const c10::impl::ExcludeDispatchKeyGuard without_autocast(kKey);
  const auto dtype = at::autocast::get_autocast_dtype(kDevice);
  const auto cast = [dtype](const Tensor& tensor) { return at::autocast::cached_cast(dtype, tensor, kDevice); };
  return training_op().call(cast(heatmaps), cast(weight_g), cast(bias_g), cast(weight_o), cast(bias_o), norm_weight,
                            norm_bias, running_mean, running_var, eps, momentum, scale, scale_tensor);
}

TORCH_LIBRARY_IMPL(rpstn_ext, ADInplaceOrView, m) {
  if (first_copy()) m.impl("joint_relation_norm_training", &joint_relation_norm_training_in_place);
}

TORCH_LIBRARY_IMPL(rpstn_ext, Autograd, m) {
  if (!first_copy()) return;
  m.impl("joint_relation_norm", &joint_relation_norm_autograd);
  m.impl("joint_relation_norm_training", &joint_relation_norm_training_autograd);
  m.impl("joint_relation_norm_backward", &joint_relation_norm_backward_autograd);
}

TORCH_LIBRARY_IMPL(rpstn_ext, Meta, m) {
  if (!first_copy()) return;
  m.impl("joint_relation_norm", &joint_relation_norm_meta);
  m.impl("joint_relation_norm_forward", &joint_relation_norm_forward_meta);
  m.impl("joint_relation_norm_training", &joint_relation_norm_training_meta);
  m.impl("joint_relation_norm_backward", &joint_relation_norm_backward_meta);
  m.impl("joint_relation_norm_sums", &joint_relation_norm_sums_meta);
  m.impl("joint_relation_norm_gradient_sums", &joint_relation_norm_gradient_sums_meta);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCPU, m) {
  if (!first_copy()) return;
  m.impl("joint_relation_norm",
         &joint_relation_norm_autocast<c10::DeviceType::CPU, c10::DispatchKey::AutocastCPU>);
  m.impl("joint_relation_norm_training",
         &joint_relation_norm_training_autocast<c10::DeviceType::CPU, c10::DispatchKey::AutocastCPU>);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCUDA, m) {
  if (!first_copy()) return;
  m.impl("joint_relation_norm",
         &joint_relation_norm_autocast<c10::DeviceType::CUDA, c10::DispatchKey::AutocastCUDA>);
  m.impl("joint_relation_norm_training",
         &joint_relation_norm_training_autocast<c10::DeviceType::CUDA, c10::DispatchKey::AutocastCUDA>);
}

}  // namespace
}  // namespace rpstn
