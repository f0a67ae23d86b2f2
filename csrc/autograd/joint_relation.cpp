// Derivatives of any order, shape inference and the autocast rule of joint_relation; see joint_relation.h.

#include "joint_relation.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "autograd/derivatives.h"
#include "autograd/relation_form.h"
#include "checks.h"
#include "dtypes.h"

namespace rpstn {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor call_joint_relation(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  static const auto op = find_op<decltype(call_joint_relation)>("rpstn_ext::joint_relation");
  return op.call(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
}

JointRelationForward call_forward(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  static const auto op = find_op<decltype(call_forward)>("rpstn_ext::joint_relation_forward");
  return op.call(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
}

JointRelationBackward call_backward(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& gram, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, double scale, const OptionalTensor& scale_tensor) {
  static const auto op = find_op<decltype(call_backward)>("rpstn_ext::joint_relation_backward");
  return op.call(grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor);
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
      const OptionalTensor& scale_tensor) {
    ctx->save_for_backward({grad_out, heatmaps, weight_g, bias_g, weight_o, or_undefined(scale_tensor)});
    ctx->saved_data["scale"] = scale;
    at::AutoDispatchBelowADInplaceOrView below;
    auto [grad_heatmaps, grad_weight_g, grad_bias_g, grad_weight_o, grad_bias_o, grad_scale] =
        call_backward(grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor);
    return {grad_heatmaps, grad_weight_g, grad_bias_g, grad_weight_o, grad_bias_o, grad_scale};
  }

  // Differentiates the first derivative as a function of grad_out, heat maps, parameters and scale. G is a function of
  // the heat maps and gets no gradient of its own; no derivative depends on bias_o.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const bool create_graph = at::GradMode::is_enabled();
    at::AutoGradMode with_grad(true);
    variable_list inputs;
    for (const auto& saved : ctx->get_saved_variables()) inputs.push_back(leaf_or_alias(saved, create_graph));
    const auto scale_tensor = inputs[5];
    if (!scale_tensor.defined()) inputs.pop_back();
    const auto &grad_out = inputs[0], &heatmaps = inputs[1], &weight_g = inputs[2], &bias_g = inputs[3],
               &weight_o = inputs[4];
    const auto bias_o = at::zeros_like(bias_g.detach()).requires_grad_();
    const auto out = differentiable_form(heatmaps, weight_g, bias_g, weight_o, bias_o,
                                         ctx->saved_data["scale"].toDouble(), if_defined(scale_tensor));
    variable_list differentiated = {heatmaps, weight_g, bias_g, weight_o, bias_o};
    if (scale_tensor.defined()) differentiated.push_back(scale_tensor);
    const auto first = torch::autograd::grad(
        {out}, differentiated, {grad_out}, /*retain_graph=*/true, /*create_graph=*/true);
    variable_list outputs, weights;
    for (size_t i = 0; i < first.size(); ++i) {
      if (grads[i].defined()) {
        outputs.push_back(first[i]);
        weights.push_back(grads[i]);
      }
    }
    const auto second = torch::autograd::grad(
        outputs, inputs, weights, /*retain_graph=*/create_graph, create_graph, /*allow_unused=*/true);
    return {second[0], second[1], Tensor(), second[2], second[3], second[4], Tensor(),
            scale_tensor.defined() ? second[5] : Tensor()};
  }
};

struct JointRelationFunction : torch::autograd::Function<JointRelationFunction> {
  static Tensor forward(
      AutogradContext* ctx, const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g,
      const Tensor& weight_o, const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [out, gram] = call_forward(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
    ctx->save_for_backward({heatmaps, gram, weight_g, bias_g, weight_o, or_undefined(scale_tensor)});
    ctx->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(7);
    const auto saved = ctx->get_saved_variables();
    const auto &heatmaps = saved[0], &gram = saved[1], &weight_g = saved[2], &bias_g = saved[3],
               &weight_o = saved[4], &scale_tensor = saved[5];
    auto [grad_heatmaps, grad_weight_g, grad_bias_g, grad_weight_o, grad_bias_o, grad_scale] =
        call_backward(grads[0], heatmaps, gram, weight_g, bias_g, weight_o, ctx->saved_data["scale"].toDouble(),
                      if_defined(scale_tensor));
    return {grad_heatmaps, grad_weight_g, grad_bias_g, grad_weight_o, grad_bias_o, Tensor(),
            scale_tensor.defined() ? grad_scale : Tensor()};
  }
};

// --- Autograd ---

Tensor joint_relation_autograd(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  if (!needs_autograd(heatmaps, weight_g, bias_g, weight_o, bias_o, scale_tensor)) {
    at::AutoDispatchBelowADInplaceOrView below;
    return call_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
  }
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  return JointRelationFunction::apply(
      as_dtype(heatmaps, dtype), as_dtype(weight_g, dtype), as_dtype(bias_g, dtype), as_dtype(weight_o, dtype),
      as_dtype(bias_o, dtype), scale, as_dtype(scale_tensor, accumulate_dtype(dtype)));
}

JointRelationBackward joint_relation_backward_autograd(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& gram, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, double scale, const OptionalTensor& scale_tensor) {
  if (!needs_autograd(grad_out, heatmaps, weight_g, bias_g, weight_o, scale_tensor)) {
    at::AutoDispatchBelowADInplaceOrView below;
    return call_backward(grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor);
  }
  auto grads = JointRelationBackwardFunction::apply(
      grad_out, heatmaps, gram, weight_g, bias_g, weight_o, scale, scale_tensor);
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
    const Tensor& bias_g, const Tensor& weight_o, double scale, const OptionalTensor& scale_tensor) {
  const auto empty = [](const Tensor& like) { return at::empty_symint(like.sym_sizes(), like.options()); };
  return {empty(heatmaps), empty(weight_g), empty(bias_g), empty(weight_o), empty(bias_g),
          empty_like_scale(scale_tensor, gram)};
}

// --- Autocast: the arguments in autocast's dtype, as for a convolution; sums and the scale stay in float32 ---

template <c10::DeviceType kDevice, c10::DispatchKey kKey>
Tensor joint_relation_autocast(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, const OptionalTensor& scale_tensor) {
  const c10::impl::ExcludeDispatchKeyGuard without_autocast(kKey);
  const auto dtype = at::autocast::get_autocast_dtype(kDevice);
  const auto cast = [dtype](const Tensor& tensor) { return at::autocast::cached_cast(dtype, tensor, kDevice); };
  return call_joint_relation(cast(heatmaps), cast(weight_g), cast(bias_g), cast(weight_o), cast(bias_o), scale,
                             scale_tensor);
}

TORCH_LIBRARY_IMPL(rpstn_ext, Autograd, m) {
  m.impl("joint_relation", &joint_relation_autograd);
  m.impl("joint_relation_backward", &joint_relation_backward_autograd);
}

TORCH_LIBRARY_IMPL(rpstn_ext, Meta, m) {
  m.impl("joint_relation", &joint_relation_meta);
  m.impl("joint_relation_forward", &joint_relation_forward_meta);
  m.impl("joint_relation_backward", &joint_relation_backward_meta);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCPU, m) {
  m.impl("joint_relation", &joint_relation_autocast<c10::DeviceType::CPU, c10::DispatchKey::AutocastCPU>);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCUDA, m) {
  m.impl("joint_relation", &joint_relation_autocast<c10::DeviceType::CUDA, c10::DispatchKey::AutocastCUDA>);
}

}  // namespace
}  // namespace rpstn
