// Passes over maps of any strides, any K and any type, and the algebra between them: one kernel each.

#include "cuda/joint_relation.cuh"

#include "cuda/joint_relation_one_read.cuh"
#include "cuda/ptx.cuh"
#include "cuda/relation_matrices.cuh"
#include "cuda/relation_products.cuh"
#include "cuda/relation_sums.cuh"

namespace rpstn {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kTile = 8;               // joints of a tile
constexpr int kSharedJoints = 32;      // up to these K x K algebra stays in shared memory
constexpr int kMixedJoints = 32;       // coefficients' columns in shared memory at a time
constexpr int kColumnsPerThread = 2;

int64_t tiles_of(int64_t joints) { return (joints + kTile - 1) / kTile; }

// parts[b,c,i,j] = sum_n left[b,i,n] (right[b,j,n] - shift[b,j]), parts[b,c,K*K+i] = sum_n left[b,i,n], n in chunk c.
// Block: one pair of tiles of one chunk of one sample; with same maps only pairs on and above the diagonal.
// Thread: kTile x kTile products in registers, every kThreads-th column.
// For K that relation_products.cuh has no tile for, and double. Expected, not measured: two to three times the time of
// its read, bound by loads that come from the cache once per pair and by the sums over lanes.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) products_kernel(
    RelationShape shape,
    Maps left,   // [B, K, N]
    Maps right,  // [B, K, N]
    bool same,
    Shift shift,                                           // [B, K]
    typename Accumulate<scalar_t>::type* __restrict__ parts)  // [B, chunks, part]
{
  using acc_t = typename Accumulate<scalar_t>::type;
  const int joints = static_cast<int>(shape.joints), tiles = (joints + kTile - 1) / kTile;
  const int pairs = same ? tiles * (tiles + 1) / 2 : tiles * tiles;
  int pair = static_cast<int>(blockIdx.x % pairs), tile_i = 0;
  while (pair >= (same ? tiles - tile_i : tiles)) pair -= same ? tiles - tile_i++ : (++tile_i, tiles);
  const int first_i = kTile * tile_i, first_j = kTile * (same ? tile_i + pair : pair);
  const int64_t chunk = blockIdx.x / pairs % shape.chunks(), b = blockIdx.x / pairs / shape.chunks();

  const scalar_t *rows_i[kTile], *rows_j[kTile];
  acc_t shift_i[kTile] = {}, shift_j[kTile] = {};
#pragma unroll
  for (int k = 0; k < kTile; ++k) {  // joints beyond the last repeat it; what they give is not kept
    const int64_t i = min(first_i + k, joints - 1), j = min(first_j + k, joints - 1);
    rows_i[k] = static_cast<const scalar_t*>(left.data) + b * left.sample + i * left.joint;
    rows_j[k] = static_cast<const scalar_t*>(right.data) + b * right.sample + j * right.joint;
    if (shift.data != nullptr) {
      const acc_t* of_sample = static_cast<const acc_t*>(shift.data) + b * shift.sample;
      if (same) shift_i[k] = of_sample[i * shift.joint];
      shift_j[k] = of_sample[j * shift.joint];
    }
  }
  acc_t products[kTile * kTile] = {}, sums[kTile] = {};
  const int64_t begin = chunk * shape.chunk(), end = min(shape.columns, begin + shape.chunk());
  for (int64_t n = begin + threadIdx.x; n < end; n += kThreads) {
    acc_t x[kTile], y[kTile];
#pragma unroll
    for (int k = 0; k < kTile; ++k) {
      x[k] = to_acc(rows_i[k][n * left.column]) - shift_i[k];
      y[k] = to_acc(rows_j[k][n * right.column]) - shift_j[k];
    }
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
  constexpr int kNumbers = kTile * kTile + kTile;
  acc_t* of_warps = reinterpret_cast<acc_t*>(shared_memory());  // [kWarps, kNumbers]
  acc_t* of_warp = of_warps + threadIdx.x / 32 * kNumbers;
  of_warp[first] = products[0];
  of_warp[first + 1] = products[1];
  if (threadIdx.x % 32 == 0) {
#pragma unroll
    for (int i = 0; i < kTile; ++i) of_warp[kTile * kTile + i] = sums[i];
  }
  __syncthreads();
  acc_t* part = parts + (b * shape.chunks() + chunk) * shape.part();
  if (threadIdx.x < kNumbers) {
    acc_t total = 0;
    for (int warp = 0; warp < kWarps; ++warp) total += of_warps[warp * kNumbers + threadIdx.x];
    const bool is_sum = threadIdx.x >= kTile * kTile;
    const int i = first_i + (is_sum ? threadIdx.x - kTile * kTile : threadIdx.x / kTile);
    const int j = first_j + threadIdx.x % kTile;
    if (is_sum) {
      if (i < joints && pair == 0) part[joints * joints + i] = total;
    } else if (i < joints && j < joints) {
      part[i * joints + j] = total;
      if (same) part[j * joints + i] = total;
    }
  }
}

// out[b,k,n] = gain[k] x[b,k,n] + offset[b,k] + sum_j first[b,k,j] x[b,j,n] + sum_j second[b,k,j] y[b,j,n].
// Block: kTile rows of kThreads * kColumnsPerThread columns of one sample. Thread: kTile x kColumnsPerThread results.
// Shared: the coefficients of kMixedJoints joints, [j][k], read by all threads at once.
// The last samples come first: theirs are the maps that the pass before has left in the cache.
// Expected, not measured: float32 up to K = 16 bound by memory; half types and larger K by loads from the cache.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) mix_kernel(
    RelationShape shape,
    Maps x,  // [B, K, N]
    Maps y,  // [B, K, N] or null
    Mixture mixture,
    scalar_t* __restrict__ out)  // [B, K, N]
{
  using acc_t = typename Accumulate<scalar_t>::type;
  const int joints = static_cast<int>(shape.joints), tiles = (joints + kTile - 1) / kTile;
  const int64_t blocks = (shape.columns + kThreads * kColumnsPerThread - 1) / (kThreads * kColumnsPerThread);
  const unsigned index = gridDim.x - 1 - blockIdx.x;
  const int first_k = static_cast<int>(index % tiles) * kTile;
  const int64_t b = index / tiles / blocks;
  const int64_t begin = index / tiles % blocks * kThreads * kColumnsPerThread + threadIdx.x;
  acc_t* coefficients = reinterpret_cast<acc_t*>(shared_memory());  // [kMixedJoints, kTile]
  acc_t total[kTile][kColumnsPerThread] = {};

  const auto add = [&](const void* matrix, Maps values) {
    const acc_t* of_sample = static_cast<const acc_t*>(matrix) + b * mixture.step;
    const scalar_t* data = static_cast<const scalar_t*>(values.data) + b * values.sample;
    for (int first_j = 0; first_j < joints; first_j += kMixedJoints) {
      const int count = min(kMixedJoints, joints - first_j);
      __syncthreads();
      for (int i = threadIdx.x; i < count * kTile; i += kThreads) {
        const int j = first_j + i / kTile, k = first_k + i % kTile;
        coefficients[i] = k < joints ? of_sample[int64_t(k) * joints + j] : acc_t(0);
      }
      __syncthreads();
      for (int j = 0; j < count; ++j) {
        acc_t value[kColumnsPerThread];
#pragma unroll
        for (int c = 0; c < kColumnsPerThread; ++c) {
          const int64_t n = min(begin + c * kThreads, shape.columns - 1);
          value[c] = to_acc(data[(first_j + j) * values.joint + n * values.column]);
        }
#pragma unroll
        for (int k = 0; k < kTile; ++k) {
          const acc_t coefficient = coefficients[j * kTile + k];
#pragma unroll
          for (int c = 0; c < kColumnsPerThread; ++c) total[k][c] += coefficient * value[c];
        }
      }
    }
  };
  add(mixture.first, x);
  if (mixture.second != nullptr) add(mixture.second, y);

  const scalar_t* data = static_cast<const scalar_t*>(x.data) + b * x.sample;
#pragma unroll
  for (int i = 0; i < kTile; ++i) {
    const int k = first_k + i;
    if (k >= joints) break;
    const acc_t gain = mixture.gain != nullptr ? static_cast<const acc_t*>(mixture.gain)[k] : acc_t(1);
    const acc_t offset =
        mixture.offset != nullptr ? static_cast<const acc_t*>(mixture.offset)[b * mixture.step + k] : acc_t(0);
#pragma unroll
    for (int c = 0; c < kColumnsPerThread; ++c) {
      const int64_t n = begin + c * kThreads;
      if (n >= shape.columns) break;
      const acc_t own = to_acc(data[k * x.joint + n * x.column]);
      out[(b * joints + k) * shape.columns + n] = from_acc<scalar_t>(gain * own + (total[i][c] + offset));
    }
  }
}

// total[i] = sum_b values[b,i]. Block: a column of 32 of them by 32 lanes of samples, added in the order of the lanes.
template <typename acc_t>
__global__ void __launch_bounds__(1024) add_samples_kernel(
    int64_t samples, int64_t size,
    const acc_t* __restrict__ values,  // [B, size]
    acc_t* __restrict__ total)         // [size]
{
  double* sums = reinterpret_cast<double*>(shared_memory());  // [32, 32]
  const int64_t i = blockIdx.x * int64_t(32) + threadIdx.x % 32;
  double sum = 0;
  if (i < size) {
    for (int64_t b = threadIdx.x / 32; b < samples; b += 32) sum += values[b * size + i];
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x < 32 && i < size) {
    sum = 0;
    for (int lane = 0; lane < 32; ++lane) sum += sums[lane * 32 + threadIdx.x];
    total[i] = static_cast<acc_t>(sum);
  }
}

template <typename acc_t>
__device__ inline acc_t* scratch_of(RelationShape shape, acc_t* in_memory, int64_t size) {
  return in_memory != nullptr ? in_memory + blockIdx.x * size : reinterpret_cast<acc_t*>(shared_memory());
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
    const acc_t* __restrict__ parts,                                           // [B, chunks, part]
    const acc_t* __restrict__ weight_g, const acc_t* __restrict__ bias_g,      // [K, K], [K]
    const acc_t* __restrict__ weight_o, const acc_t* __restrict__ bias_o,      // [K, K], [K]
    acc_t* scratch,                                                            // [B, 2, K, K] or null
    acc_t* gram,                                                               // [B, K, K]
    acc_t* folded)                                                             // [B, part]
{
  const int joints = static_cast<int>(shape.joints);
  const int64_t b = blockIdx.x, size = shape.matrix();
  add_parts(shape, parts, size, gram + b * size);
  __syncthreads();
  acc_t* mixing = folded + b * shape.part();
  fold(joints, scale.value<acc_t>(), gram + b * size, weight_g, bias_g, weight_o, bias_o,
       scratch_of(shape, scratch, 2 * size), mixing, mixing + size);
}

// joint_relation.h's A^T - I, Q and one sample's part of the gradients. Block: a sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads) fold_backward_kernel(
    RelationShape shape, RelationScale scale,
    const acc_t* __restrict__ parts,                                           // [B, chunks, part]
    const acc_t* __restrict__ gram,                                            // [B, K, K]
    const acc_t* __restrict__ weight_g, const acc_t* __restrict__ bias_g,      // [K, K], [K]
    const acc_t* __restrict__ weight_o,                                        // [K, K]
    acc_t* scratch,                                                            // [B, 4 K K + part] or null
    acc_t* folded,                                                             // [B, 2, K, K]
    acc_t* gradients)                                                          // [B, scale.gradients()]
{
  const int joints = static_cast<int>(shape.joints);
  const int64_t b = blockIdx.x, size = shape.matrix(), row = shape.part();
  acc_t *matrices = scratch_of(shape, scratch, 4 * size + row), *total = matrices + 4 * size;
  add_parts(shape, parts, row, total);
  __syncthreads();
  acc_t *mixing_t = folded + b * 2 * size, *g = gradients + b * scale.gradients(shape);
  fold_backward(joints, scale.value<acc_t>(), gram + b * size, total, total + size, weight_g, bias_g, weight_o, matrices,
                mixing_t, mixing_t + size, g, g + size, g + row, g + row + size,
                scale.on_device != nullptr ? g + 2 * row : nullptr);
}

template <typename acc_t>
int64_t shared_bytes(RelationShape shape, int64_t numbers) {
  return shape.joints <= kSharedJoints ? numbers * static_cast<int64_t>(sizeof(acc_t)) : 0;
}

// f(K that a tile is compiled for), in float 8, 13, 14, 15, 16, 17, where there is one; what f returns, or else false.
template <int kJoints>
struct TileJoints {
  static constexpr int kValue = kJoints;
};
template <typename Function>
bool with_float_tile(int64_t joints, Function&& f) {
  if (joints <= 8) return f(TileJoints<8>());
  if (joints <= 13) return f(TileJoints<13>());
  if (joints == 14) return f(TileJoints<14>());
  if (joints == 15) return f(TileJoints<15>());
  if (joints == 16) return f(TileJoints<16>());
  if (joints == 17) return f(TileJoints<17>());
  return false;
}

// f(scalar_t(), K that a tile is compiled for): float32 as above; float16 and bfloat16 16, 32.
template <typename Function>
bool with_tile(Dtype dtype, int64_t joints, Function&& f) {
  if (dtype == Dtype::kFloat32) {
    return with_float_tile(joints, [&](auto tile) { return f(float(), tile); });
  }
  const auto of_halves = [&](auto zero) {
    if (joints <= 16) return f(zero, TileJoints<16>());
    if (joints <= 32) return f(zero, TileJoints<32>());
    return false;
  };
  if (dtype == Dtype::kFloat16) return of_halves(__half());
  if (dtype == Dtype::kBFloat16) return of_halves(__nv_bfloat16());
  return false;
}

}  // namespace

bool launch_one_read_forward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps x, const void* weight_g, const void* bias_g,
    const void* weight_o, const void* bias_o, void* gram, void* out, cudaStream_t stream) {
  const DeviceLimits limits = device_limits();
  if (!limits.has_clusters()) return false;
  return with_tile(dtype, shape.joints, [&](auto zero, auto tile) {
    using scalar_t = decltype(zero);
    constexpr int kJoints = decltype(tile)::kValue;
    OneReadDivision division;
    int64_t bytes;
    if (!divide_for_one_read<scalar_t, kJoints, false>(shape, limits, division, bytes)) return false;
    launch("joint_relation",
           {dim3(shape.samples * division.cluster), dim3(kOneReadThreads), stream, bytes, division.cluster},
           one_read_forward_kernel<scalar_t, kJoints>, shape, division, scale, x,
           as<float>(weight_g), as<float>(bias_g), as<float>(weight_o), as<float>(bias_o), as<float>(gram),
           as<scalar_t>(out));
    return true;
  });
}

bool launch_one_read_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps grad_out, Maps x, const void* gram, const void* weight_g,
    const void* bias_g, const void* weight_o, void* grad_x, void* gradients, cudaStream_t stream) {
  const DeviceLimits limits = device_limits();
  if (!limits.has_clusters()) return false;
  return with_tile(dtype, shape.joints, [&](auto zero, auto tile) {
    using scalar_t = decltype(zero);
    constexpr int kJoints = decltype(tile)::kValue;
    OneReadDivision division;
    int64_t bytes;
    if (!divide_for_one_read<scalar_t, kJoints, true>(shape, limits, division, bytes)) return false;
    launch("joint_relation's backward",
           {dim3(shape.samples * division.cluster), dim3(kOneReadThreads), stream, bytes, division.cluster},
           one_read_backward_kernel<scalar_t, kJoints>, shape, division, scale, grad_out, x,
           as<float>(gram), as<float>(weight_g), as<float>(bias_g), as<float>(weight_o), as<scalar_t>(grad_x),
           as<float>(gradients));
    return true;
  });
}

void launch_products(
    Dtype dtype, RelationShape shape, Maps left, Maps right, bool same, Shift shift, void* parts, cudaStream_t stream) {
  const bool done = dtype != Dtype::kFloat64 && with_float_tile(shape.joints, [&](auto tile) {
    const auto launch_with = [&](auto memory, auto kernel) {
      if (memory.bytes() > device_limits().shared_memory_per_block) return false;
      launch("joint_relation's products",
             {dim3(shape.samples * shape.chunks()), dim3(kProductsThreads), stream, memory.bytes()}, kernel, dtype, shape,
             left, right, shift, as<float>(parts));
      return true;
    };
    constexpr int kJoints = decltype(tile)::kValue;
    const int joints = static_cast<int>(shape.joints), chunk = static_cast<int>(shape.chunk());
    return same ? launch_with(ProductsMemory<kJoints, true>{joints, chunk}, &tile_products_kernel<kJoints, true>)
                : launch_with(ProductsMemory<kJoints, false>{joints, chunk}, &tile_products_kernel<kJoints, false>);
  });
  if (done) return;
  const int64_t tiles = tiles_of(shape.joints), pairs = same ? tiles * (tiles + 1) / 2 : tiles * tiles;
  with_type(dtype, [&](auto zero) {
    using scalar_t = decltype(zero);
    using acc_t = typename Accumulate<scalar_t>::type;
    constexpr int64_t kShared = kWarps * (kTile * kTile + kTile) * sizeof(acc_t);
    launch("joint_relation's products", {dim3(shape.samples * shape.chunks() * pairs), dim3(kThreads), stream, kShared},
           products_kernel<scalar_t>, shape, left, right, same, shift, as<acc_t>(parts));
  });
}

void launch_mix(Dtype dtype, RelationShape shape, Maps x, Maps y, Mixture mixture, void* out, cudaStream_t stream) {
  const int64_t blocks = (shape.columns + kThreads * kColumnsPerThread - 1) / (kThreads * kColumnsPerThread);
  with_type(dtype, [&](auto zero) {
    using scalar_t = decltype(zero);
    constexpr int64_t kShared = kMixedJoints * kTile * sizeof(typename Accumulate<scalar_t>::type);
    launch("joint_relation's mixing",
           {dim3(shape.samples * blocks * tiles_of(shape.joints)), dim3(kThreads), stream, kShared},
           mix_kernel<scalar_t>, shape, x, y, mixture, as<scalar_t>(out));
  });
}

void launch_add_samples(
    Dtype dtype, int64_t samples, int64_t size, const void* values, void* total, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("adding over samples", {dim3((size + 31) / 32), dim3(1024), stream, 1024 * sizeof(double)},
           add_samples_kernel<acc_t>, samples, size, as<acc_t>(values), as<acc_t>(total));
  });
}

void launch_fold(
    Dtype dtype, RelationShape shape, RelationScale scale, const void* parts, const void* weight_g, const void* bias_g,
    const void* weight_o, const void* bias_o, void* scratch, void* gram, void* folded, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation's folding",
           {dim3(shape.samples), dim3(kThreads), stream, shared_bytes<acc_t>(shape, 2 * shape.matrix())},
           fold_kernel<acc_t>, shape, scale, as<acc_t>(parts), as<acc_t>(weight_g),
           as<acc_t>(bias_g), as<acc_t>(weight_o), as<acc_t>(bias_o), as<acc_t>(scratch), as<acc_t>(gram),
           as<acc_t>(folded));
  });
}

void launch_fold_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, const void* parts, const void* gram, const void* weight_g,
    const void* bias_g, const void* weight_o, void* scratch, void* folded, void* gradients, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation's folding of gradients",
           {dim3(shape.samples), dim3(kThreads), stream,
            shared_bytes<acc_t>(shape, 4 * shape.matrix() + shape.part())},
           fold_backward_kernel<acc_t>, shape, scale, as<acc_t>(parts), as<acc_t>(gram),
           as<acc_t>(weight_g), as<acc_t>(bias_g), as<acc_t>(weight_o), as<acc_t>(scratch), as<acc_t>(folded),
           as<acc_t>(gradients));
  });
}

int64_t fold_scratch(RelationShape shape) {
  return shape.joints <= kSharedJoints ? 0 : shape.samples * 2 * shape.matrix();
}

int64_t fold_backward_scratch(RelationShape shape) {
  return shape.joints <= kSharedJoints ? 0 : shape.samples * (4 * shape.matrix() + shape.part());
}

}  // namespace rpstn
