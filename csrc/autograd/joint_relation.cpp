// Derivatives of any order, shape inference and the autocast rule of joint_relation; see joint_relation.h.

#include "joint_relation.h"

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

using Signature = Tensor(
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, double, const OptionalTensor&);
using ForwardSignature = JointRelationForward(
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, double, const OptionalTensor&);
using BackwardSignature = JointRelationBackward(
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, double,
    const OptionalTensor&, bool, bool);

const auto& plain_op() {
  static const auto op = find_op<Signature>("rpstn_ext::joint_relation");
  return op;
}

const auto& forward_op() {
  static const auto op = find_op<ForwardSignature>("rpstn_ext::joint_relation_forward");
  return op;
}

const auto& backward_op() {
  static const auto op = find_op<BackwardSignature>("rpstn_ext::joint_relation_backward");
  return op;
}

// Second and higher derivatives are taken of this form.
Tensor differentiable_form(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  const auto acc = accumulate_dtype(heatmaps.scalar_type());
  const auto out = relation_form(as_dtype(heatmaps, acc), weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
  return as_dtype(out, heatmaps.scalar_type());
}

struct JointRelationBackwardFunction : torch::autograd::Function<JointRelationBackwardFunction> {
  static variable_list forward(
      AutogradContext* ctx, const Tensor& grad_out, const Tensor& heatmaps, const Tensor& gram,
      const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, double scale,
      const OptionalTensor& scale_tensor, bool need_heatmaps, bool need_parameters) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({grad_out, heatmaps, weight_g, bias_g, weight_o, or_undefined(scale_tensor)});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["need_heatmaps"] = need_heatmaps;
    ctx->saved_data["need_parameters"] = need_parameters;
    at::AutoDispatchBelowADInplaceOrView below;
    auto [of_heatmaps, of_weight_g, of_bias_g, of_weight_o, of_bias_o, of_scale] =
        backward_op().call(grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor, need_heatmaps,
                           need_parameters);
    return {of_heatmaps, of_weight_g, of_bias_g, of_weight_o, of_bias_o, of_scale};
  }

  // Differentiates the first derivative as a function of grad_out, heat maps, parameters and scale. G is a function of
  // the heat maps and gets no gradient of its own; no derivative depends on bias_o.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const bool create_graph = at::GradMode::is_enabled();
    at::AutoGradMode with_grad(true);
    auto weights = grads;
    if (!ctx->saved_data["need_heatmaps"].toBool()) weights[0] = Tensor();
    for (size_t i = 1; i < weights.size(); ++i) {
      if (!ctx->saved_data["need_parameters"].toBool()) weights[i] = Tensor();
    }
    variable_list inputs;
    for (const auto& saved : ctx->get_saved_variables()) inputs.push_back(leaf_or_alias(saved, create_graph));
    const auto scale_tensor = inputs[5];
    if (!scale_tensor.defined()) inputs.pop_back();
    const auto &grad_out = inputs[0], &heatmaps = inputs[1], &weight_g = inputs[2], &bias_g = inputs[3],
               &weight_o = inputs[4];
    const auto bias_o = at::zeros_like(bias_g.detach()).requires_grad_();
    const auto out = differentiable_form(heatmaps, weight_g, bias_g, weight_o, bias_o,
                                         ctx->saved_data["scale"].toDouble(), if_defined(scale_tensor));
    variable_list arguments = {heatmaps, weight_g, bias_g, weight_o, bias_o};
    if (scale_tensor.defined()) arguments.push_back(scale_tensor);
    auto needed = needed_inputs(ctx, 0, inputs.size() + 1);
    needed.erase(needed.begin() + 2);  // G's
    const auto second = second_derivatives(out, grad_out, arguments, weights, inputs, needed, create_graph);
    return {second[0], second[1], Tensor(), second[2], second[3], second[4], Tensor(),
            scale_tensor.defined() ? second[5] : Tensor(), Tensor(), Tensor()};
  }
};

struct JointRelationFunction : torch::autograd::Function<JointRelationFunction> {
  static Tensor forward(
      AutogradContext* ctx, const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g,
      const Tensor& weight_o, const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [out, gram] = forward_op().call(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({heatmaps, gram, weight_g, bias_g, weight_o, or_undefined(scale_tensor)});
    ctx->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(7);
    const auto saved = ctx->get_saved_variables();
    const auto &heatmaps = saved[0], &gram = saved[1], &weight_g = saved[2], &bias_g = saved[3],
               &weight_o = saved[4], &scale_tensor = saved[5];
    const auto needed = needed_inputs(ctx, 0, scale_tensor.defined() ? 6 : 5);
    auto [of_heatmaps, of_weight_g, of_bias_g, of_weight_o, of_bias_o, of_scale] = backward_op().call(
        grads[0], heatmaps, gram, weight_g, bias_g, weight_o, ctx->saved_data["scale"].toDouble(),
        if_defined(scale_tensor), needed[0], any_of(needed, 1));
    const auto kept = [&](size_t i, const Tensor& grad) { return needed[i] ? grad : Tensor(); };
    return {kept(0, of_heatmaps), kept(1, of_weight_g), kept(2, of_bias_g), kept(3, of_weight_o), kept(4, of_bias_o),
            Tensor(), scale_tensor.defined() ? kept(5, of_scale) : Tensor()};
  }
};

// --- Autograd ---

Tensor joint_relation_autograd(
    c10::DispatchKeySet keys, const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g,
    const Tensor& weight_o, const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  if (!needs_autograd(heatmaps, weight_g, bias_g, weight_o, bias_o, scale_tensor)) {
    return call_below(plain_op(), keys, heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
  }
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  return JointRelationFunction::apply(
      as_dtype(heatmaps, dtype), as_dtype(weight_g, dtype), as_dtype(bias_g, dtype), as_dtype(weight_o, dtype),
      as_dtype(bias_o, dtype), scale, as_dtype(scale_tensor, accumulate_dtype(dtype)));
}

JointRelationBackward joint_relation_backward_autograd(
    c10::DispatchKeySet keys, const Tensor& grad_out, const Tensor& heatmaps, const Tensor& gram,
    const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, double scale,
    const OptionalTensor& scale_tensor, bool need_heatmaps, bool need_parameters) {
  if (!needs_autograd(grad_out, heatmaps, weight_g, bias_g, weight_o, scale_tensor)) {
    return call_below(backward_op(), keys, grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor,
                      need_heatmaps, need_parameters);
  }
  auto grads = JointRelationBackwardFunction::apply(
      grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor, need_heatmaps, need_parameters);
  return {grads[0], grads[1], grads[2], grads[3], grads[4], grads[5]};
}

// --- Shape inference ---

JointRelationForward joint_relation_forward_meta(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto options = heatmaps.options().dtype(dtype);
  const auto joints = heatmaps.sym_size(1);
  return {at::empty_symint(heatmaps.sym_sizes(), options),
          at::empty_symint({heatmaps.sym_size(0), joints, joints}, options.dtype(accumulate_dtype(dtype)))};
}

Tensor joint_relation_meta(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  return std::get<0>(joint_relation_forward_meta(heatmaps, weight_g, bias_g, weight_o, bias_o, scale,
                                                 scale_tensor));
}

JointRelationBackward joint_relation_backward_meta(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& gram, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, double scale, const OptionalTensor& scale_tensor,
    bool need_heatmaps, bool need_parameters) {
  check_joint_relation_backward(grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor);
  const auto of = [&](const Tensor& parameter) { return empty_gradient(parameter, need_parameters); };
  return {empty_gradient(heatmaps, need_heatmaps), of(weight_g), of(bias_g), of(weight_o), of(bias_g),
          empty_gradient(scale_tensor, gram, need_parameters)};
}

// --- Autocast: the arguments in autocast's dtype, as for a convolution; sums and the scale stay in float32 ---

template <c10::DeviceType kDevice, c10::DispatchKey kKey>
Tensor joint_relation_autocast(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  const c10::impl::ExcludeDispatchKeyGuard without_autocast(kKey);
  const auto dtype = at::autocast::get_autocast_dtype(kDevice);
  const auto cast = [dtype](const Tensor& tensor) { return at::autocast::cached_cast(dtype, tensor, kDevice); };
  return plain_op().call(cast(heatmaps), cast(weight_g), cast(bias_g), cast(weight_o), cast(bias_o), scale,
                         scale_tensor);
}

TORCH_LIBRARY_IMPL(rpstn_ext, Autograd, m) {
  if (!first_copy()) return;
  m.impl("joint_relation", &joint_relation_autograd);
  m.impl("joint_relation_backward", &joint_relation_backward_autograd);
}

TORCH_LIBRARY_IMPL(rpstn_ext, Meta, m) {
  if (!first_copy()) return;
  m.impl("joint_relation", &joint_relation_meta);
  m.impl("joint_relation_forward", &joint_relation_forward_meta);
  m.impl("joint_relation_backward", &joint_relation_backward_meta);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCPU, m) {
  if (!first_copy()) return;
  m.impl("joint_relation", &joint_relation_autocast<c10::DeviceType::CPU, c10::DispatchKey::AutocastCPU>);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCUDA, m) {
  if (!first_copy()) return;
  m.impl("joint_relation", &joint_relation_autocast<c10::DeviceType::CUDA, c10::DispatchKey::AutocastCUDA>);
}

}  // namespace
}  // namespace rpstn
