#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include "dtypes.h"

namespace rpstn {

// joint_relation from differentiable ATen operations, unrounded, for heat maps in the type of the sums.
inline at::Tensor relation_form(
    const at::Tensor& heatmaps, const at::Tensor& weight_g, const at::Tensor& bias_g, const at::Tensor& weight_o,
    const at::Tensor& bias_o, double scale) {
  const auto acc = heatmaps.scalar_type();
  const auto values = heatmaps.flatten(2);
  const auto weights = at::softmax(at::matmul(values * scale, values.transpose(1, 2)), 2);
  const auto messages = at::matmul(as_dtype(weight_g, acc), values) + as_dtype(bias_g, acc).unsqueeze(1);
  const auto mixed = at::matmul(at::matmul(as_dtype(weight_o, acc), weights), messages);
  return (mixed + as_dtype(bias_o, acc).unsqueeze(1) + values).view_as(heatmaps);
}

}  // namespace rpstn
