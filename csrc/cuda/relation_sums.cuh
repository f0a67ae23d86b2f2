#pragma once

// Walks of a warp along a row, and sums over its threads, in one order.

#include <cstdint>

#include <cuda_runtime.h>

#include "cuda/numbers.cuh"

namespace rpstn {

// Adds kCount values over the warp: afterwards values[i], i < kept, of a lane is the sum of value `first` + i. Halves
// what a lane keeps at each of five steps, so that about kCount shuffles do.
template <int kCount, int kLanes = 16, typename acc_t, int kSize>
__device__ inline void add_over_warp(acc_t (&values)[kSize], int& first, int& kept) {
  static_assert(kCount <= kSize);
  constexpr int kHalf = (kCount + 1) / 2;
  if constexpr (kLanes == 16) {
    first = 0;
    kept = kCount;
  }
  const bool upper = (threadIdx.x & kLanes) != 0;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    if (i + kHalf < kCount) {
      const acc_t own = upper ? values[i + kHalf] : values[i];
      const acc_t given = upper ? values[i] : values[i + kHalf];
      values[i] = own + __shfl_xor_sync(0xffffffffu, given, kLanes);
    } else {
      values[i] += __shfl_xor_sync(0xffffffffu, values[i], kLanes);
    }
  }
  first += upper ? kHalf : 0;
  kept = upper ? max(kept - kHalf, 0) : min(kept, kHalf);
  if constexpr (kLanes > 1) add_over_warp<kHalf, kLanes / 2>(values, first, kept);
}

// keep(n, load(n)) for n = first ... end - 1, shared out among a warp's lanes, kAtOnce loads on their way at once.
template <int kAtOnce, typename Load, typename Keep>
__device__ inline void for_row(int first, int end, Load&& load, Keep&& keep) {
#pragma unroll 1
  for (int n = first + threadIdx.x % 32; n < end; n += kAtOnce * 32) {
    decltype(load(n)) values[kAtOnce] = {};
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (n + 32 * i < end) values[i] = load(n + 32 * i);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (n + 32 * i < end) keep(n + 32 * i, values[i]);
    }
  }
}

// Mean of the first `count` elements of a row, `column` apart, for all lanes of the warp.
template <typename acc_t, typename scalar_t>
__device__ inline acc_t mean_over_warp(const scalar_t* row, int64_t column, int count) {
  acc_t sum = 0;
  for_row<8>(0, count, [&](int n) { return row[n * column]; }, [&](int, scalar_t value) { sum += to_acc(value); });
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
  return sum / static_cast<acc_t>(count);
}

}  // namespace rpstn
