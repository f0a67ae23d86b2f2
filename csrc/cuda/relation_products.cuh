#pragma once

// Products of maps for small K, the first of two passes: joint_relation.cuh's launch_products where a tile fits.

#include <type_traits>

#include "cuda/joint_relation.cuh"
#include "cuda/ptx.cuh"
#include "cuda/relation_matrices.cuh"
#include "cuda/relation_tiles.cuh"

namespace rpstn {

constexpr int kProductsThreads = 128;
constexpr int kProductsWarps = kProductsThreads / 32;

// Of a block: `maps` tiles of float, and the products of its chunks.
template <int kJoints, bool kSame>
struct ProductsMemory {
  using Tile = RelationTile<float, kJoints>;
  static constexpr int kChunk = Tile::kChunk;
  static constexpr int kPart = kSame ? Tile::kSamePart : Tile::kCrossPart;
  static constexpr int kTiles = kSame ? 1 : 2;
  static constexpr int kColumns = kSame ? 4 * kChunk : 2 * kChunk;  // of a tile: each warp has work at once
  static constexpr int kStride = kColumns + 4;

  int joints, chunk;

  __host__ __device__ int chunks() const { return (chunk + kChunk - 1) / kChunk; }
  __host__ __device__ int64_t bytes() const {
    return (kTiles * joints * kStride + chunks() * kPart + joints) * static_cast<int64_t>(sizeof(float));
  }
  __device__ float* tile(int which) const {
    return reinterpret_cast<float*>(shared_memory()) + which * joints * kStride;
  }
  __device__ float* parts() const { return tile(kTiles); }
  __device__ float* centres() const { return parts() + chunks() * kPart; }
};

// Columns [begin, begin + columns) of a sample less `shift`, then zeros up to `padded`, as float in shared memory.
template <typename scalar_t>
__device__ inline void load_tile(
    Maps maps, int64_t b, int joints, int64_t begin, int columns, int padded, Shift shift, float* tile, int stride) {
  constexpr int kVector = 16 / sizeof(scalar_t);
  const scalar_t* data =
      in_global(static_cast<const scalar_t*>(maps.data) + b * maps.sample + begin * maps.column);
  const auto shift_of = [&](int k) {
    return shift.data != nullptr ? static_cast<const float*>(shift.data)[b * shift.sample + k * shift.joint] : 0.0f;
  };
  const int lane = threadIdx.x % 32, warp = warp_of_block();
  if (maps.channels_last()) {
    for_channels_last<kLoadsAtOnce>(
        joints, columns, maps.joint, maps.column, [&](int64_t place) { return data[place]; },
        [&](int k, int n, scalar_t value) { tile[k * stride + n] = to_acc(value) - shift_of(k); });
  }
  const bool aligned = maps.column == 1 && reinterpret_cast<uintptr_t>(data) % 16 == 0 &&
                       maps.joint * static_cast<int64_t>(sizeof(scalar_t)) % 16 == 0;
  const int whole = aligned ? columns / kVector * kVector : 0, rest = maps.channels_last() ? columns : whole;
  for (int k = warp; k < joints; k += kProductsWarps) {
    const scalar_t* row = data + k * maps.joint;
    const float less = shift_of(k);
    float* target = tile + k * stride;
    const auto keep = [&](int n, const Vector<scalar_t, kVector>& values) {
#pragma unroll
      for (int first = 0; first < kVector; first += 4) {
        Vector<float, 4> four;
#pragma unroll
        for (int v = 0; v < 4; ++v) four.at[v] = to_acc(values.at[first + v]) - less;
        store_vector(target + n + first, four);
      }
    };
    // Loads before stores, by hand: of a loop that the compiler unrolls, ptxas cuts the stores of float into four each.
    int n = lane * kVector;
    const auto load = [&](auto at_once) {
      constexpr int kAtOnce = decltype(at_once)::value, kStep = 32 * kVector;
#pragma unroll 1
      for (; n + (kAtOnce - 1) * kStep < whole; n += kAtOnce * kStep) {
        Vector<scalar_t, kVector> values[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) values[i] = load_vector<kVector>(row + n + i * kStep);
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) keep(n + i * kStep, values[i]);
      }
    };
    load(std::integral_constant<int, 4>());
    load(std::integral_constant<int, 2>());
    load(std::integral_constant<int, 1>());
    for_row<kLoadsAtOnce>(
        rest, columns, [&](int n) { return row[n * maps.column]; },
        [&](int n, scalar_t value) { target[n] = to_acc(value) - less; });
#pragma unroll 1
    for (n = columns + lane; n < padded; n += 32) target[n] = 0;
  }
}

__device__ inline void load_tile(
    Dtype dtype, Maps maps, int64_t b, int joints, int64_t begin, int columns, int padded, Shift shift, float* tile,
    int stride) {
  if (dtype == Dtype::kFloat32) load_tile<float>(maps, b, joints, begin, columns, padded, shift, tile, stride);
  else if (dtype == Dtype::kFloat16) load_tile<__half>(maps, b, joints, begin, columns, padded, shift, tile, stride);
  else load_tile<__nv_bfloat16>(maps, b, joints, begin, columns, padded, shift, tile, stride);
}

// Centres of the rows' columns [begin, begin + count): target [joints]; by the block.
__device__ inline void centre_rows(
    Dtype dtype, Maps maps, int64_t b, int joints, int64_t begin, int count, float* target) {
  const int64_t first = b * maps.sample + begin * maps.column;
  for (int k = warp_of_block(); k < joints; k += kProductsWarps) {
    const auto mean = [&](auto zero) {
      const auto* data = static_cast<const decltype(zero)*>(maps.data);
      return mean_over_warp<float>(data + first + k * maps.joint, maps.column, count);
    };
    float centre = 0;
    if (dtype == Dtype::kFloat32) centre = mean(float());
    else if (dtype == Dtype::kFloat16) centre = mean(__half());
    else centre = mean(__nv_bfloat16());
    if (threadIdx.x % 32 == 0) target[k] = centre;
  }
}

// parts[b,c] of joint_relation.cuh, and of same maps the centres. Block: a chunk of one sample, in shared memory as float whatever its type, so that a
// shift costs no digits. Warp: kChunk columns at a time, of different maps one half of the products.
// Expected, not measured: bound by the one read; float32 multiply-adds and the sums over lanes take two thirds of it.
template <int kJoints, bool kSame>
__global__ void __launch_bounds__(kProductsThreads, 2) tile_products_kernel(
    Dtype dtype, RelationShape shape,
    Maps left,   // [B, K, N]
    Maps right,  // [B, K, N]
    bool centred,
    Shift shift,                // [B, K]; of different maps
    float* __restrict__ parts,  // [B, chunks, part, and of centred ones K]
    unsigned* counter)          // set to 0, or null
{
  using Memory = ProductsMemory<kJoints, kSame>;
  using Tile = typename Memory::Tile;
  constexpr int kChunk = Tile::kChunk;
  const int joints = static_cast<int>(shape.joints), warp = warp_of_block(), lane = threadIdx.x % 32;
  const Memory memory = {joints, static_cast<int>(shape.chunk())};
  const int64_t b = blockIdx.x / shape.chunks(), begin = blockIdx.x % shape.chunks() * shape.chunk();
  const int columns = static_cast<int>(min(shape.columns - begin, shape.chunk()));
  const int chunks = (columns + kChunk - 1) / kChunk;
  float* part = parts + blockIdx.x * (shape.part() + (centred ? joints : 0));
  const TileRows<float> first = {memory.tile(0), joints, Memory::kStride, Memory::kColumns};
  const TileRows<float> second = {memory.tile(Memory::kTiles - 1), joints, Memory::kStride, Memory::kColumns};
  if (counter != nullptr && blockIdx.x == 0 && threadIdx.x == 0) *counter = 0;
  if (centred) {
    centre_rows(dtype, left, b, joints, begin, min(columns, kCentreColumns), memory.centres());
    shift = {memory.centres(), 0, 1};
    __syncthreads();
    for (int k = threadIdx.x; k < joints; k += kProductsThreads) part[shape.part() + k] = memory.centres()[k];
  }
  float sum = 0;  // of row `threadIdx.x`, where maps are the same
  for (int from = 0; from < columns; from += Memory::kColumns) {
    const int count = min(columns - from, Memory::kColumns), padded = (count + kChunk - 1) / kChunk * kChunk;
    __syncthreads();
#pragma unroll 1  // one copy of the loads for both: a second made the kernel a third longer, and took its registers
    for (int which = 0; which < Memory::kTiles; ++which) {
      Maps maps = right;
      Shift less = shift;
      if (which < Memory::kTiles - 1) {
        maps = left;
        less = {};
      }
      load_tile(dtype, maps, b, joints, begin + from, count, padded, less, memory.tile(which), Memory::kStride);
    }
    __syncthreads();
    if constexpr (kSame) {
      for (int c = warp; c * kChunk < padded; c += kProductsWarps) {
        Tile::same(first, c * kChunk, memory.parts() + (from / kChunk + c) * Memory::kPart);
      }
      for (int k = 0; k < joints; ++k) {
        if (k % kProductsWarps != warp) continue;
        float total = 0;
        for (int n = lane; n < padded; n += 32) total += first.row(k)[n];
#pragma unroll
        for (int lanes = 16; lanes > 0; lanes /= 2) total += __shfl_xor_sync(0xffffffffu, total, lanes);
        if (lane == k / kProductsWarps) sum += total;
      }
    } else {
      for (int c = warp / 2; c * kChunk < padded; c += kProductsWarps / 2) {
        Tile::cross(first, second, c * kChunk, warp % 2, memory.parts() + (from / kChunk + c) * Memory::kPart);
      }
    }
  }
  __syncthreads();
  for_entries(joints, joints + 1, [&](int i, int j) {
    if (kSame && j == joints) return;
    int index = 0;
    if constexpr (kSame) index = Tile::same_index(i, j);
    else index = j < joints ? Tile::cross_index(i, j) : Tile::sum_index(i);
    float total = 0;
    for (int c = 0; c < chunks; ++c) total += memory.parts()[c * Memory::kPart + index];
    part[j < joints ? i * joints + j : joints * joints + i] = total;
  });
  if (kSame && lane * kProductsWarps + warp < joints) part[joints * joints + lane * kProductsWarps + warp] = sum;
}

}  // namespace rpstn
