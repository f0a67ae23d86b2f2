// Derivatives of any order, shape inference and the autocast rule of dynamic_match; see dynamic_match.h.

#include "dynamic_match.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/unflatten.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "autograd/derivatives.h"
#include "autograd/padding.h"
#include "checks.h"
#include "dtypes.h"
#include "first_copy.h"

namespace rpstn {
namespace {

using at::Tensor;
using c10::SymInt;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using ForwardSignature =
    Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, SymInt, SymInt, SymInt, SymInt);
using BackwardSignature = DynamicMatchBackward(
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, SymInt, SymInt, SymInt, SymInt, bool, bool, bool,
    bool);

const auto& forward_op() {
  static const auto op = find_op<ForwardSignature>("rpstn_ext::dynamic_match");
  return op;
}

const auto& backward_op() {
  static const auto op = find_op<BackwardSignature>("rpstn_ext::dynamic_match_backward");
  return op;
}

Tensor call_forward(
    const Tensor& features, const Tensor& kernels, const Tensor& weight, const Tensor& bias, const Padding& p) {
  return forward_op().call(features, kernels, weight, bias, p.top, p.left, p.bottom, p.right);
}

// Gradients that are not needed have shape [0].
DynamicMatchBackward call_backward(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, const Tensor& weight, const Padding& p,
    bool need_features, bool need_kernels, bool need_weight, bool need_bias) {
  return backward_op().call(grad_out, features, kernels, weight, p.top, p.left, p.bottom, p.right, need_features,
                            need_kernels, need_weight, need_bias);
}

// The operation from differentiable operations: second and higher derivatives are taken of this form.
Tensor differentiable_form(
    const Tensor& features, const Tensor& kernels, const Tensor& weight, const Tensor& bias, const Padding& p) {
  static const auto conv =
      find_op<Tensor(const Tensor&, const Tensor&, SymInt, SymInt, SymInt, SymInt)>("rpstn_ext::dynamic_conv2d");
  const auto acc = accumulate_dtype(features.scalar_type());
  const auto matched = conv.call(as_dtype(features, acc), as_dtype(kernels, acc), p.top, p.left, p.bottom, p.right);
  const auto mixed = at::matmul(as_dtype(weight, acc), matched.flatten(2)) + as_dtype(bias, acc).unsqueeze(1);
  const auto maps = at::unflatten_symint(mixed, 2, {matched.sym_size(2), matched.sym_size(3)});
  return as_dtype(maps, features.scalar_type());
}

struct DynamicMatchBackwardFunction : torch::autograd::Function<DynamicMatchBackwardFunction> {
  static variable_list forward(
      AutogradContext* ctx, const Tensor& grad_out, const Tensor& features, const Tensor& kernels,
      const Tensor& weight, const Padding& padding, bool need_features, bool need_kernels, bool need_weight,
      bool need_bias) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({grad_out, features, kernels, weight});
    padding.save(ctx);
    ctx->saved_data["needs"] =
        c10::List<bool>({need_features, need_kernels, need_weight, need_bias});
    at::AutoDispatchBelowADInplaceOrView below;
    auto [grad_features, grad_kernels, grad_weight, grad_bias] = call_backward(
        grad_out, features, kernels, weight, padding, need_features, need_kernels, need_weight, need_bias);
    return {grad_features, grad_kernels, grad_weight, grad_bias};
  }

  // Differentiates the first derivative as a function of grad_out, features, kernels and weight; none depends on bias.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const bool create_graph = at::GradMode::is_enabled();
    at::AutoGradMode with_grad(true);
    const auto asked = ctx->saved_data["needs"].toBoolList();
    auto weights = grads;
    for (size_t i = 0; i < weights.size(); ++i) {
      if (!asked[i]) weights[i] = Tensor();
    }
    variable_list inputs;
    for (const auto& saved : ctx->get_saved_variables()) inputs.push_back(leaf_or_alias(saved, create_graph));
    const auto &grad_out = inputs[0], &features = inputs[1], &kernels = inputs[2], &weight = inputs[3];
    const auto bias = at::zeros_symint({weight.sym_size(0)}, weight.options()).requires_grad_();
    const auto out = differentiable_form(features, kernels, weight, bias, Padding::saved(ctx));
    const auto second = second_derivatives(
        out, grad_out, {features, kernels, weight, bias}, weights, inputs, needed_inputs(ctx, 0, 4), create_graph);
    return {second[0], second[1], second[2], second[3], Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

struct DynamicMatchFunction : torch::autograd::Function<DynamicMatchFunction> {
  static Tensor forward(
      AutogradContext* ctx, const Tensor& features, const Tensor& kernels, const Tensor& weight, const Tensor& bias,
      const Padding& padding) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({features, kernels, weight});
    padding.save(ctx);
    at::AutoDispatchBelowADInplaceOrView below;
    return call_forward(features, kernels, weight, bias, padding);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(5);
    const auto saved = ctx->get_saved_variables();
    const auto need = needed_inputs(ctx, 0, 4);
    auto [grad_features, grad_kernels, grad_weight, grad_bias] = call_backward(
        grads[0], saved[0], saved[1], saved[2], Padding::saved(ctx), need[0], need[1], need[2], need[3]);
    const auto kept = [&](size_t i, const Tensor& grad) { return need[i] ? grad : Tensor(); };
    return {kept(0, grad_features), kept(1, grad_kernels), kept(2, grad_weight), kept(3, grad_bias), Tensor()};
  }
};

// --- Autograd ---

Tensor dynamic_match_autograd(
    c10::DispatchKeySet keys, const Tensor& features, const Tensor& kernels, const Tensor& weight, const Tensor& bias,
    SymInt top, SymInt left, SymInt bottom, SymInt right) {
  if (!needs_autograd(features, kernels, weight, bias)) {
    return call_below(forward_op(), keys, features, kernels, weight, bias, top, left, bottom, right);
  }
  const Padding padding{top, left, bottom, right};
  check_dynamic_match(features, kernels, weight, bias, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels, weight, bias);
  return DynamicMatchFunction::apply(
      as_dtype(features, dtype), as_dtype(kernels, dtype), as_dtype(weight, dtype), as_dtype(bias, dtype), padding);
}

DynamicMatchBackward dynamic_match_backward_autograd(
    c10::DispatchKeySet keys, const Tensor& grad_out, const Tensor& features, const Tensor& kernels,
    const Tensor& weight, SymInt top, SymInt left, SymInt bottom, SymInt right, bool need_features, bool need_kernels,
    bool need_weight, bool need_bias) {
  if (!needs_autograd(grad_out, features, kernels, weight)) {
    return call_below(backward_op(), keys, grad_out, features, kernels, weight, top, left, bottom, right, need_features,
                      need_kernels, need_weight, need_bias);
  }
  const Padding padding{top, left, bottom, right};
  auto grads = DynamicMatchBackwardFunction::apply(
      grad_out, features, kernels, weight, padding, need_features, need_kernels, need_weight, need_bias);
  return {grads[0], grads[1], grads[2], grads[3]};
}

// --- Shape inference ---

Tensor dynamic_match_meta(
    const Tensor& features, const Tensor& kernels, const Tensor& weight, const Tensor& bias, SymInt top, SymInt left,
    SymInt bottom, SymInt right) {
  check_dynamic_match(features, kernels, weight, bias, top, left, bottom, right);
  return at::empty_symint(
      {features.sym_size(0), weight.sym_size(0), features.sym_size(2) + top + bottom - kernels.sym_size(2) + 1,
       features.sym_size(3) + left + right - kernels.sym_size(3) + 1},
      features.options().dtype(common_dtype(features, kernels, weight, bias)));
}

DynamicMatchBackward dynamic_match_backward_meta(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, const Tensor& weight, SymInt top,
    SymInt left, SymInt bottom, SymInt right, bool need_features, bool need_kernels, bool need_weight,
    bool need_bias) {
  check_dynamic_match_backward(grad_out, features, kernels, weight, top, left, bottom, right);
  const auto empty = [](c10::SymIntArrayRef sizes, const Tensor& like, bool needed) {
    return needed ? at::empty_symint(sizes, like.options()) : at::empty_symint({0}, like.options());
  };
  return {empty(features.sym_sizes(), features, need_features), empty(kernels.sym_sizes(), kernels, need_kernels),
          empty(weight.sym_sizes(), weight, need_weight),
          empty(weight.sym_sizes().slice(0, 1), weight, need_bias)};
}

// --- Autocast: the arguments in autocast's dtype, as for a convolution; sums stay in float32 ---

template <c10::DeviceType kDevice, c10::DispatchKey kKey>
Tensor dynamic_match_autocast(
    const Tensor& features, const Tensor& kernels, const Tensor& weight, const Tensor& bias, SymInt top, SymInt left,
    SymInt bottom, SymInt right) {
  const c10::impl::ExcludeDispatchKeyGuard without_autocast(kKey);
  const auto dtype = at::autocast::get_autocast_dtype(kDevice);
  const auto cast = [dtype](const Tensor& tensor) { return at::autocast::cached_cast(dtype, tensor, kDevice); };
  return call_forward(cast(features), cast(kernels), cast(weight), cast(bias), {top, left, bottom, right});
}

TORCH_LIBRARY_IMPL(rpstn_ext, Autograd, m) {
  if (!first_copy()) return;
  m.impl("dynamic_match", &dynamic_match_autograd);
  m.impl("dynamic_match_backward", &dynamic_match_backward_autograd);
}

TORCH_LIBRARY_IMPL(rpstn_ext, Meta, m) {
  if (!first_copy()) return;
  m.impl("dynamic_match", &dynamic_match_meta);
  m.impl("dynamic_match_backward", &dynamic_match_backward_meta);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCPU, m) {
  if (!first_copy()) return;
  m.impl("dynamic_match", &dynamic_match_autocast<c10::DeviceType::CPU, c10::DispatchKey::AutocastCPU>);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCUDA, m) {
  if (!first_copy()) return;
  m.impl("dynamic_match", &dynamic_match_autocast<c10::DeviceType::CUDA, c10::DispatchKey::AutocastCUDA>);
}

}  // namespace
}  // namespace rpstn
