#pragma once

#include <optional>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>

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

// The dispatcher's handle of rpstn_ext::<name>; keep it in a static.
template <typename Signature>
c10::TypedOperatorHandle<Signature> find_op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").template typed<Signature>();
}

}  // namespace rpstn
