#pragma once

// Tensors as the kernels of planes take them.

#include <limits>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "cuda/plane_view.cuh"
#include "dynamic_conv2d.h"

namespace rpstn {

inline Dtype dtype_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble: return Dtype::kFloat64;
    case at::kFloat: return Dtype::kFloat32;
    case at::kHalf: return Dtype::kFloat16;
    default: return Dtype::kBFloat16;
  }
}

// Of a tensor [B, C, H, W].
inline PlaneView plane_view(const at::Tensor& tensor) {
  const auto stride = [&](int64_t axis) { return tensor.size(axis) > 1 ? tensor.stride(axis) : 0; };
  const int64_t width = tensor.size(3), bytes = tensor.element_size();
  const auto* data = tensor.const_data_ptr();
  const bool quads = width % 4 == 0 && tensor.stride(3) == 1 && (stride(0) | stride(1) | stride(2)) % 4 == 0 &&
                     bytes < 8 && reinterpret_cast<uintptr_t>(data) % (4 * bytes) == 0;
  return {data, dtype_of(tensor.scalar_type()), stride(0), stride(1), stride(2), stride(3),
          static_cast<int>(tensor.size(1)), static_cast<int>(tensor.size(2)), static_cast<int>(width), quads};
}

// Of a contiguous tensor [B, C, ...], or of one that is not needed.
inline PlaneTarget plane_target(const at::Tensor& tensor, bool needed = true) {
  const int channels = needed ? static_cast<int>(tensor.size(1)) : 0;
  return {needed ? tensor.mutable_data_ptr() : nullptr, dtype_of(tensor.scalar_type()), channels, channels, 0};
}

// Padding at the bottom and right is what the size of the output says. Positions in a plane are 32-bit integers.
inline DynamicConv2dShape cuda_plane_shape(
    const char* op, const at::Tensor& features, const at::Tensor& kernels, int64_t top, int64_t left, int64_t bottom,
    int64_t right) {
  constexpr int64_t kLargest = std::numeric_limits<int>::max() / 4;
  const DynamicConv2dShape shape = {
      features.size(0) * features.size(1), features.size(2), features.size(3), kernels.size(2), kernels.size(3), top,
      left, features.size(2) + top + bottom - kernels.size(2) + 1,
      features.size(3) + left + right - kernels.size(3) + 1};
  TORCH_CHECK_NOT_IMPLEMENTED(
      features.size(2) + top + bottom <= kLargest && features.size(3) + left + right <= kLargest, op,
      ": expected padded features of at most ", kLargest, " rows and columns on CUDA, got ",
      at::IntArrayRef({features.size(2) + top + bottom, features.size(3) + left + right}));
  return shape;
}

}  // namespace rpstn
