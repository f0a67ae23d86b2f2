#pragma once

// The one spelling of every error message; rpstn_ext/ops/checks.py raises the same classes with the same words.
// Sizes are SymInt, so the same checks serve real, meta and fake tensors.

#include <cmath>
#include <initializer_list>
#include <limits>
#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>
#include <c10/core/SymIntArrayRef.h>
#include <c10/util/Exception.h>

namespace rpstn {

struct NamedTensor {
  const char* name;
  const at::Tensor& tensor;
};

inline void check_dims(const char* op, NamedTensor t, const char* layout) {
  TORCH_CHECK_VALUE(t.tensor.dim() == 4, op, ": expected ", t.name, " to have 4 dimensions ", layout,
                    ", got shape ", t.tensor.sym_sizes());
}

inline void check_shape(const char* op, NamedTensor t, c10::SymIntArrayRef shape) {
  TORCH_CHECK_VALUE(t.tensor.sym_sizes() == shape, op, ": expected ", t.name, " to have shape ", shape, ", got ",
                    t.tensor.sym_sizes());
}

// All floating, all on the device of the first.
inline void check_tensors(const char* op, std::initializer_list<NamedTensor> tensors) {
  for (const auto& t : tensors) {
    const auto dtype = t.tensor.scalar_type();
    TORCH_CHECK_TYPE(dtype == at::kDouble || dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16,
                     op, ": expected ", t.name, " to be float64, float32, float16 or bfloat16, got ",
                     c10::getDtypeNames(dtype).first);
  }
  const auto& first = *tensors.begin();
  for (const auto& t : tensors) {
    TORCH_CHECK(t.tensor.device() == first.tensor.device(), op, ": expected ", t.name, " on ",
                first.tensor.device(), " like ", first.name, ", got ", t.tensor.device());
  }
}

inline void check_joint_relation(
    const at::Tensor& heatmaps, const at::Tensor& weight_g, const at::Tensor& bias_g, const at::Tensor& weight_o,
    const at::Tensor& bias_o, double scale, const std::optional<at::Tensor>& scale_tensor,
    const char* op = "joint_relation") {
  check_dims(op, {"heatmaps", heatmaps}, "[B, K, H, W]");
  const c10::SymInt matrix[] = {heatmaps.sym_size(1), heatmaps.sym_size(1)};
  const c10::SymIntArrayRef row(matrix, 1);
  check_shape(op, {"weight_g", weight_g}, matrix);
  check_shape(op, {"bias_g", bias_g}, row);
  check_shape(op, {"weight_o", weight_o}, matrix);
  check_shape(op, {"bias_o", bias_o}, row);
  check_tensors(op, {{"heatmaps", heatmaps}, {"weight_g", weight_g}, {"bias_g", bias_g},
                     {"weight_o", weight_o}, {"bias_o", bias_o}});
  TORCH_CHECK_VALUE(std::isfinite(scale), op, ": expected scale to be finite, got ", scale);
  if (!scale_tensor.has_value()) return;
  TORCH_CHECK_VALUE(scale_tensor->sym_numel() == 1, op, ": expected scale to be one number, got shape ",
                    scale_tensor->sym_sizes());
  check_tensors(op, {{"heatmaps", heatmaps}, {"scale", *scale_tensor}});
}

// `gram` is G of the forward call.
inline void check_joint_relation_backward(
    const at::Tensor& grad_out, const at::Tensor& heatmaps, const at::Tensor& gram, const at::Tensor& weight_g,
    const at::Tensor& bias_g, const at::Tensor& weight_o, double scale,
    const std::optional<at::Tensor>& scale_tensor) {
  const char* op = "joint_relation_backward";
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, /*bias_o=*/bias_g, scale, scale_tensor, op);
  check_shape(op, {"grad_out", grad_out}, heatmaps.sym_sizes());
  const c10::SymInt matrices[] = {heatmaps.sym_size(0), heatmaps.sym_size(1), heatmaps.sym_size(1)};
  check_shape(op, {"gram", gram}, matrices);
  check_tensors(op, {{"heatmaps", heatmaps}, {"grad_out", grad_out}, {"gram", gram}});
}

inline void check_joint_relation_norm(
    const at::Tensor& heatmaps, const at::Tensor& weight_g, const at::Tensor& bias_g, const at::Tensor& weight_o,
    const at::Tensor& bias_o, const at::Tensor& norm_weight, const at::Tensor& norm_bias,
    const at::Tensor& running_mean, const at::Tensor& running_var, bool training, double eps, double scale,
    const std::optional<at::Tensor>& scale_tensor, const char* op = "joint_relation_norm") {
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor, op);
  const c10::SymInt row[] = {heatmaps.sym_size(1)};
  check_shape(op, {"norm_weight", norm_weight}, row);
  check_shape(op, {"norm_bias", norm_bias}, row);
  check_shape(op, {"running_mean", running_mean}, row);
  check_shape(op, {"running_var", running_var}, row);
  check_tensors(op, {{"heatmaps", heatmaps}, {"norm_weight", norm_weight}, {"norm_bias", norm_bias},
                     {"running_mean", running_mean}, {"running_var", running_var}});
  TORCH_CHECK_VALUE(std::isfinite(eps) && eps >= 0, op, ": expected eps to be finite and at least 0, got ", eps);
  TORCH_CHECK_VALUE(!training || heatmaps.sym_size(0) * heatmaps.sym_size(2) * heatmaps.sym_size(3) != 1, op,
                    ": expected more than one value per joint in training, got heatmaps of shape ",
                    heatmaps.sym_sizes());
}

// `moments`, `mean` and `var` are those of the forward call.
inline void check_joint_relation_norm_backward(
    const at::Tensor& grad_out, const at::Tensor& heatmaps, const at::Tensor& moments, const at::Tensor& mean,
    const at::Tensor& var, const at::Tensor& weight_g, const at::Tensor& bias_g, const at::Tensor& weight_o,
    const at::Tensor& bias_o, const at::Tensor& norm_weight, bool training, double eps, double scale,
    const std::optional<at::Tensor>& scale_tensor, const std::optional<at::Tensor>& totals) {
  const char* op = "joint_relation_norm_backward";
  check_joint_relation_norm(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, /*norm_bias=*/norm_weight, mean,
                            var, training && !totals.has_value(), eps, scale, scale_tensor, op);
  check_shape(op, {"grad_out", grad_out}, heatmaps.sym_sizes());
  const c10::SymInt rows[] = {heatmaps.sym_size(0), heatmaps.sym_size(1), heatmaps.sym_size(1) + 2};
  check_shape(op, {"moments", moments}, rows);
  check_tensors(op, {{"heatmaps", heatmaps}, {"grad_out", grad_out}, {"moments", moments}});
  if (!totals.has_value()) return;
  const c10::SymInt numbers[] = {2 * heatmaps.sym_size(1) + 1};
  check_shape(op, {"totals", *totals}, numbers);
  check_tensors(op, {{"heatmaps", heatmaps}, {"totals", *totals}});
  TORCH_CHECK_VALUE(training, op, ": expected totals in training only, where statistics have gradients");
}

// `moments` are those of joint_relation_norm_sums, `mean` is the whole batch's.
inline void check_joint_relation_norm_gradient_sums(
    const at::Tensor& grad_out, const at::Tensor& heatmaps, const at::Tensor& moments, const at::Tensor& mean,
    const at::Tensor& weight_g, const at::Tensor& bias_g, const at::Tensor& weight_o, const at::Tensor& bias_o,
    double scale, const std::optional<at::Tensor>& scale_tensor) {
  const char* op = "joint_relation_norm_gradient_sums";
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor, op);
  const c10::SymInt row[] = {heatmaps.sym_size(1)};
  check_shape(op, {"mean", mean}, row);
  check_shape(op, {"grad_out", grad_out}, heatmaps.sym_sizes());
  const c10::SymInt rows[] = {heatmaps.sym_size(0), heatmaps.sym_size(1), heatmaps.sym_size(1) + 2};
  check_shape(op, {"moments", moments}, rows);
  check_tensors(op, {{"heatmaps", heatmaps}, {"grad_out", grad_out}, {"moments", moments}, {"mean", mean}});
}

inline void check_dynamic_conv2d(
    const at::Tensor& features, const at::Tensor& kernels, const c10::SymInt& top, const c10::SymInt& left,
    const c10::SymInt& bottom, const c10::SymInt& right, const char* op = "dynamic_conv2d") {
  check_dims(op, {"features", features}, "[B, C, H, W]");
  check_dims(op, {"kernels", kernels}, "[B, C, kh, kw]");
  const auto planes = features.sym_sizes().slice(0, 2);
  TORCH_CHECK_VALUE(kernels.sym_sizes().slice(0, 2) == planes, op,
                    ": expected kernels to have the samples and channels ", planes, " of features, got shape ",
                    kernels.sym_sizes());
  check_tensors(op, {{"features", features}, {"kernels", kernels}});
  const c10::SymInt padding[] = {top, left, bottom, right};
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // sums and products of sizes stay in 64 bits
  for (const auto& side : padding) {
    TORCH_CHECK_VALUE(side >= 0 && side <= kMost, op, ": expected padding of 0 to ", kMost, ", got ",
                      c10::SymIntArrayRef(padding));
  }
  const auto size = kernels.sym_sizes().slice(2);
  const c10::SymInt padded[] = {features.sym_size(2) + top + bottom, features.sym_size(3) + left + right};
  TORCH_CHECK_VALUE(size[0] >= 1 && size[1] >= 1 && size[0] <= padded[0] && size[1] <= padded[1], op,
                    ": expected kernels of at least 1 x 1 that fit into the padded features ",
                    c10::SymIntArrayRef(padded), ", got ", size);
}

inline void check_dynamic_conv2d_backward(
    const at::Tensor& grad_out, const at::Tensor& features, const at::Tensor& kernels, const c10::SymInt& top,
    const c10::SymInt& left, const c10::SymInt& bottom, const c10::SymInt& right) {
  const char* op = "dynamic_conv2d_backward";
  check_dynamic_conv2d(features, kernels, top, left, bottom, right, op);
  const c10::SymInt sizes[] = {
      features.sym_size(0), features.sym_size(1), features.sym_size(2) + top + bottom - kernels.sym_size(2) + 1,
      features.sym_size(3) + left + right - kernels.sym_size(3) + 1};
  check_shape(op, {"grad_out", grad_out}, sizes);
  check_tensors(op, {{"features", features}, {"grad_out", grad_out}});
}

inline void check_match_weight(const char* op, const at::Tensor& features, const at::Tensor& weight) {
  TORCH_CHECK_VALUE(weight.dim() == 2 && weight.sym_size(1) == features.sym_size(1), op,
                    ": expected weight to have shape [K, ", features.sym_size(1), "], got ", weight.sym_sizes());
}

inline void check_dynamic_match(
    const at::Tensor& features, const at::Tensor& kernels, const at::Tensor& weight, const at::Tensor& bias,
    const c10::SymInt& top, const c10::SymInt& left, const c10::SymInt& bottom, const c10::SymInt& right) {
  const char* op = "dynamic_match";
  check_dynamic_conv2d(features, kernels, top, left, bottom, right, op);
  check_match_weight(op, features, weight);
  check_shape(op, {"bias", bias}, weight.sym_sizes().slice(0, 1));
  check_tensors(op, {{"features", features}, {"kernels", kernels}, {"weight", weight}, {"bias", bias}});
}

// The gradient that comes in fits the maps that went out.
inline void check_dynamic_match_backward(
    const at::Tensor& grad_out, const at::Tensor& features, const at::Tensor& kernels, const at::Tensor& weight,
    const c10::SymInt& top, const c10::SymInt& left, const c10::SymInt& bottom, const c10::SymInt& right) {
  const char* op = "dynamic_match_backward";
  check_dynamic_conv2d(features, kernels, top, left, bottom, right, op);
  check_match_weight(op, features, weight);
  const c10::SymInt sizes[] = {
      features.sym_size(0), weight.sym_size(0), features.sym_size(2) + top + bottom - kernels.sym_size(2) + 1,
      features.sym_size(3) + left + right - kernels.sym_size(3) + 1};
  check_shape(op, {"grad_out", grad_out}, sizes);
  check_tensors(op, {{"features", features}, {"grad_out", grad_out}, {"weight", weight}});
}

}  // namespace rpstn
