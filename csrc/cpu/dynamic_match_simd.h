#pragma once

// The arithmetic of dynamic_match on one sample's raw memory, once per instruction set; dynamic_match.cpp divides the
// work: forward into bands of rows, backward into groups of channels and, where planes are large, bands of rows.

#include "cpu/rows.h"
#include "dynamic_conv2d.h"

namespace rpstn {

struct DynamicMatchShape {
  int64_t channels, joints;  // C, K
  DynamicConv2dShape plane;
};

constexpr int64_t kMatchChannels = 8;  // channels that are convolved before they are added up

template <typename scalar_t>
struct DynamicMatchSimd {
  using acc_t = typename Accumulate<scalar_t>::type;

  // Rows [begin, end) of all joints of a sample.
  void (*forward)(
      const DynamicMatchShape& shape, int64_t begin, int64_t end,
      const scalar_t* features,  // [C, H, W]
      const scalar_t* kernels,   // [C, kh, kw]
      const acc_t* weight,       // [K, C]
      const acc_t* bias,         // [K]
      scalar_t* out);            // [K, H', W']

  // What channels [begin, end), at most kMatchChannels, of a sample give in rows [first_row, last_row) of the output. Each
  // result may be null; grad_features must be where the rows are not all.
  void (*backward)(
      const DynamicMatchShape& shape, int64_t begin, int64_t end, int64_t first_row, int64_t last_row,
      const scalar_t* grad_out,  // [K, H', W']
      const scalar_t* features,  // [C, H, W]
      const scalar_t* kernels,   // [C, kh, kw]
      const acc_t* weight,       // [K, C]
      scalar_t* grad_features,   // [C, H, W]
      acc_t* grad_kernels,       // [C, kh, kw], these rows' part
      acc_t* grad_weight,        // [K, C], this sample's and these rows' part
      bool past_caches);         // whether grad_features is too large to be read from a cache afterwards

  // Rows [first_row, last_row) of grad_features for the same channels.
  void (*features_band)(
      const DynamicMatchShape& shape, int64_t begin, int64_t end, int64_t first_row, int64_t last_row,
      const scalar_t* grad_out, const scalar_t* kernels, const acc_t* weight, scalar_t* grad_features, bool past_caches);

  // This sample's part of the gradient of the bias.
  void (*sum_planes)(int64_t planes, int64_t size, const scalar_t* values, acc_t* sums);
};

namespace baseline {
template <typename scalar_t>
DynamicMatchSimd<scalar_t> dynamic_match_simd();
}
namespace avx2 {
template <typename scalar_t>
DynamicMatchSimd<scalar_t> dynamic_match_simd();
}
namespace avx512 {
template <typename scalar_t>
DynamicMatchSimd<scalar_t> dynamic_match_simd();
}

}  // namespace rpstn
