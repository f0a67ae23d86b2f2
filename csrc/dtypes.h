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
// wants of a parameter's first gradient. Of shape [0] where they are not needed.
inline at::Tensor unpacked(const at::Tensor& packed, int64_t begin, const at::Tensor& like, bool needed) {
  if (!needed) return at::empty({0}, like.options());
  return packed.narrow(0, begin, like.numel()).view(like.sizes()).to(like.scalar_type(), false, true);
}

inline at::Tensor unpacked(
    const at::Tensor& packed, int64_t begin, const std::optional<at::Tensor>& like, bool needed) {
  return like.has_value() ? unpacked(packed, begin, *like, needed) : at::empty({0}, packed.options());
}

// Memory for a gradient, of shape [0] where it is not needed.
inline at::Tensor empty_gradient(const at::Tensor& like, at::ScalarType dtype, bool needed) {
  return at::empty(needed ? like.sizes() : at::IntArrayRef{0}, like.options().dtype(dtype));
}

}  // namespace rpstn
