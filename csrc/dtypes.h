#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/to.h>
#include <c10/core/ScalarType.h>

namespace rpstn {

// The widest dtype among the tensors.
template <typename... Tensors>
at::ScalarType common_dtype(const at::Tensor& first, const Tensors&... rest) {
  auto dtype = first.scalar_type();
  ((dtype = rest.scalar_type() == dtype ? dtype : c10::promoteTypes(dtype, rest.scalar_type())), ...);
  return dtype;
}

inline at::Tensor as_dtype(const at::Tensor& tensor, at::ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : tensor.to(dtype);
}

// What sums are kept in: float for half types, double for double.
inline at::ScalarType accumulate_dtype(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace rpstn
