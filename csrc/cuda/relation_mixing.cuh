#pragma once

// The second of two passes, joint_relation.cuh's launch_mix, and sums over the samples, for which blocks of the same
// launch serve.

#include "cuda/joint_relation.cuh"
#include "cuda/ptx.cuh"
#include "cuda/relation_tiles.cuh"

namespace rpstn {

constexpr int kMixThreads = 128;
constexpr int kMixTile = 8;            // joints of a tile
constexpr int kMixJoints = 32;         // coefficients' columns in shared memory at a time
constexpr int kMixColumnsOfThread = 2;
constexpr int kMixColumns = kMixThreads * kMixColumnsOfThread;
constexpr int kAddColumns = 8;         // numbers that a block adds, each by so many lanes
constexpr int kAddLanes = kMixThreads / kAddColumns;
constexpr int64_t kAddBytes = kMixThreads * sizeof(double);
template <typename scalar_t>  // that share a multiprocessor at least; 0: ptxas chooses, by which doubles spill on sm_120
constexpr int kMixBlocks = sizeof(scalar_t) == sizeof(double) ? 4 : 0;
constexpr int kMixNumbers = (kMixJoints + 2) * kMixTile;  // of mix_kernel's shared memory

inline int64_t adding_blocks(const SampleSums& sums) {
  return sums.values != nullptr ? (sums.size + kAddColumns - 1) / kAddColumns : 0;
}

// Block: kAddColumns numbers by kAddLanes lanes of samples, added in the order of the lanes.
template <typename acc_t>
__device__ inline void add_samples(const SampleSums& sums, int64_t block) {
  double* of_lanes = reinterpret_cast<double*>(shared_memory());  // [kAddLanes, kAddColumns]
  const acc_t* values = static_cast<const acc_t*>(sums.values);
  const int64_t i = block * kAddColumns + threadIdx.x % kAddColumns;
  double sum = 0;
  if (i < sums.size) {
#pragma unroll 8
    for (int64_t b = threadIdx.x / kAddColumns; b < sums.samples; b += kAddLanes) sum += values[b * sums.size + i];
  }
  of_lanes[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x < kAddColumns && i < sums.size) {
    sum = 0;
    for (int lane = 0; lane < kAddLanes; ++lane) sum += of_lanes[lane * kAddColumns + threadIdx.x];
    sums.store(i, sum);
  }
}

template <typename acc_t>
__global__ void __launch_bounds__(kMixThreads) add_samples_kernel(SampleSums sums) {
  add_samples<acc_t>(sums, blockIdx.x);
}

// A sample's numbers of a mixture.
template <typename acc_t>
struct SampleMixture {
  const Mixture& mixture;
  int64_t begin;
  int joints;

  __device__ SampleMixture(const Mixture& mixture, int64_t b, int joints)
      : mixture(mixture), begin(b * mixture.step), joints(joints) {}

  __device__ acc_t gain(int k) const {
    return mixture.gain != nullptr ? static_cast<const acc_t*>(mixture.gain)[k] : acc_t(1);
  }
  __device__ acc_t first(int k, int j) const {
    const acc_t value = static_cast<const acc_t*>(mixture.first)[begin + k * joints + j];
    return mixture.mean != nullptr ? gain(k) * value : value;
  }
  __device__ acc_t second(int k, int j) const {
    return static_cast<const acc_t*>(mixture.second)[begin + k * joints + j];
  }
  __device__ acc_t offset(int k) const {
    if (mixture.offset == nullptr) return 0;
    const acc_t value = static_cast<const acc_t*>(mixture.offset)[begin + k];
    if (mixture.mean == nullptr) return value;
    return static_cast<acc_t>(double(gain(k)) * (value - mixture.mean[k]) + mixture.bias.template at<double>(k));
  }
};

// out[b,k,n] = gain[k] x[b,k,n] + offset[b,k] + sum_j first[b,k,j] x[b,j,n] + sum_j second[b,k,j] y[b,j,n].
// Block: kMixTile rows of kMixColumns columns of one sample. Thread: kMixTile x kMixColumnsOfThread results.
// Shared: the coefficients of kMixJoints joints, [j][k], and the rows' gains and offsets, read by all threads at once.
// Double, which spilled registers like that, asks for a row's numbers when it comes to it.
// The last samples come first: theirs are the maps that the pass before has left in the cache.
// For maps of any strides, any K, and double. Expected, not measured: bound by loads from the cache.
template <typename scalar_t>
__global__ void __launch_bounds__(kMixThreads, kMixBlocks<scalar_t>) mix_kernel(
    RelationShape shape,
    Maps x,  // [B, K, N]
    Maps y,  // [B, K, N] or null
    Mixture mixture, SampleSums sums, int64_t adding,
    scalar_t* __restrict__ out)  // [B, K, N]
{
  using acc_t = typename Accumulate<scalar_t>::type;
  if (blockIdx.x < adding) return add_samples<acc_t>(sums, blockIdx.x);
  const int joints = static_cast<int>(shape.joints), tiles = (joints + kMixTile - 1) / kMixTile;
  const auto blocks = static_cast<unsigned>((shape.columns + kMixColumns - 1) / kMixColumns);
  const unsigned index = gridDim.x - 1 - blockIdx.x;
  const int first_k = static_cast<int>(index % tiles) * kMixTile;
  const int64_t b = index / tiles / blocks;
  const int64_t begin = index / tiles % blocks * kMixColumns + threadIdx.x;
  const SampleMixture<acc_t> numbers(mixture, b, joints);
  acc_t* coefficients = reinterpret_cast<acc_t*>(shared_memory());  // [kMixJoints, kMixTile]
  constexpr bool kStaged = sizeof(acc_t) == sizeof(float);
  acc_t *gains = coefficients + kMixJoints * kMixTile, *offsets = gains + kMixTile;
  if (kStaged && threadIdx.x < kMixTile) {
    const int k = min(first_k + static_cast<int>(threadIdx.x), joints - 1);
    gains[threadIdx.x] = numbers.gain(k);
    offsets[threadIdx.x] = numbers.offset(k);
  }
  acc_t total[kMixTile][kMixColumnsOfThread] = {};

  const auto add = [&](Maps values, auto&& entry) {
    const scalar_t* data = static_cast<const scalar_t*>(values.data) + b * values.sample;
    for (int first_j = 0; first_j < joints; first_j += kMixJoints) {
      const int count = min(kMixJoints, joints - first_j);
      __syncthreads();
      for (int i = threadIdx.x; i < count * kMixTile; i += kMixThreads) {
        const int j = first_j + i / kMixTile, k = first_k + i % kMixTile;
        coefficients[i] = k < joints ? entry(k, j) : acc_t(0);
      }
      __syncthreads();
      for (int j = 0; j < count; ++j) {
        acc_t value[kMixColumnsOfThread];
#pragma unroll
        for (int c = 0; c < kMixColumnsOfThread; ++c) {
          const int64_t n = min(begin + c * kMixThreads, shape.columns - 1);
          value[c] = to_acc(data[(first_j + j) * values.joint + n * values.column]);
        }
#pragma unroll
        for (int k = 0; k < kMixTile; ++k) {
          const acc_t coefficient = coefficients[j * kMixTile + k];
#pragma unroll
          for (int c = 0; c < kMixColumnsOfThread; ++c) total[k][c] += coefficient * value[c];
        }
      }
    }
  };
  add(x, [&](int k, int j) { return numbers.first(k, j); });
  if (mixture.second != nullptr) add(y, [&](int k, int j) { return numbers.second(k, j); });

  const scalar_t* data = static_cast<const scalar_t*>(x.data) + b * x.sample;
#pragma unroll
  for (int i = 0; i < kMixTile; ++i) {
    const int k = first_k + i;
    const int row = min(k, joints - 1);
    const acc_t gain = kStaged ? gains[i] : numbers.gain(row), offset = kStaged ? offsets[i] : numbers.offset(row);
#pragma unroll
    for (int c = 0; c < kMixColumnsOfThread; ++c) {
      const int64_t n = begin + c * kMixThreads;
      if (k >= joints || n >= shape.columns) continue;  // a break would have the compiler repeat what follows it
      const acc_t own = to_acc(data[k * x.joint + n * x.column]);
      out[(b * joints + k) * shape.columns + n] = from_acc<scalar_t>(gain * own + (total[i][c] + offset));
    }
    if (!kStaged) __asm__ volatile("" ::: "memory");  // no row's numbers are asked for before the row's turn
  }
}

// The same where rows lie in whole vectors of 16 bytes. Block: `columns` of one sample, which has `blocks`. Thread: as
// RelationTile mixes, all joints of its columns, which are read once and straight from memory; what of a row is read again
// comes from the nearest cache. Shared: the prepared coefficients, and gain and offset.
template <typename scalar_t, int kJoints, bool kTwo>
__global__ void __launch_bounds__(kMixThreads, 2) tile_mix_kernel(
    RelationShape shape, int columns, unsigned blocks,
    Maps x,  // [B, K, N]
    Maps y,  // [B, K, N] or null
    Mixture mixture, SampleSums sums, int64_t adding,
    scalar_t* __restrict__ out)  // [B, K, N]
{
  using Tile = RelationTile<scalar_t, kJoints>;
  if (blockIdx.x < adding) return add_samples<float>(sums, blockIdx.x);
  const int joints = static_cast<int>(shape.joints);
  const unsigned index = gridDim.x - 1 - blockIdx.x;
  const int64_t b = index / blocks, begin = int64_t(index % blocks) * columns;
  const int own = static_cast<int>(min(int64_t(columns), shape.columns - begin));
  const SampleMixture<float> numbers(mixture, b, joints);
  float* first = reinterpret_cast<float*>(shared_memory());
  float* second = first + (Tile::kPrepared + 3) / 4 * 4;
  float *offset = second + (kTwo ? (Tile::kPrepared + 3) / 4 * 4 : 0), *gain = offset + kJoints;
  for (int k = threadIdx.x; k < joints; k += kMixThreads) {
    offset[k] = numbers.offset(k);
    gain[k] = numbers.gain(k);
  }
  Tile::prepare(
      joints, [&](int k, int j) { return numbers.first(k, j); }, [&](int k) { return numbers.gain(k); }, first);
  if constexpr (kTwo) {
    Tile::prepare(joints, [&](int k, int j) { return numbers.second(k, j); }, [](int) { return 0.0f; }, second);
  }
  __syncthreads();
  const auto rows = [&](Maps maps) {
    return TileRows<scalar_t>{static_cast<const scalar_t*>(maps.data) + b * maps.sample + begin, joints,
                              static_cast<int>(maps.joint), own};
  };
  Tile::template mix<kTwo>(rows(x), rows(kTwo ? y : x), {first, second, offset, gain},
                           {out + b * joints * shape.columns + begin, shape.columns, own, true});
}

// Whether a tile may read the maps as they lie.
template <typename scalar_t>
bool whole_vectors(RelationShape shape, Maps maps) {
  constexpr int64_t kVector = 16 / sizeof(scalar_t), kMost = 1 << 30;
  return maps.column == 1 && (shape.columns | maps.sample | maps.joint) % kVector == 0 &&
         reinterpret_cast<uintptr_t>(maps.data) % 16 == 0 && maps.joint >= 0 && maps.joint < kMost / shape.joints;
}

template <typename scalar_t, int kJoints, bool kTwo>
bool launch_tile_mix(
    RelationShape shape, Maps x, Maps y, const Mixture& mixture, scalar_t* out, const SampleSums& sums, cudaStream_t stream) {
  using Tile = RelationTile<scalar_t, kJoints>;
  const Maps result = {out, shape.joints * shape.columns, shape.columns, 1};
  for (const Maps& maps : {x, kTwo ? y : x, result}) {
    if (!whole_vectors<scalar_t>(shape, maps)) return false;
  }
  const DeviceLimits limits = device_limits();
  if (sizeof(scalar_t) < sizeof(float) && limits.architecture < 80) return false;  // no matrix instructions of this shape
  // Coefficients are prepared once for many columns, but the device shall be full.
  constexpr int kMost = 2048 / sizeof(scalar_t), kLeast = sizeof(scalar_t) == 4 ? kMost : kMost / 4;
  const auto blocks_of = [&](int columns) { return (shape.columns + columns - 1) / columns; };
  const int columns = shape.samples * blocks_of(kMost) >= 2 * limits.multiprocessors ? kMost : kLeast;
  const int64_t blocks = blocks_of(columns);
  const int64_t numbers = (kTwo ? 2 : 1) * ((Tile::kPrepared + 3) / 4 * 4) + 2 * kJoints, adding = adding_blocks(sums);
  const int64_t bytes = numbers * static_cast<int64_t>(sizeof(float));
  launch("joint_relation's mixing",
         {dim3(adding + shape.samples * blocks), dim3(kMixThreads), stream, bytes > kAddBytes ? bytes : kAddBytes},
         tile_mix_kernel<scalar_t, kJoints, kTwo>, shape, columns, static_cast<unsigned>(blocks), x, y, mixture, sums,
         adding, out);
  return true;
}

}  // namespace rpstn
