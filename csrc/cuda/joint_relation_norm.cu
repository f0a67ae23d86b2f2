// What joint_relation_norm does between the passes over the maps: tiny kernels, a block per sample, of which the last one
// to end does what belongs to the batch.

#include "cuda/joint_relation_norm.cuh"

#include "cuda/ptx.cuh"
#include "cuda/relation_norm_matrices.cuh"

namespace rpstn {
namespace {

constexpr int kThreads = 128;

constexpr int kJointsAtOnce = 16;  // of the last block, which sums over the samples by lanes of them
constexpr int kLanes = kThreads / kJointsAtOnce;

// Whether all other blocks of the grid have written what they write before this: then it is seen, past the nearest cache.
// counter: 0 before the launch.
__device__ inline bool is_last_block(unsigned* counter) {
  auto* is_last = reinterpret_cast<unsigned*>(shared_memory());
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) *is_last = atomicAdd(counter, 1u) == gridDim.x - 1 ? 1u : 0u;
  __syncthreads();
  if (*is_last == 0) return false;
  __threadfence();
  return true;
}

// Calls f(k, keeps) by kLanes threads for each joint together, of which one keeps what they find.
template <typename Function>
__device__ inline void for_joints(int joints, Function&& f) {
  for (int first = 0; first < joints; first += kJointsAtOnce) {
    const int k = first + threadIdx.x % kJointsAtOnce;
    f(min(k, joints - 1), threadIdx.x < kJointsAtOnce && k < joints);
  }
}

// Sum over the samples of value(b) for the joint of this thread's lanes, for all of them; the lanes' sums in their order.
template <typename Value>
__device__ inline double add_over_samples(int64_t samples, Value&& value) {
  double* of_lanes = reinterpret_cast<double*>(shared_memory());  // [kLanes, kJointsAtOnce]
  double sum = 0;
#pragma unroll 8
  for (int64_t b = threadIdx.x / kJointsAtOnce; b < samples; b += kLanes) sum += value(b);
  __syncthreads();
  of_lanes[threadIdx.x] = sum;
  __syncthreads();
  sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += of_lanes[lane * kJointsAtOnce + threadIdx.x % kJointsAtOnce];
  return sum;
}

// Number i of the sample's products and sums, its parts added in order.
template <typename acc_t>
__device__ inline acc_t added_parts(RelationShape shape, const acc_t* parts, int64_t i) {
  acc_t sum = 0;
  for (int64_t c = 0; c < shape.chunks(); ++c) sum += parts[(blockIdx.x * shape.chunks() + c) * shape.part() + i];
  return sum;
}

template <typename acc_t>
__device__ inline void keep_statistics(int joints, int k, double mu, double variance, const NormBatch& batch) {
  batch.exact[k] = mu;
  batch.exact[joints + k] = variance;
  if (batch.mean != nullptr) static_cast<acc_t*>(batch.mean)[k] = static_cast<acc_t>(mu);
  if (batch.var != nullptr) static_cast<acc_t*>(batch.var)[k] = static_cast<acc_t>(variance);
  if (batch.gain == nullptr) return;
  static_cast<acc_t*>(batch.gain)[k] =
      static_cast<acc_t>(batch.norm_weight.template at<double>(k) * rsqrt(variance + batch.eps));
}

// mu = sum_b (A xs + N (A m + c)) / (B N), var = sum_b (diag(A G A^T) + 2 (A xs) e + N e e) / (B N), e = A m + c - mu.
// By the last block; sums [B, 3, K].
template <typename acc_t>
__device__ inline void batch_statistics(RelationShape shape, const double* sums, const NormBatch& batch) {
  const int joints = static_cast<int>(shape.joints);
  const double columns = static_cast<double>(shape.columns), count = static_cast<double>(shape.samples) * columns;
  const double share = 1 / count;
  for_joints(joints, [&](int k, bool keeps) {
    const auto of_sample = [&](int64_t b, int which) { return __ldcg(sums + (b * 3 + which) * joints + k); };
    const double mu =
        add_over_samples(shape.samples, [&](int64_t b) { return of_sample(b, 0) + columns * of_sample(b, 1); }) * share;
    double variance = share * add_over_samples(shape.samples, [&](int64_t b) {
      const double e = of_sample(b, 1) - mu;
      return of_sample(b, 2) + 2 * of_sample(b, 0) * e + columns * e * e;
    });
    if (!keeps) return;
    if (variance < 0) variance = 0;  // NaN stays
    keep_statistics<acc_t>(joints, k, mu, variance, batch);
    batch.running_mean.move(k, batch.momentum, mu);
    batch.running_var.move(k, batch.momentum, variance * (count / (count - 1)));
  });
}

// The sample's moments, A - I, c and sums; the last block keeps the batch's statistics and moves the running ones, or in
// evaluation keeps those.
// Block: a sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads, 1) norm_fold_kernel(
    RelationShape shape, RelationScale scale, RelationParameters parameters, bool training,
    const acc_t* __restrict__ parts,  // [B, chunks, part + K], or in evaluation [B, chunks, part]
    acc_t* scratch,                   // [B, 3, K, K] or null
    acc_t* moments,                   // [B, K, K + 2]
    acc_t* folded,                    // [B, part]
    double* sums,                     // [B, 3, K]
    NormBatch batch)
{
  const int joints = static_cast<int>(shape.joints);
  const int64_t size = shape.matrix(), b = blockIdx.x, part = shape.part() + (training ? joints : 0);
  acc_t *of_sample = moments + b * joints * (joints + 2), *mixing = folded + b * shape.part();
  const FoldMemory<acc_t> memory(joints, parameters, scratch, 3 * size);
  moments_of(shape, training, parts + b * shape.chunks() * part, of_sample);
  __syncthreads();
  norm_fold(joints, shape.columns, scale.value<acc_t>(), of_sample, memory.weight_g, memory.bias_g, memory.weight_o,
            memory.bias_o, memory.scratch, mixing, mixing + size, sums + b * 3 * joints);
  if (!is_last_block(batch.counter)) return;
  if (training) return batch_statistics<acc_t>(shape, sums, batch);
  for_entries(1, joints, [&](int, int k) {
    keep_statistics<acc_t>(joints, k, batch.running_mean.at(k), batch.running_var.at(k), batch);
  });
}

// R = sum_b r, t = sum_b t: dgamma = s t, dbeta = R, a = gamma s, b = -gamma s^3 t / (B N), d = -gamma s R / (B N).
// By the last block; of_t [B, 2, K].
template <typename acc_t>
__device__ inline void batch_gradients(RelationShape shape, const double* of_t, const NormBatchGradients& batch) {
  const int joints = static_cast<int>(shape.joints);
  for_joints(joints, [&](int k, bool keeps) {
    double t = add_over_samples(shape.samples, [&](int64_t b) { return __ldcg(of_t + b * 2 * joints + k); });
    double r = add_over_samples(shape.samples, [&](int64_t b) { return __ldcg(of_t + (b * 2 + 1) * joints + k); });
    if (!keeps) return;
    const double inverse = rsqrt(double(static_cast<const acc_t*>(batch.var)[k]) + batch.eps);
    const acc_t gain = static_cast<acc_t>(batch.norm_weight.template at<double>(k) * inverse);
    if (batch.of_weight.data != nullptr) {
      batch.of_weight.store(k, t * inverse);
      batch.of_bias.store(k, r);
    }
    double count = static_cast<double>(shape.samples) * static_cast<double>(shape.columns);
    if (batch.totals != nullptr) {
      t = batch.totals[k];
      r = batch.totals[joints + k];
      count = batch.totals[2 * joints];
    }
    const double a = gain;
    static_cast<acc_t*>(batch.gain)[k] = gain;
    batch.batch[k] = a;
    batch.batch[joints + k] = batch.training ? -a * inverse * inverse * t / count : 0.0;
    batch.batch[2 * joints + k] = batch.training ? -a * r / count : 0.0;
  });
}

// Cc, r and t = diag(Cc A^T) + r e of a sample, with A and the sums anew from its moments. Block: a sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads) norm_gradient_sums_kernel(
    RelationShape shape, RelationScale scale, RelationParameters parameters,
    const acc_t* __restrict__ parts,    // [B, chunks, part]
    const acc_t* __restrict__ moments,  // [B, K, K + 2]
    const acc_t* __restrict__ mean,     // [K]
    acc_t* scratch,                     // [B, 3, K, K] or null
    acc_t* products,                    // [B, K, K]
    acc_t* folded,                      // [B, part]
    double* sums,                       // [B, 3, K]
    double* of_t,                       // [B, 2, K]
    NormBatchGradients batch)
{
  const int joints = static_cast<int>(shape.joints);
  const int64_t size = shape.matrix(), b = blockIdx.x;
  acc_t *mixing = folded + b * shape.part(), *of_products = products + b * size;
  double *of_sums = sums + b * 3 * joints, *t = of_t + b * 2 * joints, *r = t + joints;
  const FoldMemory<acc_t> memory(joints, parameters, scratch, 3 * size);
  for_entries(joints, joints, [&](int i, int j) {
    of_products[i * joints + j] = added_parts(shape, parts, i * joints + j);
    if (j > 0) return;
    r[i] = 0;
    for (int64_t c = 0; c < shape.chunks(); ++c) r[i] += parts[(b * shape.chunks() + c) * shape.part() + size + i];
  });
  __syncthreads();
  norm_fold(joints, shape.columns, scale.value<acc_t>(), moments + b * joints * (joints + 2), memory.weight_g,
            memory.bias_g, memory.weight_o, memory.bias_o, memory.scratch, mixing, mixing + size, of_sums);
  __syncthreads();
  for_entries(1, joints, [&](int, int k) {
    const acc_t *row = of_products + k * joints, *mixed = mixing + k * joints;
    double total = row[k] + r[k] * (of_sums[joints + k] - mean[k]);
    for (int j = 0; j < joints; ++j) total += double(row[j]) * mixed[j];
    t[k] = total;
  });
  if (batch.counter != nullptr && is_last_block(batch.counter)) batch_gradients<acc_t>(shape, of_t, batch);
}

// first, second and offset of dX and the sample's part of the gradients. Block: a sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads) norm_fold_backward_kernel(
    RelationShape shape, RelationScale scale, RelationParameters parameters,
    const acc_t* __restrict__ moments,   // [B, K, K + 2]
    const acc_t* __restrict__ mean,      // [K]
    const acc_t* __restrict__ products,  // [B, K, K]
    const acc_t* __restrict__ folded,    // [B, part]
    const double* __restrict__ sums,     // [B, 3, K]
    const double* __restrict__ of_t,     // [B, 2, K]
    const double* __restrict__ batch,    // [3, K]
    acc_t* scratch,                      // [B, 6 K K + K] or null
    acc_t* mixing,                       // [B, 2 K K + K]
    acc_t* gradients)                    // [B, scale.gradients()]
{
  const int joints = static_cast<int>(shape.joints);
  const int64_t size = shape.matrix(), row = shape.part(), b = blockIdx.x;
  const acc_t* of_folded = folded + b * row;
  acc_t *first = mixing + b * (2 * size + joints), *g = gradients + b * scale.gradients(shape);
  const FoldMemory<acc_t> memory(joints, parameters, scratch, 6 * size + joints);
  __syncthreads();
  norm_fold_backward(
      joints, shape.columns, scale.value<acc_t>(), moments + b * joints * (joints + 2), products + b * size,
      of_t + (b * 2 + 1) * joints, of_folded, of_folded + size, sums + b * 3 * joints, mean, batch, memory.weight_g,
      memory.bias_g, memory.weight_o, memory.scratch, first, first + size, first + 2 * size, g, g + size, g + row,
      g + row + size, scale.is_on_device() ? g + 2 * row : nullptr);
}

template <typename acc_t>
Launch per_sample(RelationShape shape, int64_t numbers, cudaStream_t stream) {
  constexpr int64_t kLeast = kThreads * sizeof(double);  // of the last block
  const int64_t bytes = fold_shared_bytes<acc_t>(shape, numbers);
  return {dim3(shape.samples), dim3(kThreads), stream, bytes > kLeast ? bytes : kLeast};
}

int64_t fold_numbers(RelationShape shape) { return 3 * shape.matrix(); }
int64_t fold_backward_numbers(RelationShape shape) { return 6 * shape.matrix() + shape.joints; }

}  // namespace

void launch_norm_fold(
    Dtype dtype, RelationShape shape, RelationScale scale, RelationParameters parameters, bool training, const void* parts,
    void* scratch, void* moments, void* folded, double* sums, const NormBatch& batch, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation_norm's folding", per_sample<acc_t>(shape, fold_numbers(shape), stream),
           norm_fold_kernel<acc_t>, shape, scale, parameters, training, as<acc_t>(parts), as<acc_t>(scratch),
           as<acc_t>(moments), as<acc_t>(folded), sums, batch);
  });
}

void launch_norm_gradient_sums(
    Dtype dtype, RelationShape shape, RelationScale scale, RelationParameters parameters, const void* parts,
    const void* moments, const void* mean, void* scratch, NormGradientWork work, const NormBatchGradients& batch,
    cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation_norm's sums of gradients", per_sample<acc_t>(shape, fold_numbers(shape), stream),
           norm_gradient_sums_kernel<acc_t>, shape, scale, parameters, as<acc_t>(parts), as<acc_t>(moments),
           as<acc_t>(mean), as<acc_t>(scratch), as<acc_t>(work.products), as<acc_t>(work.folded), work.sums, work.of_t,
           batch);
  });
}

void launch_norm_fold_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, RelationParameters parameters, const void* moments,
    const void* mean, const double* batch, NormGradientWork work, void* scratch, void* mixing, void* gradients,
    cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation_norm's folding of gradients",
           per_sample<acc_t>(shape, fold_backward_numbers(shape), stream), norm_fold_backward_kernel<acc_t>, shape,
           scale, parameters, as<acc_t>(moments), as<acc_t>(mean), as<acc_t>(work.products), as<acc_t>(work.folded),
           work.sums, work.of_t, batch, as<acc_t>(scratch), as<acc_t>(mixing), as<acc_t>(gradients));
  });
}

int64_t norm_fold_scratch(Dtype dtype, RelationShape shape) { return fold_memory(dtype, shape, fold_numbers(shape)); }

int64_t norm_fold_backward_scratch(Dtype dtype, RelationShape shape) {
  return fold_memory(dtype, shape, fold_backward_numbers(shape));
}

}  // namespace rpstn
