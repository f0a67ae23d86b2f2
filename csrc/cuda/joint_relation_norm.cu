// What joint_relation_norm does between the passes over the maps: tiny kernels, a block per sample or per joint.

#include "cuda/joint_relation_norm.cuh"

#include "cuda/ptx.cuh"
#include "cuda/relation_norm_matrices.cuh"

namespace rpstn {
namespace {

constexpr int kThreads = 128;
constexpr int kSharedJoints = 32;  // up to these the algebra's matrices stay in shared memory

// Sum over the block of one value per thread, in the order of a tree; for all threads.
template <typename acc_t>
__device__ inline acc_t add_over_block(acc_t value) {
  acc_t* of_threads = reinterpret_cast<acc_t*>(shared_memory());  // [kThreads]
  __syncthreads();
  of_threads[threadIdx.x] = value;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) of_threads[threadIdx.x] += of_threads[threadIdx.x + half];
  }
  __syncthreads();
  return of_threads[0];
}

// moments[b,k,K+1] = mean of x[b,k,n] over the first chunk's columns n, or 0: within sqrt(chunks - 1) standard
// deviations of the map's mean, whatever it holds, and so as good a centre for sums of squares. Block: a map.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) centre_kernel(
    RelationShape shape,
    Maps x,  // [B, K, N]
    bool training,
    typename Accumulate<scalar_t>::type* __restrict__ moments)  // [B, K, K + 2]
{
  using acc_t = typename Accumulate<scalar_t>::type;
  const int64_t joint = blockIdx.x % shape.joints, b = blockIdx.x / shape.joints;
  const int64_t columns = min(shape.columns, shape.chunk());
  const scalar_t* row = static_cast<const scalar_t*>(x.data) + b * x.sample + joint * x.joint;
  acc_t sum = 0;
  for (int64_t n = threadIdx.x; training && n < columns; n += kThreads) sum += to_acc(row[n * x.column]);
  sum = add_over_block(sum);
  if (threadIdx.x == 0) moments[blockIdx.x * (shape.joints + 2) + shape.joints + 1] = sum / static_cast<acc_t>(columns);
}

template <typename acc_t>
struct Weights {
  const acc_t *weight_g, *bias_g, *weight_o, *bias_o, *norm_weight, *norm_bias;  // [K, K] and [K]

  explicit Weights(NormParameters p)
      : weight_g(static_cast<const acc_t*>(p.weight_g)), bias_g(static_cast<const acc_t*>(p.bias_g)),
        weight_o(static_cast<const acc_t*>(p.weight_o)), bias_o(static_cast<const acc_t*>(p.bias_o)),
        norm_weight(static_cast<const acc_t*>(p.norm_weight)), norm_bias(static_cast<const acc_t*>(p.norm_bias)) {}
};

template <typename acc_t>
__device__ inline acc_t* scratch_of(acc_t* in_memory, int64_t size) {
  return in_memory != nullptr ? in_memory + blockIdx.x * size : reinterpret_cast<acc_t*>(shared_memory());
}

// Number i of the sample's products and sums, its parts added in order.
template <typename acc_t>
__device__ inline acc_t added_parts(RelationShape shape, const acc_t* parts, int64_t i) {
  acc_t sum = 0;
  for (int64_t c = 0; c < shape.chunks(); ++c) sum += parts[(blockIdx.x * shape.chunks() + c) * shape.part() + i];
  return sum;
}

// G and xs of the moments, A - I, c and the sample's sums. Block: a sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads) norm_fold_kernel(
    RelationShape shape, RelationScale scale, Weights<acc_t> weights,
    const acc_t* __restrict__ parts,  // [B, chunks, part]
    acc_t* scratch,                   // [B, 3, K, K] or null
    acc_t* moments,                   // [B, K, K + 2]
    acc_t* folded,                    // [B, part]
    double* sums)                     // [B, 3, K]
{
  const int joints = static_cast<int>(shape.joints);
  const int64_t size = shape.matrix(), b = blockIdx.x;
  acc_t *of_sample = moments + b * joints * (joints + 2), *mixing = folded + b * shape.part();
  for_entries(joints, joints + 1, [&](int i, int j) {
    of_sample[i * (joints + 2) + j] = added_parts(shape, parts, j < joints ? i * joints + j : size + i);
  });
  __syncthreads();
  norm_fold(joints, shape.columns, scale.value<acc_t>(), of_sample, weights.weight_g, weights.bias_g, weights.weight_o, weights.bias_o,
            scratch_of(scratch, 3 * size), mixing, mixing + size, sums + b * 3 * joints);
}

// mu = sum_b (A xs + N (A m + c)) / (B N), var = sum_b (diag(A G A^T) + 2 (A xs) e + N e e) / (B N), e = A m + c - mu.
// Block: a joint. Thread: every kThreads-th sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads, 1) norm_statistics_kernel(
    RelationShape shape, bool training, double eps,
    const acc_t* __restrict__ norm_weight,   // [K]
    const double* __restrict__ sums,         // [B, 3, K]
    acc_t* mean, acc_t* var,                 // [K], [K]
    double* __restrict__ exact,              // [3, K]
    acc_t* __restrict__ gain)                // [K]
{
  const int64_t k = blockIdx.x, joints = shape.joints;
  double mu = 0, variance = 0;
  if (training) {
    const double columns = static_cast<double>(shape.columns);
    const double share = 1 / (static_cast<double>(shape.samples) * columns);
    for (int64_t b = threadIdx.x; b < shape.samples; b += kThreads) {
      const double* of_sample = sums + b * 3 * joints + k;
      mu += of_sample[0] + columns * of_sample[joints];
    }
    mu = add_over_block(mu) * share;
    for (int64_t b = threadIdx.x; b < shape.samples; b += kThreads) {
      const double* of_sample = sums + b * 3 * joints + k;
      const double e = of_sample[joints] - mu;
      variance += of_sample[2 * joints] + 2 * of_sample[0] * e + columns * e * e;
    }
    variance = add_over_block(variance) * share;
    variance = variance < 0 ? 0.0 : variance;  // NaN stays
  } else {
    mu = mean[k];
    variance = var[k];
  }
  if (threadIdx.x != 0) return;
  const double inverse = rsqrt(variance + eps);
  exact[k] = mu;
  exact[joints + k] = variance;
  exact[2 * joints + k] = inverse;
  gain[k] = static_cast<acc_t>(norm_weight[k] * inverse);
  if (training) {
    mean[k] = static_cast<acc_t>(mu);
    var[k] = static_cast<acc_t>(variance);
  }
}

// Y = gain * (X + (A - I) X + c - mu) + beta as a mixture. Block: a sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads) normalise_kernel(
    RelationShape shape,
    const acc_t* __restrict__ norm_bias,  // [K]
    const double* __restrict__ exact,     // [3, K]
    const acc_t* __restrict__ gain,       // [K]
    acc_t* folded)                        // [B, part]
{
  const int joints = static_cast<int>(shape.joints);
  acc_t *mixing = folded + blockIdx.x * shape.part(), *offset = mixing + shape.matrix();
  for_entries(joints, joints + 1, [&](int k, int j) {
    if (j < joints) mixing[k * joints + j] *= gain[k];
    else offset[k] = static_cast<acc_t>(double(gain[k]) * (offset[k] - exact[k]) + norm_bias[k]);
  });
}

// Cc, r and t = diag(Cc A^T) + r e of a sample, with A and the sums anew from its moments. Block: a sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads) norm_gradient_sums_kernel(
    RelationShape shape, RelationScale scale, Weights<acc_t> weights,
    const acc_t* __restrict__ parts,    // [B, chunks, part]
    const acc_t* __restrict__ moments,  // [B, K, K + 2]
    const double* __restrict__ exact,   // [3, K]
    acc_t* scratch,                     // [B, 3, K, K] or null
    acc_t* products,                    // [B, K, K]
    acc_t* folded,                      // [B, part]
    double* sums,                       // [B, 3, K]
    double* of_t)                       // [B, 2, K]
{
  const int joints = static_cast<int>(shape.joints);
  const int64_t size = shape.matrix(), b = blockIdx.x;
  acc_t *mixing = folded + b * shape.part(), *of_products = products + b * size;
  double *of_sums = sums + b * 3 * joints, *t = of_t + b * 2 * joints, *r = t + joints;
  for_entries(joints, joints, [&](int i, int j) {
    of_products[i * joints + j] = added_parts(shape, parts, i * joints + j);
    if (j > 0) return;
    r[i] = 0;
    for (int64_t c = 0; c < shape.chunks(); ++c) r[i] += parts[(b * shape.chunks() + c) * shape.part() + size + i];
  });
  norm_fold(joints, shape.columns, scale.value<acc_t>(), moments + b * joints * (joints + 2), weights.weight_g, weights.bias_g,
            weights.weight_o, weights.bias_o, scratch_of(scratch, 3 * size), mixing, mixing + size, of_sums);
  __syncthreads();
  for_entries(1, joints, [&](int, int k) {
    const acc_t *row = of_products + k * joints, *mixed = mixing + k * joints;
    double total = row[k] + r[k] * (of_sums[joints + k] - exact[k]);
    for (int j = 0; j < joints; ++j) total += double(row[j]) * mixed[j];
    t[k] = total;
  });
}

// R = sum_b r, t = sum_b t: dgamma = s t, dbeta = R, a = gamma s, b = -gamma s^3 t / (B N), d = -gamma s R / (B N).
// Block: a joint. Thread: every kThreads-th sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads) norm_batch_gradients_kernel(
    RelationShape shape, bool training,
    const double* __restrict__ exact,  // [3, K]
    const acc_t* __restrict__ gain,    // [K]
    const double* __restrict__ of_t,   // [B, 2, K]
    const double* __restrict__ totals, // [2 K + 1] or null
    double* __restrict__ batch,        // [3, K]
    acc_t* __restrict__ grad_norm)     // [2, K]
{
  const int64_t k = blockIdx.x, joints = shape.joints;
  double t = 0, r = 0;
  for (int64_t b = threadIdx.x; b < shape.samples; b += kThreads) {
    t += of_t[b * 2 * joints + k];
    r += of_t[b * 2 * joints + joints + k];
  }
  t = add_over_block(t);
  r = add_over_block(r);
  if (threadIdx.x != 0) return;
  const double inverse = exact[2 * joints + k], a = gain[k];
  grad_norm[k] = static_cast<acc_t>(t * inverse);
  grad_norm[joints + k] = static_cast<acc_t>(r);
  double count = static_cast<double>(shape.samples) * static_cast<double>(shape.columns);
  if (totals != nullptr) {
    t = totals[k];
    r = totals[joints + k];
    count = totals[2 * joints];
  }
  batch[k] = a;
  batch[joints + k] = training ? -a * inverse * inverse * t / count : 0.0;
  batch[2 * joints + k] = training ? -a * r / count : 0.0;
}

// first, second and offset of dX and the sample's part of the gradients. Block: a sample.
template <typename acc_t>
__global__ void __launch_bounds__(kThreads) norm_fold_backward_kernel(
    RelationShape shape, RelationScale scale, Weights<acc_t> weights,
    const acc_t* __restrict__ moments,   // [B, K, K + 2]
    const double* __restrict__ exact,    // [3, K]
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
  norm_fold_backward(
      joints, shape.columns, scale.value<acc_t>(), moments + b * joints * (joints + 2), products + b * size,
      of_t + (b * 2 + 1) * joints, of_folded, of_folded + size, sums + b * 3 * joints, exact, batch, weights.weight_g,
      weights.bias_g, weights.weight_o, scratch_of(scratch, 6 * size + joints), first, first + size, first + 2 * size,
      g, g + size, g + row, g + row + size, scale.on_device != nullptr ? g + 2 * row : nullptr);
}

template <typename acc_t>
Launch per_sample(RelationShape shape, int64_t scratch, cudaStream_t stream) {
  const bool shared = shape.joints <= kSharedJoints;
  return {dim3(shape.samples), dim3(kThreads), stream, shared ? scratch * static_cast<int64_t>(sizeof(acc_t)) : 0};
}

Launch per_joint(RelationShape shape, cudaStream_t stream) {
  return {dim3(shape.joints), dim3(kThreads), stream, kThreads * sizeof(double)};
}

int64_t fold_numbers(RelationShape shape) { return 3 * shape.matrix(); }
int64_t fold_backward_numbers(RelationShape shape) { return 6 * shape.matrix() + shape.joints; }

}  // namespace

void launch_centre(Dtype dtype, RelationShape shape, Maps x, bool training, void* moments, cudaStream_t stream) {
  with_type(dtype, [&](auto zero) {
    using scalar_t = decltype(zero);
    using acc_t = typename Accumulate<scalar_t>::type;
    launch("joint_relation_norm's centres",
           {dim3(shape.samples * shape.joints), dim3(kThreads), stream, kThreads * sizeof(acc_t)},
           centre_kernel<scalar_t>, shape, x, training, as<acc_t>(moments));
  });
}

void launch_norm_fold(
    Dtype dtype, RelationShape shape, RelationScale scale, NormParameters parameters, const void* parts, void* scratch,
    void* moments, void* folded, double* sums, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation_norm's folding", per_sample<acc_t>(shape, fold_numbers(shape), stream),
           norm_fold_kernel<acc_t>, shape, scale, Weights<acc_t>(parameters), as<acc_t>(parts), as<acc_t>(scratch),
           as<acc_t>(moments), as<acc_t>(folded), sums);
  });
}

void launch_norm_statistics(
    Dtype dtype, RelationShape shape, bool training, double eps, NormParameters parameters, const double* sums,
    NormBatch batch, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation_norm's statistics", per_joint(shape, stream), norm_statistics_kernel<acc_t>, shape, training,
           eps, as<acc_t>(parameters.norm_weight), sums, as<acc_t>(batch.mean), as<acc_t>(batch.var), batch.exact,
           as<acc_t>(batch.gain));
  });
}

void launch_normalise(
    Dtype dtype, RelationShape shape, NormParameters parameters, NormBatch batch, void* folded, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation_norm's normalising", per_sample<acc_t>(shape, 0, stream), normalise_kernel<acc_t>, shape,
           as<acc_t>(parameters.norm_bias), batch.exact, as<acc_t>(batch.gain), as<acc_t>(folded));
  });
}

void launch_norm_gradient_sums(
    Dtype dtype, RelationShape shape, RelationScale scale, NormParameters parameters, const void* parts, const void* moments,
    NormBatch batch, void* scratch, NormGradientWork work, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation_norm's sums of gradients", per_sample<acc_t>(shape, fold_numbers(shape), stream),
           norm_gradient_sums_kernel<acc_t>, shape, scale, Weights<acc_t>(parameters), as<acc_t>(parts),
           as<acc_t>(moments), batch.exact, as<acc_t>(scratch), as<acc_t>(work.products), as<acc_t>(work.folded),
           work.sums, work.of_t);
  });
}

void launch_norm_batch_gradients(
    Dtype dtype, RelationShape shape, bool training, NormBatch batch, NormGradientWork work, const double* totals,
    void* grad_norm, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation_norm's gradients of the batch", per_joint(shape, stream), norm_batch_gradients_kernel<acc_t>,
           shape, training, batch.exact, as<acc_t>(batch.gain), work.of_t, totals, work.batch, as<acc_t>(grad_norm));
  });
}

void launch_norm_fold_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, NormParameters parameters, const void* moments, NormBatch batch,
    NormGradientWork work, void* scratch, void* mixing, void* gradients, cudaStream_t stream) {
  with_sums(dtype, [&](auto zero) {
    using acc_t = decltype(zero);
    launch("joint_relation_norm's folding of gradients",
           per_sample<acc_t>(shape, fold_backward_numbers(shape), stream), norm_fold_backward_kernel<acc_t>, shape,
           scale, Weights<acc_t>(parameters), as<acc_t>(moments), batch.exact, as<acc_t>(work.products),
           as<acc_t>(work.folded), work.sums, work.of_t, work.batch, as<acc_t>(scratch), as<acc_t>(mixing),
           as<acc_t>(gradients));
  });
}

int64_t norm_fold_scratch(RelationShape shape) {
  return shape.joints <= kSharedJoints ? 0 : shape.samples * fold_numbers(shape);
}

int64_t norm_fold_backward_scratch(RelationShape shape) {
  return shape.joints <= kSharedJoints ? 0 : shape.samples * fold_backward_numbers(shape);
}

}  // namespace rpstn
