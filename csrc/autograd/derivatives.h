#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace rpstn {

// Whether a derivative, backward or forward, is to be recorded; a call without one skips the autograd function.
template <typename... Tensors>
bool needs_autograd(const Tensors&... tensors) {
  return (at::GradMode::is_enabled() && (tensors.requires_grad() || ...)) ||
         (tensors._fw_grad(/*level=*/0).defined() || ...);
}

// The dispatcher's handle of rpstn_ext::<name>; keep it in a static.
template <typename Signature>
c10::TypedOperatorHandle<Signature> find_op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").template typed<Signature>();
}

}  // namespace rpstn
