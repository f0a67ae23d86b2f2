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

// scale, or the number that stands in its place, in the type of the sums; its memory lives as long as this.
struct ScaleMemory {
  std::optional<at::Tensor> number;
  RelationScale raw;

  ScaleMemory(double scale, const std::optional<at::Tensor>& scale_tensor, at::ScalarType acc)
      : number(as_dtype(scale_tensor, acc)),
        raw{scale, number.has_value() ? number->const_data_ptr() : nullptr} {}
};

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
