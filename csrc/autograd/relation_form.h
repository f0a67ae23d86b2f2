#pragma once

#include <optional>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include "dtypes.h"

namespace rpstn {

// joint_relation from differentiable ATen operations, unrounded, for heat maps in the type of the sums.
inline at::Tensor relation_form(
    const at::Tensor& heatmaps, const at::Tensor& weight_g, const at::Tensor& bias_g, const at::Tensor& weight_o,
    const at::Tensor& bias_o, double scale, const std::optional<at::Tensor>& scale_tensor) {
  const auto acc = heatmaps.scalar_type();
  const auto values = heatmaps.flatten(2);
  auto gram = at::matmul(values, values.transpose(1, 2));
  // What the softmax does not see of a row: without it the derivative by the scale is a sum of small numbers.
  if (gram.sym_size(2) != 0) gram = gram - gram.detach().amax(/*dim=*/2, /*keepdim=*/true);
  const auto relation = scale_tensor.has_value() ? gram * as_dtype(*scale_tensor, acc).reshape({}) : gram * scale;
  const auto weights = at::softmax(relation, 2);
  const auto messages = at::matmul(as_dtype(weight_g, acc), values) + as_dtype(bias_g, acc).unsqueeze(1);
  const auto mixed = at::matmul(at::matmul(as_dtype(weight_o, acc), weights), messages);
  return (mixed + as_dtype(bias_o, acc).unsqueeze(1) + values).view_as(heatmaps);
}

// Shape inference of a gradient, and of scale_tensor's.
inline at::Tensor empty_gradient(const at::Tensor& like, bool needed) {
  return needed ? at::empty_symint(like.sym_sizes(), like.options()) : at::empty_symint({0}, like.options());
}

inline at::Tensor empty_gradient(const std::optional<at::Tensor>& scale_tensor, const at::Tensor& sums, bool needed) {
  if (!scale_tensor.has_value()) return at::empty_symint({0}, sums.options());
  return empty_gradient(*scale_tensor, needed);
}

}  // namespace rpstn
