#pragma once

// Tensors as the launchers of joint_relation take them.

#include <optional>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "cuda/joint_relation.cuh"
#include "dtypes.h"

namespace rpstn {

inline Dtype kernel_dtype(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble: return Dtype::kFloat64;
    case at::kHalf: return Dtype::kFloat16;
    case at::kBFloat16: return Dtype::kBFloat16;
    default: return Dtype::kFloat32;
  }
}

inline at::Tensor dense(const at::Tensor& tensor, at::ScalarType dtype) { return as_dtype(tensor, dtype).contiguous(); }

inline RelationShape relation_shape(const at::Tensor& heatmaps) {
  return {heatmaps.size(0), heatmaps.size(1), heatmaps.size(2) * heatmaps.size(3)};
}

// In `dtype`, and its rows and columns one step apart from each other throughout: a copy only where neither is so.
inline at::Tensor as_maps(const at::Tensor& heatmaps, at::ScalarType dtype) {
  const auto values = as_dtype(heatmaps, dtype);
  const bool one_step = values.size(2) <= 1 || values.size(3) <= 1 ||
                        values.stride(2) == values.size(3) * values.stride(3);
  return one_step ? values : values.contiguous();
}

inline Maps maps_of(const at::Tensor& values) {
  const int64_t column = values.size(3) > 1 ? values.stride(3) : values.stride(2);
  return {values.const_data_ptr(), values.stride(0), values.stride(1), column};
}

inline Parameter raw(const at::Tensor& dense_tensor) {
  return {dense_tensor.const_data_ptr(), kernel_dtype(dense_tensor.scalar_type())};
}

// A parameter in its own type, and a copy of it only where it is not dense, or where the kernels do not stage it.
inline at::Tensor parameter(const at::Tensor& tensor, at::ScalarType dtype, RelationShape shape) {
  return stages_parameters(kernel_dtype(dtype), shape) ? tensor.contiguous() : dense(tensor, accumulate_dtype(dtype));
}

// The relation's parameters; their memory lives as long as this. bias_o may be left out.
struct RelationMemory {
  at::Tensor weight_g, bias_g, weight_o, bias_o;

  RelationMemory(
      at::ScalarType dtype, RelationShape shape, const at::Tensor& wg, const at::Tensor& bg, const at::Tensor& wo,
      const at::Tensor& bo = {})
      : weight_g(parameter(wg, dtype, shape)), bias_g(parameter(bg, dtype, shape)), weight_o(parameter(wo, dtype, shape)),
        bias_o(bo.defined() ? parameter(bo, dtype, shape) : bo) {}
  RelationParameters all() const {
    return {raw(weight_g), raw(bias_g), raw(weight_o), bias_o.defined() ? raw(bias_o) : Parameter{}};
  }
};

inline RelationScale relation_scale(double scale, const std::optional<at::Tensor>& scale_tensor) {
  return {scale, scale_tensor.has_value() ? raw(*scale_tensor) : Parameter{}};
}

// Memory for the gradient of a parameter, of shape [0] where it is not needed or the parameter is not there.
inline at::Tensor gradient_like(const at::Tensor& parameter, bool needed) {
  return empty_gradient(parameter, parameter.scalar_type(), needed);
}
inline Target target(const at::Tensor& gradient) {
  return {gradient.numel() > 0 ? gradient.mutable_data_ptr() : nullptr, kernel_dtype(gradient.scalar_type())};
}

// `gradients` [B, size], per sample those of Wg, bg, Wo, bo and, where it has one, of the scale.
inline SampleSums sums_over_samples(
    RelationShape shape, int64_t size, const void* gradients, const at::Tensor& of_weight_g, const at::Tensor& of_bias_g,
    const at::Tensor& of_weight_o, const at::Tensor& of_bias_o, const at::Tensor& of_scale) {
  SampleSums sums = {shape.samples, size, gradients};
  int64_t part = 0;
  for (const auto* gradient : {&of_weight_g, &of_bias_g, &of_weight_o, &of_bias_o, &of_scale}) {
    sums.counts[part] = gradient->numel();
    sums.targets[part++] = target(*gradient);
  }
  return sums;
}

// Memory for so many numbers of the type of the sums; null for none.
struct Numbers {
  at::Tensor memory;

  Numbers(int64_t count, const at::Tensor& like) {
    if (count > 0) memory = at::empty({count}, like.options().dtype(accumulate_dtype(like.scalar_type())));
  }
  void* data() const { return memory.defined() ? memory.mutable_data_ptr() : nullptr; }
};

// Element `first` of a tensor of the type of the sums.
inline void* element(void* data, int64_t first, at::ScalarType acc) {
  return static_cast<char*>(data) + first * c10::elementSize(acc);
}

}  // namespace rpstn
