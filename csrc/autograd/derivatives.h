#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace rpstn {

inline bool has_gradient(const at::Tensor& tensor) { return tensor.requires_grad(); }
inline bool has_gradient(const std::optional<at::Tensor>& tensor) { return tensor.has_value() && has_gradient(*tensor); }
inline bool has_tangent(const at::Tensor& tensor) { return tensor._fw_grad(/*level=*/0).defined(); }
inline bool has_tangent(const std::optional<at::Tensor>& tensor) { return tensor.has_value() && has_tangent(*tensor); }

// Whether a derivative, backward or forward, is to be recorded; a call without one skips the autograd function.
template <typename... Tensors>
bool needs_autograd(const Tensors&... tensors) {
  return (at::GradMode::is_enabled() && (has_gradient(tensors) || ...)) || (has_tangent(tensors) || ...);
}

// An optional argument among an autograd function's saved tensors, undefined where there is none, and back.
inline at::Tensor or_undefined(const std::optional<at::Tensor>& tensor) { return tensor.value_or(at::Tensor()); }
inline std::optional<at::Tensor> if_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

// What a second derivative is taken of instead of a saved tensor. An alias: where another saved tensor comes from this
// one, that path is not followed here a second time.
inline at::Tensor leaf_or_alias(const at::Tensor& saved, bool create_graph) {
  if (!saved.defined()) return saved;
  return create_graph && saved.requires_grad() ? saved.view_as(saved) : saved.detach().requires_grad_();
}

// Which of inputs [begin, begin + count) of an autograd function get a gradient in this pass; whoever is not asked for
// one is not computed. Tensors count, other arguments and absent tensors do not.
inline std::vector<bool> needed_inputs(torch::autograd::AutogradContext* ctx, size_t begin, size_t count) {
  std::vector<bool> needed(count);
  for (size_t i = 0; i < count; ++i) needed[i] = ctx->needs_input_grad(begin + i);
  return needed;
}

inline bool any_of(const std::vector<bool>& needed, size_t begin) {
  for (size_t i = begin; i < needed.size(); ++i) {
    if (needed[i]) return true;
  }
  return false;
}

// With first[i] the derivative of <grad_out, out> by arguments[i]: the derivatives of sum_i <weights[i], first[i]> by
// `inputs`. Only those of defined weights, by inputs that are needed; the others are undefined.
inline torch::autograd::variable_list second_derivatives(
    const at::Tensor& out, const at::Tensor& grad_out, const torch::autograd::variable_list& arguments,
    const torch::autograd::variable_list& weights, const torch::autograd::variable_list& inputs,
    const std::vector<bool>& needed, bool create_graph) {
  torch::autograd::variable_list of, given, by, results(inputs.size());
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!weights[i].defined()) continue;
    of.push_back(arguments[i]);
    given.push_back(weights[i]);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (needed[i]) by.push_back(inputs[i]);
  }
  if (of.empty() || by.empty()) return results;
  const auto first = torch::autograd::grad({out}, of, {grad_out}, /*retain_graph=*/true, /*create_graph=*/true);
  const auto second = torch::autograd::grad(
      first, by, given, /*retain_graph=*/create_graph, create_graph, /*allow_unused=*/true);
  for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
    if (needed[i]) results[i] = second[next++];
  }
  return results;
}

// The dispatcher's handle of rpstn_ext::<name>; keep it in a static.
template <typename Signature>
c10::TypedOperatorHandle<Signature> find_op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").template typed<Signature>();
}

// From an operation's autograd kernel on to the kernel below, which the dispatcher finds from the keys at hand: cheaper
// than a second call.
template <typename Result, typename... Parameters, typename... Arguments>
Result call_below(
    const c10::TypedOperatorHandle<Result(Parameters...)>& op, c10::DispatchKeySet keys, Arguments&&... arguments) {
  at::AutoDispatchBelowADInplaceOrView below;
  return op.redispatch(keys & c10::after_ADInplaceOrView_keyset, std::forward<Arguments>(arguments)...);
}

}  // namespace rpstn
