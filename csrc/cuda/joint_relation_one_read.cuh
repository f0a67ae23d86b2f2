#pragma once

// joint_relation where a sample's maps fit into the shared memory of a cluster: they are read once. From sm_90 on.

#include "cuda/joint_relation.cuh"
#include "cuda/ptx.cuh"
#include "cuda/relation_matrices.cuh"
#include "cuda/relation_tiles.cuh"
#include "cuda/staging.cuh"

namespace rpstn {

constexpr int kOneReadThreads = 128;
constexpr int kOneReadWarps = kOneReadThreads / 32;

// How a sample's chunks of columns are divided among a cluster's blocks.
struct OneReadDivision {
  int cluster, chunks_per_block;
};

// Shared memory of a block: a barrier, `maps` tiles, products of its chunks, K x K numbers.
template <typename scalar_t, int kJoints, bool kBackward>
struct OneReadMemory {
  using Tile = RelationTile<scalar_t, kJoints>;
  static constexpr int kChunk = Tile::kChunk;
  static constexpr int kMaps = kBackward ? 2 : 1;
  static constexpr int kPart = kBackward ? Tile::kCrossPart : Tile::kSamePart;
  static constexpr int64_t kBarrierBytes = 128;

  int joints, chunks_per_block;

  __host__ __device__ int stride() const {
    return chunks_per_block * kChunk + 16 / static_cast<int>(sizeof(scalar_t));
  }
  __host__ __device__ int tile() const { return joints * stride(); }
  __host__ __device__ int prepared() const { return (Tile::kPrepared + 3) / 4 * 4; }
  // Products of the chunks; when all blocks have added them, scratch of the folding; after it coefficients. So 13 joints
  // of 64 x 64 in half types fit backward into clusters of 2, of which two blocks share a multiprocessor: 0.97 of a wave
  // at B = 256 on 132, where clusters of 4 make 2.6 waves.
  __host__ __device__ int shared_parts() const {
    const int parts = chunks_per_block * kPart, scratch = (kBackward ? 4 : 2) * joints * joints;
    const int most = parts > scratch ? parts : scratch;
    return most > kMaps * prepared() ? most : kMaps * prepared();
  }
  // Wg, bg, Wo; forward: bo, G, A - I, c; backward: C, r, A^T - I, and G, whose place Q takes.
  __host__ __device__ int numbers() const { return (kBackward ? 5 : 4) * joints * joints + 3 * joints; }
  __host__ __device__ int64_t bytes() const {
    return kBarrierBytes + kMaps * tile() * static_cast<int64_t>(sizeof(scalar_t)) +
           (shared_parts() + numbers()) * static_cast<int64_t>(sizeof(float));
  }

  __device__ BulkBarrier* barrier() const { return reinterpret_cast<BulkBarrier*>(shared_memory()); }
  __device__ scalar_t* maps(int which) const {
    return reinterpret_cast<scalar_t*>(shared_memory() + kBarrierBytes) + which * tile();
  }
  __device__ float* parts() const { return reinterpret_cast<float*>(maps(kMaps)); }
  __device__ float* coefficients(int which) const { return parts() + which * prepared(); }
  __device__ float* matrices() const { return parts() + shared_parts(); }
};

// Columns [begin, begin + columns) of a sample as a block reads them.
template <typename scalar_t>
struct OneReadSource {
  const scalar_t* data;
  Maps maps;
  int joints, columns;
  bool bulk;  // rows are copied 16 bytes at a time

  __device__ OneReadSource(Maps maps, int64_t b, int joints, int64_t begin, int columns)
      : data(static_cast<const scalar_t*>(maps.data) + b * maps.sample + begin * maps.column), maps(maps),
        joints(joints), columns(columns),
        bulk(maps.column == 1 && reinterpret_cast<uintptr_t>(data) % 16 == 0 &&
             maps.joint * static_cast<int64_t>(sizeof(scalar_t)) % 16 == 0) {}

  __device__ int bulk_columns() const {
    constexpr int kVector = 16 / static_cast<int>(sizeof(scalar_t));
    return bulk ? columns / kVector * kVector : 0;
  }
  __device__ unsigned bulk_bytes() const { return static_cast<unsigned>(joints * bulk_columns() * sizeof(scalar_t)); }

  // By lane k < joints of one warp, for row k.
  __device__ void copy_in_bulk(int k, scalar_t* target, int stride, BulkBarrier* barrier) const {
    if (bulk_columns() == 0) return;
    bulk_copy(target + k * stride, data + k * maps.joint, static_cast<unsigned>(bulk_columns() * sizeof(scalar_t)), barrier);
  }

  // What does not come in bulk, and zeros up to `padded` columns, by the block.
  __device__ void copy_rest(scalar_t* target, int stride, int padded) const {
    if (maps.channels_last()) {
      for_channels_last<kLoadsAtOnce>(
          joints, columns, maps.joint, maps.column, [&](int64_t place) { return data[place]; },
          [&](int k, int n, scalar_t value) { target[k * stride + n] = value; });
    }
    const int first = maps.channels_last() ? columns : bulk_columns();
    for (int k = warp_of_block(); k < joints; k += kOneReadWarps) {
      const scalar_t* row = data + k * maps.joint;
      scalar_t* of_row = target + k * stride;
      for_row<kLoadsAtOnce>(
          first, columns, [&](int n) { return row[n * maps.column]; }, [&](int n, scalar_t value) { of_row[n] = value; });
#pragma unroll 1
      for (int n = columns + threadIdx.x % 32; n < padded; n += 32) of_row[n] = from_acc<scalar_t>(0.0f);
    }
  }
};

// Sum over all chunks of the sample, in their order, of number `index` of their parts, which lie in the cluster's blocks.
// Eight are on their way at once.
__device__ inline float sum_of_cluster(OneReadDivision division, int chunks, int part, float* parts, int index) {
  constexpr int kAtOnce = 8;
  float total = 0;
  int rank = 0, own = 0;
  for (int first = 0; first < chunks; first += kAtOnce) {
    float of_chunk[kAtOnce] = {};
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i < chunks) of_chunk[i] = in_cluster(parts, rank)[own * part + index];
      if (++own == division.chunks_per_block) {
        own = 0;
        ++rank;
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) total += of_chunk[i];
  }
  return total;
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define RPSTN_ONE_READ 1
#else
#define RPSTN_ONE_READ 0  // never launched there: nothing to compile
#endif

// What both kernels begin with: this block's share of its sample, and its maps on their way.
template <typename Memory, typename scalar_t>
struct OneReadBlock {
  static constexpr int kChunk = Memory::kChunk;

  Memory memory;
  int rank, chunks, own_chunks, columns;  // chunks of the sample, of this block, and their columns
  int64_t b, begin;

  __device__ OneReadBlock(RelationShape shape, OneReadDivision division)
      : memory{static_cast<int>(shape.joints), division.chunks_per_block}, rank(cluster_rank()),
        chunks(static_cast<int>((shape.columns + kChunk - 1) / kChunk)),
        own_chunks(max(min(division.chunks_per_block, chunks - rank * division.chunks_per_block), 0)),
        b(blockIdx.x / division.cluster), begin(int64_t(rank) * division.chunks_per_block * kChunk) {
    columns = static_cast<int>(max(min(int64_t(own_chunks) * kChunk, shape.columns - begin), int64_t(0)));
  }

  __device__ OneReadSource<scalar_t> source(Maps maps) const { return {maps, b, memory.joints, begin, columns}; }
  __device__ TileRows<scalar_t> rows(int which) const { return {memory.maps(which), memory.joints, memory.stride(), own_chunks * kChunk}; }

  // The block's columns of dense maps [B, K, N].
  __device__ TileOutput<scalar_t> output(RelationShape shape, scalar_t* out) const {
    const bool whole = shape.columns * static_cast<int64_t>(sizeof(scalar_t)) % 16 == 0 &&
                       reinterpret_cast<uintptr_t>(out) % 16 == 0;
    return {out + b * memory.joints * shape.columns + begin, shape.columns, columns, whole};
  }

  __device__ void expect(unsigned bytes) const {
    if (threadIdx.x == 0) {
      bulk_barrier_init(memory.barrier(), 1);
      bulk_barriers_ready();
      bulk_barrier_expect(memory.barrier(), bytes);
    }
    __syncthreads();
  }
  __device__ void copy_in_bulk(const OneReadSource<scalar_t>& source, int which) const {
    if (static_cast<int>(threadIdx.x) >= memory.joints) return;
    source.copy_in_bulk(threadIdx.x, memory.maps(which), memory.stride(), memory.barrier());
  }
  __device__ void copy_rest(const OneReadSource<scalar_t>& source, int which) const {
    source.copy_rest(memory.maps(which), memory.stride(), own_chunks * kChunk);
  }
  __device__ void wait() const {
    bulk_barrier_wait(memory.barrier(), 0);
    __syncthreads();
  }
};

// joint_relation.h forward. Cluster: a sample. Block: chunks of its columns, in shared memory from the one read to the
// one write; products of its chunks, a warp each; all blocks add all chunks' products over distributed shared memory in
// the same order and fold them, each for itself. Two blocks or more share a multiprocessor: one reads while one computes.
// Expected, not measured: bound by 2 K N elements of traffic; float32 multiply-adds take about half of that time.
template <typename scalar_t, int kJoints>
__global__ void __launch_bounds__(kOneReadThreads, 2) one_read_forward_kernel(
    RelationShape shape, OneReadDivision division, RelationScale scale,
    Maps x,  // [B, K, N]
    RelationParameters parameters,
    float* __restrict__ gram,    // [B, K, K]
    scalar_t* __restrict__ out)  // [B, K, N]
{
#if RPSTN_ONE_READ
  using Memory = OneReadMemory<scalar_t, kJoints, false>;
  using Tile = typename Memory::Tile;
  const OneReadBlock<Memory, scalar_t> block(shape, division);
  const Memory& memory = block.memory;
  const int joints = memory.joints, size = joints * joints;
  const auto source = block.source(x);
  block.expect(source.bulk_bytes());
  block.copy_in_bulk(source, 0);
  float *wg = memory.matrices(), *bg = wg + size, *wo = bg + joints, *bo = wo + size;
  float *of_sample = bo + joints, *mixing = of_sample + size, *offset = mixing + size;
  stage(size, parameters.weight_g, wg);
  stage(joints, parameters.bias_g, bg);
  stage(size, parameters.weight_o, wo);
  stage(joints, parameters.bias_o, bo);
  block.copy_rest(source, 0);
  block.wait();

  const auto rows = block.rows(0);
#pragma unroll 1
  for (int c = warp_of_block(); c < block.own_chunks; c += kOneReadWarps) {
    Tile::same(rows, c * Memory::kChunk, memory.parts() + c * Memory::kPart);
  }
  cluster_sync();
  for_entries(joints, joints, [&](int i, int j) {
    const float product = sum_of_cluster(division, block.chunks, Memory::kPart, memory.parts(), Tile::same_index(i, j));
    of_sample[i * joints + j] = product;
    if (block.rank == 0) gram[block.b * size + i * joints + j] = product;
  });
  cluster_sync();
  fold(joints, scale.value<float>(), of_sample, wg, bg, wo, bo, memory.parts(), mixing, offset);
  __syncthreads();
  const auto one = [](int) { return 1.0f; };
  Tile::prepare(joints, [&](int k, int j) { return mixing[k * joints + j]; }, one, memory.coefficients(0));
  __syncthreads();
  Tile::template mix<false>(rows, rows, {memory.coefficients(0), nullptr, offset, nullptr}, block.output(shape, out));
#endif
}

// joint_relation.h backward, divided in the same way; D and X are read once, and block 0 of a cluster writes the sample's
// part of the gradients of parameters and scale.
// Expected, not measured: bound by 3 K N elements of traffic; float32 multiply-adds take about two thirds of that time.
template <typename scalar_t, int kJoints>
__global__ void __launch_bounds__(kOneReadThreads, 2) one_read_backward_kernel(
    RelationShape shape, OneReadDivision division, RelationScale scale,
    Maps grad_out, Maps x,           // [B, K, N] each
    const float* __restrict__ gram,  // [B, K, K]
    RelationParameters parameters,
    scalar_t* __restrict__ grad_x,  // [B, K, N]
    float* __restrict__ gradients)  // [B, scale.gradients()]
{
#if RPSTN_ONE_READ
  using Memory = OneReadMemory<scalar_t, kJoints, true>;
  using Tile = typename Memory::Tile;
  const OneReadBlock<Memory, scalar_t> block(shape, division);
  const Memory& memory = block.memory;
  const int joints = memory.joints, size = joints * joints, row = size + joints;
  const auto of_grad = block.source(grad_out), of_x = block.source(x);
  block.expect(of_grad.bulk_bytes() + of_x.bulk_bytes());
  block.copy_in_bulk(of_grad, 0);
  block.copy_in_bulk(of_x, 1);
  float *wg = memory.matrices(), *bg = wg + size, *wo = bg + joints;
  float *total = wo + size, *mixing_t = total + row, *of_sample = mixing_t + size, *through = of_sample;
  stage(size, parameters.weight_g, wg);
  stage(joints, parameters.bias_g, bg);
  stage(size, parameters.weight_o, wo);
  stage_typed<float>(size, gram + block.b * size, of_sample);
  block.copy_rest(of_grad, 0);
  block.copy_rest(of_x, 1);
  block.wait();

  const auto grads = block.rows(0), values = block.rows(1);
#pragma unroll 1
  for (int task = warp_of_block(); task < block.own_chunks * Tile::kCrossTasks; task += kOneReadWarps) {
    const int c = task / Tile::kCrossTasks;
    Tile::cross(grads, values, c * Memory::kChunk, task % Tile::kCrossTasks, memory.parts() + c * Memory::kPart);
  }
  cluster_sync();
  for_entries(joints, joints + 1, [&](int i, int j) {
    const int index = j < joints ? Tile::cross_index(i, j) : Tile::sum_index(i);
    total[j < joints ? i * joints + j : size + i] =
        sum_of_cluster(division, block.chunks, Memory::kPart, memory.parts(), index);
  });
  cluster_sync();
  float* g = block.rank == 0 ? gradients + block.b * scale.gradients(shape) : nullptr;
  const auto place = [&](int begin) { return g != nullptr ? g + begin : nullptr; };
  fold_backward(joints, scale.value<float>(), of_sample, total, total + size, wg, bg, wo, memory.parts(), mixing_t,
                through, place(0), place(size), place(row), place(row + size),
                scale.is_on_device() ? place(2 * row) : nullptr);
  __syncthreads();
  const auto one = [](int) { return 1.0f; };
  const auto none = [](int) { return 0.0f; };
  Tile::prepare(joints, [&](int k, int j) { return mixing_t[k * joints + j]; }, one, memory.coefficients(0));
  Tile::prepare(joints, [&](int k, int j) { return through[k * joints + j]; }, none, memory.coefficients(1));
  __syncthreads();
  Tile::template mix<true>(grads, values, {memory.coefficients(0), memory.coefficients(1), nullptr, nullptr},
                           block.output(shape, grad_x));
#endif
}

#undef RPSTN_ONE_READ

// The smallest cluster of which two blocks fit into a multiprocessor, or into one; for few samples a larger one, until
// the device is full. False where no cluster holds a sample.
template <typename scalar_t, int kJoints, bool kBackward>
bool divide_for_one_read(RelationShape shape, DeviceLimits limits, OneReadDivision& division, int64_t& bytes) {
  constexpr int kChunk = RelationTile<scalar_t, kJoints>::kChunk;
  constexpr int kLargestCluster = 8, kReserved = 1024;  // what every block takes besides
  const int64_t chunks = (shape.columns + kChunk - 1) / kChunk;
  const auto divide = [&](int cluster) {
    division = {cluster, static_cast<int>((chunks + cluster - 1) / cluster)};
    bytes = OneReadMemory<scalar_t, kJoints, kBackward>{static_cast<int>(shape.joints), division.chunks_per_block}.bytes();
  };
  const int64_t most = limits.shared_memory_per_block;
  if (chunks == 0 || chunks * kChunk * shape.joints > kLargestCluster * most) return false;
  for (const int64_t fits : {(most + kReserved) / 2 - kReserved, most}) {
    for (int cluster = tuned("relation_cluster", 1); cluster <= kLargestCluster; cluster *= 2) {
      divide(cluster);
      if (bytes > fits) continue;
      while (cluster < kLargestCluster && cluster < chunks && shape.samples * cluster * 2 <= limits.multiprocessors) {
        divide(cluster *= 2);
      }
      return true;
    }
  }
  return false;
}

}  // namespace rpstn
