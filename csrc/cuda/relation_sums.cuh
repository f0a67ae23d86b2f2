#pragma once

// Sums over the threads of a warp, in one order.

#include <cstdint>

#include <cuda_runtime.h>

namespace rpstn {

// Adds kCount values, a multiple of 32, over the warp: afterwards values[i], i < kCount / 32, of a lane is the sum of
// value lane * kCount / 32 + i. Halves what is kept at each of five steps, so that kCount - kCount / 32 shuffles do.
template <int kCount, int kLanes = 16, typename acc_t, int kSize>
__device__ inline void add_over_warp(acc_t (&values)[kSize]) {
  static_assert(kCount <= kSize && kCount % (2 * kLanes) == 0);
  const bool upper = (threadIdx.x & kLanes) != 0;
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    const acc_t kept = upper ? values[i + kCount / 2] : values[i];
    const acc_t given = upper ? values[i] : values[i + kCount / 2];
    values[i] = kept + __shfl_xor_sync(0xffffffffu, given, kLanes);
  }
  if constexpr (kLanes > 1) add_over_warp<kCount / 2, kLanes / 2>(values);
}

}  // namespace rpstn
