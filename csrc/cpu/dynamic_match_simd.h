#pragma once

// The arithmetic of dynamic_match on one sample's raw memory, once per instruction set; dynamic_match.cpp divides the
// work: forward into bands of rows, backward into groups of channels.

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

  // What channels [begin, end), at most kMatchChannels, of a sample give. Each result may be null.
  void (*backward)(
      const DynamicMatchShape& shape, int64_t begin, int64_t end,
      const scalar_t* grad_out,  // [K, H', W']
      const scalar_t* features,  // [C, H, W]
      const scalar_t* kernels,   // [C, kh, kw]
      const acc_t* weight,       // [K, C]
      scalar_t* grad_features,   // [C, H, W]
      scalar_t* grad_kernels,    // [C, kh, kw]
      acc_t* grad_weight);       // [K, C], this sample's part

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
