// Derivatives of any order, shape inference and the autocast rule of dynamic_conv2d; see dynamic_conv2d.h.
// The maps are closed under differentiation: with conv(f, k) the operation and (df, dk) = backward(d, f, k),
//   <gf, df> + <gk, dk> = <conv(gf, k) + conv(f, gk), d>,  so its gradients are
//   d: conv(gf, k) + conv(f, gk),   (f, k): backward(d, gf, gk).

#include <tuple>

#include <ATen/autocast_mode.h>
#include <ATen/ops/empty.h>
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

using Gradients = std::tuple<Tensor, Tensor>;
using ForwardSignature = Tensor(const Tensor&, const Tensor&, SymInt, SymInt, SymInt, SymInt);
using BackwardSignature =
    Gradients(const Tensor&, const Tensor&, const Tensor&, SymInt, SymInt, SymInt, SymInt, bool, bool);

const auto& forward_op() {
  static const auto op = find_op<ForwardSignature>("rpstn_ext::dynamic_conv2d");
  return op;
}

const auto& backward_op() {
  static const auto op = find_op<BackwardSignature>("rpstn_ext::dynamic_conv2d_backward");
  return op;
}

Tensor call_forward(const Tensor& features, const Tensor& kernels, const Padding& p) {
  return forward_op().call(features, kernels, p.top, p.left, p.bottom, p.right);
}

// A gradient that is not needed is undefined.
Gradients call_backward(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, const Padding& p, bool need_features,
    bool need_kernels) {
  auto [grad_features, grad_kernels] = backward_op().call(
      grad_out, features, kernels, p.top, p.left, p.bottom, p.right, need_features, need_kernels);
  return {need_features ? grad_features : Tensor(), need_kernels ? grad_kernels : Tensor()};
}

Tensor sum(const Tensor& a, const Tensor& b) {
  if (!a.defined()) return b;
  return b.defined() ? a + b : a;
}

struct DynamicConv2dBackwardFunction : torch::autograd::Function<DynamicConv2dBackwardFunction> {
  static variable_list forward(
      AutogradContext* ctx, const Tensor& grad_out, const Tensor& features, const Tensor& kernels,
      const Padding& padding, bool need_features, bool need_kernels) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({grad_out, features, kernels});
    padding.save(ctx);
    ctx->saved_data["need_features"] = need_features;
    ctx->saved_data["need_kernels"] = need_kernels;
    at::AutoDispatchBelowADInplaceOrView below;
    auto [grad_features, grad_kernels] = backward_op().call(
        grad_out, features, kernels, padding.top, padding.left, padding.bottom, padding.right, need_features,
        need_kernels);
    return {grad_features, grad_kernels};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &grad_out = saved[0], &features = saved[1], &kernels = saved[2];
    const auto padding = Padding::saved(ctx);
    const bool of_features = grads[0].defined() && ctx->saved_data["need_features"].toBool();
    const bool of_kernels = grads[1].defined() && ctx->saved_data["need_kernels"].toBool();
    const bool need_grad_out = ctx->needs_input_grad(0);
    // The gradient of features comes from that of kernels alone, and the reverse.
    const bool need_features = of_kernels && ctx->needs_input_grad(1);
    const bool need_kernels = of_features && ctx->needs_input_grad(2);
    Tensor to_grad_out, to_features, to_kernels;
    if (need_grad_out && of_features) to_grad_out = call_forward(grads[0], kernels, padding);
    if (need_grad_out && of_kernels) to_grad_out = sum(to_grad_out, call_forward(features, grads[1], padding));
    if (need_features || need_kernels) {
      std::tie(to_features, to_kernels) = call_backward(
          grad_out, of_features ? grads[0] : features, of_kernels ? grads[1] : kernels, padding, need_features,
          need_kernels);
    }
    return {to_grad_out, to_features, to_kernels, Tensor(), Tensor(), Tensor()};
  }
};

struct DynamicConv2dFunction : torch::autograd::Function<DynamicConv2dFunction> {
  static Tensor forward(
      AutogradContext* ctx, const Tensor& features, const Tensor& kernels, const Padding& padding) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({features, kernels});
    padding.save(ctx);
    at::AutoDispatchBelowADInplaceOrView below;
    return call_forward(features, kernels, padding);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(3);
    const auto saved = ctx->get_saved_variables();
    auto [grad_features, grad_kernels] = call_backward(
        grads[0], saved[0], saved[1], Padding::saved(ctx), ctx->needs_input_grad(0), ctx->needs_input_grad(1));
    return {grad_features, grad_kernels, Tensor()};
  }
};

// --- Autograd ---

Tensor dynamic_conv2d_autograd(
    c10::DispatchKeySet keys, const Tensor& features, const Tensor& kernels, SymInt top, SymInt left, SymInt bottom, SymInt right) {
  const Padding padding{top, left, bottom, right};
  if (!needs_autograd(features, kernels)) {
    return call_below(forward_op(), keys, features, kernels, top, left, bottom, right);
  }
  check_dynamic_conv2d(features, kernels, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels);
  return DynamicConv2dFunction::apply(as_dtype(features, dtype), as_dtype(kernels, dtype), padding);
}

Gradients dynamic_conv2d_backward_autograd(
    c10::DispatchKeySet keys, const Tensor& grad_out, const Tensor& features, const Tensor& kernels, SymInt top, SymInt left,
    SymInt bottom, SymInt right, bool need_features, bool need_kernels) {
  if (!needs_autograd(grad_out, features, kernels)) {
    return call_below(backward_op(), keys, grad_out, features, kernels, top, left, bottom, right, need_features,
                      need_kernels);
  }
  auto grads = DynamicConv2dBackwardFunction::apply(
      grad_out, features, kernels, Padding{top, left, bottom, right}, need_features, need_kernels);
  return {grads[0], grads[1]};
}

// --- Shape inference ---

Tensor dynamic_conv2d_meta(
    const Tensor& features, const Tensor& kernels, SymInt top, SymInt left, SymInt bottom, SymInt right) {
  check_dynamic_conv2d(features, kernels, top, left, bottom, right);
  return at::empty_symint(
      {features.sym_size(0), features.sym_size(1), features.sym_size(2) + top + bottom - kernels.sym_size(2) + 1,
       features.sym_size(3) + left + right - kernels.sym_size(3) + 1},
      features.options().dtype(common_dtype(features, kernels)));
}

Gradients dynamic_conv2d_backward_meta(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, SymInt top, SymInt left,
    SymInt bottom, SymInt right, bool need_features, bool need_kernels) {
  check_dynamic_conv2d_backward(grad_out, features, kernels, top, left, bottom, right);
  const auto empty = [](const Tensor& like, bool needed) {
    return needed ? at::empty_symint(like.sym_sizes(), like.options()) : at::empty_symint({0}, like.options());
  };
  return {empty(features, need_features), empty(kernels, need_kernels)};
}

// --- Autocast: the arguments in autocast's dtype, as for a convolution; sums stay in float32 ---

template <c10::DeviceType kDevice, c10::DispatchKey kKey>
Tensor dynamic_conv2d_autocast(
    const Tensor& features, const Tensor& kernels, SymInt top, SymInt left, SymInt bottom, SymInt right) {
  const c10::impl::ExcludeDispatchKeyGuard without_autocast(kKey);
  const auto dtype = at::autocast::get_autocast_dtype(kDevice);
  const auto cast = [dtype](const Tensor& tensor) { return at::autocast::cached_cast(dtype, tensor, kDevice); };
  return call_forward(cast(features), cast(kernels), {top, left, bottom, right});
}

TORCH_LIBRARY_IMPL(rpstn_ext, Autograd, m) {
  if (!first_copy()) return;
  m.impl("dynamic_conv2d", &dynamic_conv2d_autograd);
  m.impl("dynamic_conv2d_backward", &dynamic_conv2d_backward_autograd);
}

TORCH_LIBRARY_IMPL(rpstn_ext, Meta, m) {
  if (!first_copy()) return;
  m.impl("dynamic_conv2d", &dynamic_conv2d_meta);
  m.impl("dynamic_conv2d_backward", &dynamic_conv2d_backward_meta);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCPU, m) {
  if (!first_copy()) return;
  m.impl("dynamic_conv2d", &dynamic_conv2d_autocast<c10::DeviceType::CPU, c10::DispatchKey::AutocastCPU>);
}

TORCH_LIBRARY_IMPL(rpstn_ext, AutocastCUDA, m) {
  if (!first_copy()) return;
  m.impl("dynamic_conv2d", &dynamic_conv2d_autocast<c10::DeviceType::CUDA, c10::DispatchKey::AutocastCUDA>);
}

}  // namespace
}  // namespace rpstn
