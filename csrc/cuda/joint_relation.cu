// Passes over maps of any strides, any K and any type, and the algebra between them: one kernel each.

#include "cuda/joint_relation.cuh"

#include "cuda/ptx.cuh"
#include "cuda/relation_matrices.cuh"
#include "cuda/relation_mixing.cuh"
#include "cuda/relation_products.cuh"
#include "cuda/relation_sums.cuh"

namespace rpstn {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kTile = 8;  // joints of a tile

int64_t tiles_of(int64_t joints) { return (joints + kTile - 1) / kTile; }

// parts[b,c,i,j] = sum_n left[b,i,n] (right[b,j,n] - shift[b,j]), parts[b,c,K*K+i] = sum_n left[b,i,n], n in chunk c.
// Block: one pair of tiles of one chunk of one sample; with same maps only pairs on and above the diagonal.
// Thread: kTile x kTile products in registers, every kThreads-th column. Double, whose products fill them, reads what it
// subtracts again for each column.
// For K that relation_products.cuh has no tile for, and double. Expected, not measured: two to three times the time of
// its read, bound by loads that come from the cache once per pair and by the sums over lanes.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) products_kernel(
    RelationShape shape,
    Maps left,   // [B, K, N]
    Maps right,  // [B, K, N]
    bool same, bool centred,
    Shift shift,                                               // [B, K]; of different maps
    typename Accumulate<scalar_t>::type* __restrict__ parts,  // [B, chunks, part, and of centred ones K]
    unsigned* counter)                                         // set to 0, or null
{
  using acc_t = typename Accumulate<scalar_t>::type;
  const int joints = static_cast<int>(shape.joints), tiles = (joints + kTile - 1) / kTile;
  const int pairs = same ? tiles * (tiles + 1) / 2 : tiles * tiles;
  const unsigned of_samples = blockIdx.x / pairs;  // chunks, of all samples
  int pair = static_cast<int>(blockIdx.x % pairs), tile_i = 0;
  while (pair >= (same ? tiles - tile_i : tiles)) pair -= same ? tiles - tile_i++ : (++tile_i, tiles);
  const int first_i = kTile * tile_i, first_j = kTile * (same ? tile_i + pair : pair);
  const int64_t chunk = of_samples % shape.chunks(), b = of_samples / shape.chunks();

  constexpr int kNumbers = kTile * kTile + kTile;
  acc_t* of_warps = reinterpret_cast<acc_t*>(shared_memory());  // [kWarps, kNumbers]
  acc_t* less = of_warps + kWarps * kNumbers;                   // [2, kTile]: of the rows i and j
  const int64_t begin = chunk * shape.chunk();
  const int columns = static_cast<int>(min(shape.columns - begin, shape.chunk()));
  if (counter != nullptr && blockIdx.x == 0 && threadIdx.x == 0) *counter = 0;
  // Joints beyond the last repeat it; what they give is not kept.
  const auto joint = [&](int first, int k) { return min(first + k, joints - 1); };
  const auto row = [&](Maps maps, int64_t k) {
    return static_cast<const scalar_t*>(maps.data) + b * maps.sample + k * maps.joint + begin * maps.column;
  };
#pragma unroll 1
  for (int k = warp_of_block(); k < 2 * kTile; k += kWarps) {
    const int of_shift = joint(k < kTile ? first_i : first_j, k % kTile);
    acc_t value = 0;
    if (centred) {
      value = mean_over_warp<acc_t>(row(left, of_shift), left.column, min(columns, kCentreColumns));
    } else if (shift.data != nullptr && k >= kTile) {
      value = (static_cast<const acc_t*>(shift.data) + b * shift.sample)[of_shift * shift.joint];
    }
    if (threadIdx.x % 32 == 0) less[k] = value;
  }
  __syncthreads();
  const scalar_t *rows_i[kTile], *rows_j[kTile];
#pragma unroll
  for (int k = 0; k < kTile; ++k) {
    rows_i[k] = row(left, joint(first_i, k));
    rows_j[k] = row(right, joint(first_j, k));
  }
  acc_t products[kTile * kTile] = {}, sums[kTile] = {};
  for (int n = threadIdx.x; n < columns; n += kThreads) {
    acc_t x[kTile], y[kTile];
#pragma unroll
    for (int k = 0; k < kTile; ++k) {
      x[k] = to_acc(rows_i[k][n * left.column]) - less[k];
      y[k] = to_acc(rows_j[k][n * right.column]) - less[kTile + k];
    }
    if (sizeof(acc_t) == sizeof(double)) __asm__ volatile("" ::: "memory");  // reads of less stay in the loop
#pragma unroll
    for (int i = 0; i < kTile; ++i) {
      sums[i] += x[i];
#pragma unroll
      for (int j = 0; j < kTile; ++j) products[i * kTile + j] += x[i] * y[j];
    }
  }

  int first, kept;
  add_over_warp<kTile * kTile>(products, first, kept);
#pragma unroll
  for (int i = 0; i < kTile; ++i) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) sums[i] += __shfl_xor_sync(0xffffffffu, sums[i], lanes);
  }
  acc_t* of_warp = of_warps + threadIdx.x / 32 * kNumbers;
  of_warp[first] = products[0];
  of_warp[first + 1] = products[1];
  if (threadIdx.x % 32 == 0) {
#pragma unroll
    for (int i = 0; i < kTile; ++i) of_warp[kTile * kTile + i] = sums[i];
  }
  __syncthreads();
  if (threadIdx.x < kNumbers) {
    acc_t* part = parts + of_samples * (shape.part() + (centred ? joints : 0));
    acc_t total = 0;
    for (int warp = 0; warp < kWarps; ++warp) total += of_warps[warp * kNumbers + threadIdx.x];
    const bool is_sum = threadIdx.x >= kTile * kTile;
    const int i = first_i + (is_sum ? threadIdx.x - kTile * kTile : threadIdx.x / kTile);
    const int j = first_j + threadIdx.x % kTile;
    if (is_sum) {
      if (i < joints && pair == 0) {
        part[joints * joints + i] = total;
        if (centred) part[shape.part() + i] = less[i - first_i];
      }
    } else if (i < joints && j < joints) {
      part[i * joints + j] = total;
      if (same) part[j * joints + i] = total;
    }
  }
}

// total = the sum of the sample's parts, in order.
template <typename acc_t>
__device__ inline void add_parts(RelationShape shape, const acc_t* parts, int64_t size, acc_t* total) {
  for (int64_t i = threadIdx.x; i < size; i += blockDim.x) {
    acc_t sum = 0;
    for (int64_t c = 0; c < shape.chunks(); ++c) sum += parts[(blockIdx.x * shape.chunks() + c) * shape.part() + i];
    total[i] = sum;
  }
}

// joint_relation.h's G, A - I and c. Block: a sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads) fold_kernel(
    RelationShape shape, RelationScale scale,
    const acc_t* __restrict__ parts,  // [B, chunks, part]
    RelationParameters parameters,
    acc_t* scratch,  // [B, 2, K, K] or null
    acc_t* gram,     // [B, K, K]
    acc_t* folded)   // [B, part]
{
  const int joints = static_cast<int>(shape.joints);
  const int64_t b = blockIdx.x, size = shape.matrix();
  const FoldMemory<acc_t> memory(joints, parameters, scratch, 2 * size);
  add_parts(shape, parts, size, gram + b * size);
  __syncthreads();
  acc_t* mixing = folded + b * shape.part();
  fold(joints, scale.value<acc_t>(), gram + b * size, memory.weight_g, memory.bias_g, memory.weight_o, memory.bias_o,
       memory.scratch, mixing, mixing + size);
}

// joint_relation.h's A^T - I, Q and one sample's part of the gradients. Block: a sample.
// Four blocks share a multiprocessor: for eight, as on sm_75, doubles would spill.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads, 4) fold_backward_kernel(
    RelationShape shape, RelationScale scale,
    const acc_t* __restrict__ parts,  // [B, chunks, part]
    const acc_t* __restrict__ gram,   // [B, K, K]
    RelationParameters parameters,
    acc_t* scratch,    // [B, 4 K K + part] or null
    acc_t* folded,     // [B, 2, K, K]
    acc_t* gradients)  // [B, scale.gradients()]
{
  const int joints = static_cast<int>(shape.joints);
  const int64_t b = blockIdx.x, size = shape.matrix(), row = shape.part();
  const FoldMemory<acc_t> memory(joints, parameters, scratch, 4 * size + row);
  acc_t *matrices = memory.scratch, *total = matrices + 4 * size;
  add_parts(shape, parts, row, total);
  __syncthreads();
  acc_t *mixing_t = folded + b * 2 * size, *g = gradients + b * scale.gradients(shape);
  fold_backward(joints, scale.value<acc_t>(), gram + b * size, total, total + size, memory.weight_g, memory.bias_g,
                memory.weight_o, matrices, mixing_t, mixing_t + size, g, g + size, g + row, g + row + size,
                scale.is_on_device() ? g + 2 * row : nullptr);
}

int64_t fold_numbers(RelationShape shape) { return 2 * shape.matrix(); }
int64_t fold_backward_numbers(RelationShape shape) { return 4 * shape.matrix() + shape.part(); }

void launch_any_products(
    Dtype dtype, RelationShape shape, Maps left, Maps right, bool same, bool centred, Shift shift, void* parts,
    unsigned* counter, cudaStream_t stream) {
  const bool done = dtype != Dtype::kFloat64 && with_float_tile(shape.joints, [&](auto, auto tile) {
    const auto launch_with = [&](auto memory, auto kernel) {
      if (memory.bytes() > device_limits().shared_memory_per_block) return false;
      launch("joint_relation's products",
             {dim3(shape.samples * shape.chunks()), dim3(kProductsThreads), stream, memory.bytes()}, kernel, dtype, shape,
             left, right, centred, shift, as<float>(parts), counter);
      return true;
    };
    constexpr int kJoints = decltype(tile)::value;
    const int joints = static_cast<int>(shape.joints), chunk = static_cast<int>(shape.chunk());
    return same ? launch_with(ProductsMemory<kJoints, true>{joints, chunk}, &tile_products_kernel<kJoints, true>)
                : launch_with(ProductsMemory<kJoints, false>{joints, chunk}, &tile_products_kernel<kJoints, false>);
  });
  if (done) return;
  const int64_t tiles = tiles_of(shape.joints), pairs = same ? tiles * (tiles + 1) / 2 : tiles * tiles;
  with_type(dtype, [&](auto zero) {
    using scalar_t = decltype(zero);
    using acc_t = typename Accumulate<scalar_t>::type;
    constexpr int64_t kShared = (kWarps * (kTile * kTile + kTile) + 2 * kTile) * sizeof(acc_t);
    launch("joint_relation's products", {dim3(shape.samples * shape.chunks() * pairs), dim3(kThreads), stream, kShared},
           products_kernel<scalar_t>, shape, left, right, same, centred, shift, as<acc_t>(parts), counter);
  });
}

}  // namespace

void launch_own_products(
    Dtype dtype, RelationShape shape, Maps x, bool centred, void* parts, unsigned* counter, cudaStream_t stream) {
  launch_any_products(dtype, shape, x, x, /*same=*/true, centred, {}, parts, counter, stream);
}

void launch_products(
    Dtype dtype, RelationShape shape, Maps left, Maps right, Shift shift, void* parts, unsigned* counter,
    cudaStream_t stream) {
  launch_any_products(dtype, shape, left, right, /*same=*/false, /*centred=*/false, shift, parts, counter, stream);
}

void launch_mix(
    Dtype dtype, RelationShape shape, Maps x, Maps y, Mixture mixture, void* out, const SampleSums& sums,
    cudaStream_t stream) {
  const bool done = with_tile(dtype, shape.joints, [&](auto zero, auto tile) {
    using scalar_t = decltype(zero);
    constexpr int kJoints = decltype(tile)::value;
    const auto launch_with = mixture.second != nullptr ? &launch_tile_mix<scalar_t, kJoints, true>
                                                       : &launch_tile_mix<scalar_t, kJoints, false>;
    return launch_with(shape, x, y, mixture, as<scalar_t>(out), sums, stream);
  });
  if (done) return;
  const int64_t blocks = (shape.columns + kMixColumns - 1) / kMixColumns, adding = adding_blocks(sums);
  with_type(dtype, [&](auto zero) {
    using scalar_t = decltype(zero);
    constexpr int64_t kShared = kMixNumbers * sizeof(typename Accumulate<scalar_t>::type);
    static_assert(kShared >= kAddBytes);
    launch("joint_relation's mixing",
           {dim3(adding + shape.samples * blocks * tiles_of(shape.joints)), dim3(kMixThreads), stream, kShared},
           mix_kernel<scalar_t>, shape, x, y, mixture, sums, adding, as<scalar_t>(out));
  });
}

void launch_add_samples(Dtype dtype, const SampleSums& sums, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    launch("adding over samples", {dim3(adding_blocks(sums)), dim3(kMixThreads), stream, kAddBytes},
           add_samples_kernel<decltype(zero)>, sums);
  });
}

void launch_fold(
    Dtype dtype, RelationShape shape, RelationScale scale, const void* parts, RelationParameters parameters, void* scratch,
    void* gram, void* folded, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation's folding",
           {dim3(shape.samples), dim3(kThreads), stream, fold_shared_bytes<acc_t>(shape, fold_numbers(shape))},
           fold_kernel<acc_t>, shape, scale, as<acc_t>(parts), parameters, as<acc_t>(scratch), as<acc_t>(gram),
           as<acc_t>(folded));
  });
}

void launch_fold_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, const void* parts, const void* gram,
    RelationParameters parameters, void* scratch, void* folded, void* gradients, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation's folding of gradients",
           {dim3(shape.samples), dim3(kThreads), stream, fold_shared_bytes<acc_t>(shape, fold_backward_numbers(shape))},
           fold_backward_kernel<acc_t>, shape, scale, as<acc_t>(parts), as<acc_t>(gram), parameters, as<acc_t>(scratch),
           as<acc_t>(folded), as<acc_t>(gradients));
  });
}

int64_t fold_scratch(Dtype dtype, RelationShape shape) { return fold_memory(dtype, shape, fold_numbers(shape)); }

int64_t fold_backward_scratch(Dtype dtype, RelationShape shape) {
  return fold_memory(dtype, shape, fold_backward_numbers(shape));
}

}  // namespace rpstn
