#pragma once

// Tensors [B, C, H, W] as the kernels of dynamic_conv2d and dynamic_match read them: where they lie, whatever their
// strides, and their type, which is told at run time. Half types are computed in float, so one kernel serves three types
// and only its loads and stores ask which; double has kernels of its own.

#include <cstdint>
#include <type_traits>

#include <cuda_runtime.h>

#include "cuda/numbers.cuh"

namespace rpstn {

// Element [b, c, y, x] of [B, C, height, width] lies at data[b * sample + c * channel + y * row + x * column].
struct PlaneView {
  const void* data;
  Dtype dtype;
  int64_t sample, channel, row, column;
  int channels, height, width;
  bool quads;  // 4 elements at a column that is a multiple of 4 lie together, at a multiple of their size; no double

  __host__ __device__ bool channels_last() const { return channels > 1 && channel < column; }
};

// Where results of planes go: tensors [B, all_channels, ...], contiguous; the planes are `channels` of them, from `first`
// on, in each of their samples.
struct PlaneTarget {
  void* data;
  Dtype dtype;
  int channels, all_channels, first;

  __device__ int64_t plane(int64_t p) const {
    if (channels == all_channels) return p;
    const auto index = static_cast<uint32_t>(p);
    return static_cast<int64_t>(index / channels) * all_channels + first + index % channels;
  }
  // Plane p of [height, width].
  __device__ void* at(int64_t p, int height, int width) const {
    const int bytes = dtype == Dtype::kFloat64 ? 8 : dtype == Dtype::kFloat32 ? 4 : 2;
    return static_cast<char*>(data) + plane(p) * height * width * bytes;
  }
};

template <typename acc_t>
__device__ inline acc_t load_element(const PlaneView& view, int64_t offset) {
  if constexpr (std::is_same_v<acc_t, double>) {
    return static_cast<const double*>(view.data)[offset];
  } else {
    switch (view.dtype) {
      case Dtype::kFloat32: return static_cast<const float*>(view.data)[offset];
      case Dtype::kFloat16: return to_acc(static_cast<const __half*>(view.data)[offset]);
      default: return to_acc(static_cast<const __nv_bfloat16*>(view.data)[offset]);
    }
  }
}

template <typename scalar_t>
__device__ inline void load_four(const void* data, int64_t offset, float (&values)[4]) {
  const auto four = load_vector<4>(static_cast<const scalar_t*>(data) + offset);
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = to_acc(four.at[i]);
}

template <typename acc_t>
__device__ inline void store_element(void* data, Dtype dtype, int64_t offset, acc_t value) {
  if constexpr (std::is_same_v<acc_t, double>) {
    static_cast<double*>(data)[offset] = value;
  } else {
    switch (dtype) {
      case Dtype::kFloat32: static_cast<float*>(data)[offset] = value; break;
      case Dtype::kFloat16: static_cast<__half*>(data)[offset] = from_acc<__half>(value); break;
      default: static_cast<__nv_bfloat16*>(data)[offset] = from_acc<__nv_bfloat16>(value);
    }
  }
}

template <typename scalar_t>
__device__ inline void store_four(void* data, int64_t offset, const float (&values)[4]) {
  Vector<scalar_t, 4> four;
#pragma unroll
  for (int i = 0; i < 4; ++i) four.at[i] = from_acc<scalar_t>(values[i]);
  store_vector(static_cast<scalar_t*>(data) + offset, four);
}

// Stores the first `count` of 4 neighbours; all at once where `together` says that their address is a multiple of 4.
template <typename acc_t>
__device__ inline void store_row(
    void* data, Dtype dtype, int64_t offset, const acc_t (&values)[4], int count, bool together) {
  if constexpr (std::is_same_v<acc_t, float>) {
    if (together && count >= 4) {
      switch (dtype) {
        case Dtype::kFloat32: return store_four<float>(data, offset, values);
        case Dtype::kFloat16: return store_four<__half>(data, offset, values);
        default: return store_four<__nv_bfloat16>(data, offset, values);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) store_element(data, dtype, offset + i, values[i]);
  }
}

}  // namespace rpstn
