#pragma once

// The K x K algebra of joint_relation.h by the threads of a block together, matrices row-major and dense in shared or
// global memory. Each function leaves its results for any thread to read after the next __syncthreads().

#include <cstdint>

#include <cuda_runtime.h>

#include "cuda/joint_relation.cuh"
#include "cuda/ptx.cuh"
#include "cuda/staging.cuh"

namespace rpstn {

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

// f(i, j) for every entry, entries shared out among the block's threads.
template <typename Function>
__device__ inline void for_entries(int rows, int columns, Function&& f) {
  const unsigned count = rows * columns, row = columns;
  for (unsigned entry = threadIdx.x; entry < count; entry += blockDim.x) f(int(entry / row), int(entry % row));
}

// Where a block's matrices lie: in its shared memory, after the parameters that it stages there, or where they do not
// fit in memory of its sample's; then parameters are read as they lie. Seen after __syncthreads().
template <typename acc_t>
struct FoldMemory {
  const acc_t *weight_g, *bias_g, *weight_o, *bias_o;
  acc_t* scratch;

  // scratch [blocks, size] or null.
  __device__ FoldMemory(int joints, const RelationParameters& parameters, acc_t* in_memory, int64_t size) {
    if (in_memory != nullptr) {
      weight_g = static_cast<const acc_t*>(parameters.weight_g.data);
      bias_g = static_cast<const acc_t*>(parameters.bias_g.data);
      weight_o = static_cast<const acc_t*>(parameters.weight_o.data);
      bias_o = static_cast<const acc_t*>(parameters.bias_o.data);
      scratch = in_memory + blockIdx.x * size;
      return;
    }
    acc_t* place = reinterpret_cast<acc_t*>(shared_memory());
    const auto take = [&](int count, const Parameter& parameter) {
      if (parameter.data != nullptr) stage(count, parameter, place);
      place += count;
      return place - count;
    };
    weight_g = take(joints * joints, parameters.weight_g);
    bias_g = take(joints, parameters.bias_g);
    weight_o = take(joints * joints, parameters.weight_o);
    bias_o = take(joints, parameters.bias_o);
    scratch = place;
  }
};

// Bytes of shared memory for `numbers` of scratch and the parameters, and numbers of scratch in memory: one of them is 0.
template <typename acc_t>
int64_t fold_shared_bytes(RelationShape shape, int64_t numbers) {
  const bool shared = shape.joints <= shared_joints(sizeof(acc_t) == sizeof(double));
  return shared ? (2 * shape.part() + numbers) * static_cast<int64_t>(sizeof(acc_t)) : 0;
}
inline int64_t fold_memory(Dtype dtype, RelationShape shape, int64_t numbers) {
  return stages_parameters(dtype, shape) ? 0 : shape.samples * numbers;
}

// a[i,:] . b[:,j] and its transposed forms: elements of a and b one step apart.
template <typename acc_t>
__device__ inline acc_t dot(int count, const acc_t* a, int a_step, const acc_t* b, int b_step, acc_t start = 0) {
  acc_t total = start;
  for (int k = 0; k < count; ++k) total += a[k * a_step] * b[k * b_step];
  return total;
}

// The entry of a row of G whose weight is largest.
template <typename acc_t>
__device__ inline acc_t winner(int joints, acc_t scale, const acc_t* row) {
  acc_t best = row[0];
  for (int j = 1; j < joints; ++j) best = (scale < 0 ? row[j] < best : row[j] > best) ? row[j] : best;
  return best;
}

// Weights P: softmax of each row of scale * G. A thread per row's entry; each finds its row's winner and sum by itself.
template <typename acc_t>
__device__ inline void softmax_rows(int joints, acc_t scale, const acc_t* gram, acc_t* weights) {
  for_entries(joints, joints, [&](int i, int j) {
    const acc_t* row = gram + i * joints;
    const acc_t best = winner(joints, scale, row);
    acc_t total = 0;
    for (int k = 0; k < joints; ++k) total += exponential(scale * (row[k] - best));
    weights[i * joints + j] = exponential(scale * (row[j] - best)) / total;
  });
}

// A - I and c from G. scratch: [2, K, K]. Begins where G is seen by all threads.
template <typename acc_t>
__device__ inline void fold(
    int joints, acc_t scale, const acc_t* gram, const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o,
    const acc_t* bias_o, acc_t* scratch, acc_t* mixing, acc_t* offset) {
  acc_t *weights = scratch, *product = scratch + joints * joints;
  softmax_rows(joints, scale, gram, weights);
  __syncthreads();
  for_entries(joints, joints, [&](int i, int j) {
    product[i * joints + j] = dot(joints, weight_o + i * joints, 1, weights + j, joints);
  });
  __syncthreads();
  for_entries(joints, joints + 1, [&](int i, int j) {
    const acc_t* row = product + i * joints;
    if (j < joints) mixing[i * joints + j] = dot(joints, row, 1, weight_g + j, joints);
    else offset[i] = dot(joints, row, 1, bias_g, 1, bias_o[i]);
  });
}

// A^T - I, Q and, unless their places are null, the sample's part of the gradients of parameters and scale from G, C
// and r. scratch: [4, K, K]. Q may take G's place.
template <typename acc_t>
__device__ inline void fold_backward(
    int joints, acc_t scale, const acc_t* gram, const acc_t* products, const acc_t* sums, const acc_t* weight_g,
    const acc_t* bias_g, const acc_t* weight_o, acc_t* scratch, acc_t* mixing_t, acc_t* through_relation,
    acc_t* grad_weight_g, acc_t* grad_bias_g, acc_t* grad_weight_o, acc_t* grad_bias_o, acc_t* grad_scale) {
  const int size = joints * joints;
  acc_t *weights = scratch, *mixed = scratch + size, *e = scratch + 2 * size, *dp = scratch + 3 * size;
  softmax_rows(joints, scale, gram, weights);
  for_entries(joints, joints, [&](int i, int j) {
    e[i * joints + j] = dot(joints, products + i * joints, 1, weight_g + j * joints, 1, sums[i] * bias_g[j]);
  });
  __syncthreads();
  for_entries(joints, joints, [&](int i, int j) {
    mixed[i * joints + j] = dot(joints, weight_o + i * joints, 1, weights + j, joints);  // Wo P
    dp[i * joints + j] = dot(joints, weight_o + i, joints, e + j, joints);
    if (grad_weight_o != nullptr) grad_weight_o[i * joints + j] = dot(joints, e + i * joints, 1, weights + j * joints, 1);
  });
  __syncthreads();
  for_entries(joints, joints, [&](int i, int j) {
    mixing_t[i * joints + j] = dot(joints, mixed + j * joints, 1, weight_g + i, joints);
    if (grad_weight_g != nullptr) {
      grad_weight_g[i * joints + j] = dot(joints, mixed + i, joints, products + j, joints);
    }
    const acc_t mean = dot(joints, dp + i * joints, 1, weights + i * joints, 1);
    e[i * joints + j] = weights[i * joints + j] * (dp[i * joints + j] - mean);  // dS
    if (j == 0 && grad_bias_g != nullptr) {
      grad_bias_g[i] = dot(joints, mixed + i, joints, sums, 1);
      grad_bias_o[i] = sums[i];
    }
  });
  __syncthreads();
  if (grad_scale != nullptr) {  // for all threads or none
    // Rows of dS sum to zero, so that any number may be subtracted from a row of G; with the winner's, roundings of dS
    // meet small numbers.
    acc_t* of_rows = dp;
    for_entries(1, joints, [&](int, int i) {
      const acc_t *ds = e + i * joints, *row = gram + i * joints, best = winner(joints, scale, row);
      double total = 0;
      for (int j = 0; j < joints; ++j) total += double(ds[j]) * (row[j] - best);
      of_rows[i] = static_cast<acc_t>(total);
    });
    __syncthreads();
    if (threadIdx.x == 0) {
      double total = 0;
      for (int i = 0; i < joints; ++i) total += of_rows[i];
      *grad_scale = static_cast<acc_t>(total);
    }
  }
  for_entries(joints, joints, [&](int i, int j) {
    through_relation[i * joints + j] = scale * (e[i * joints + j] + e[j * joints + i]);
  });
}

}  // namespace rpstn
