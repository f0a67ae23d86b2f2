#pragma once

#include <optional>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
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

inline std::optional<at::Tensor> as_dtype(const std::optional<at::Tensor>& tensor, at::ScalarType dtype) {
  if (!tensor.has_value()) return std::nullopt;
  return as_dtype(*tensor, dtype);
}

// What sums are kept in: float for half types, double for double.
inline at::ScalarType accumulate_dtype(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

// Numbers [begin, begin + like.numel()) of `packed`, shaped and typed like `like`, with memory of their own, as autograd
// wants of a parameter's first gradient.
inline at::Tensor unpacked(const at::Tensor& packed, int64_t begin, const at::Tensor& like) {
  return packed.narrow(0, begin, like.numel()).view(like.sizes()).to(like.scalar_type(), false, true);
}

inline at::Tensor unpacked(const at::Tensor& packed, int64_t begin, const std::optional<at::Tensor>& like) {
  return like.has_value() ? unpacked(packed, begin, *like) : at::empty({0}, packed.options());
}

}  // namespace rpstn
