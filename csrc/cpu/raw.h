#pragma once

// Tensors' memory as the SIMD files take it, which know no torch types.

#include <optional>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "cpu/memory.h"
#include "cpu/rows.h"
#include "dtypes.h"

namespace rpstn {

// The type of the SIMD files with the layout of the tensor's.
template <typename tensor_t>
struct Raw {
  using type = tensor_t;
};
template <>
struct Raw<at::Half> {
  using type = Half;
};
template <>
struct Raw<at::BFloat16> {
  using type = BFloat16;
};

template <typename tensor_t>
const typename Raw<tensor_t>::type* input(const at::Tensor& tensor) {
  return reinterpret_cast<const typename Raw<tensor_t>::type*>(tensor.const_data_ptr<tensor_t>());
}

template <typename tensor_t>
typename Raw<tensor_t>::type* output(const at::Tensor& tensor) {
  return reinterpret_cast<typename Raw<tensor_t>::type*>(tensor.mutable_data_ptr<tensor_t>());
}

// Memory for a result.
inline at::Tensor empty_result(at::IntArrayRef sizes, const at::TensorOptions& options) {
  auto result = at::empty(sizes, options);
  prefer_huge_pages(result.mutable_data_ptr(), result.nbytes());
  return result;
}

// The same for a gradient, of shape [0] where it is not needed.
inline at::Tensor empty_gradient_result(const at::Tensor& like, at::ScalarType dtype, bool needed) {
  return empty_result(needed ? like.sizes() : at::IntArrayRef{0}, like.options().dtype(dtype));
}

inline at::Tensor dense(const at::Tensor& tensor, at::ScalarType dtype) { return as_dtype(tensor, dtype).contiguous(); }

// scale, or the number that stands in its place.
inline double number(double scale, const std::optional<at::Tensor>& scale_tensor) {
  return scale_tensor.has_value() ? dense(*scale_tensor, at::kDouble).const_data_ptr<double>()[0] : scale;
}

}  // namespace rpstn
