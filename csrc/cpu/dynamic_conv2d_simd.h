#pragma once

#include "cpu/rows.h"
#include "dynamic_conv2d.h"

namespace rpstn {

template <typename scalar_t>
struct DynamicConv2dSimd {
  using acc_t = typename Accumulate<scalar_t>::type;

  // Planes [begin, end). past_caches: whether the result is too large to be read from a cache afterwards.
  void (*forward)(
      const DynamicConv2dShape& shape, const scalar_t* features, const scalar_t* kernels, scalar_t* output,
      bool past_caches, int64_t begin, int64_t end);

  // Both gradients of planes [begin, end). Each may be null.
  void (*backward)(
      const DynamicConv2dShape& shape, const scalar_t* grad_output, const scalar_t* features, const scalar_t* kernels,
      scalar_t* grad_features, scalar_t* grad_kernels, bool past_caches, int64_t begin, int64_t end);

  // Of planes too large for a buffer the same in bands of `rows` rows, bands [begin, end) of all planes' one after the
  // other: rows of the output, of the gradient of the features, and of the output again, as whose sums the gradient of
  // the kernels comes in parts [bands, kernel_h, kernel_w].
  void (*forward_bands)(
      const DynamicConv2dShape& shape, int64_t rows, const scalar_t* features, const scalar_t* kernels,
      scalar_t* output, bool past_caches, int64_t begin, int64_t end);
  void (*features_bands)(
      const DynamicConv2dShape& shape, int64_t rows, const scalar_t* grad_output, const scalar_t* kernels,
      scalar_t* grad_features, bool past_caches, int64_t begin, int64_t end);
  void (*kernels_bands)(
      const DynamicConv2dShape& shape, int64_t rows, const scalar_t* grad_output, const scalar_t* features,
      acc_t* parts, int64_t begin, int64_t end);
};

namespace baseline {
template <typename scalar_t>
DynamicConv2dSimd<scalar_t> dynamic_conv2d_simd();
}
namespace avx2 {
template <typename scalar_t>
DynamicConv2dSimd<scalar_t> dynamic_conv2d_simd();
}
namespace avx512 {
template <typename scalar_t>
DynamicConv2dSimd<scalar_t> dynamic_conv2d_simd();
}

}  // namespace rpstn
