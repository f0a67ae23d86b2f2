#pragma once

// The K x K algebra of joint_relation_norm.h for one sample, by the threads of a block as in relation_matrices.cuh.
// Moments are [K, K + 2], row k holding G's row, xs[k] and m[k]; sums [3, K]: A xs, A m + c and diag(A G A^T).

#include "cuda/relation_matrices.cuh"

namespace rpstn {

// X X^T from the moments.
template <typename acc_t>
__device__ inline void gram_of(int joints, int64_t columns, const acc_t* moments, acc_t* gram) {
  const int row = joints + 2;
  for_entries(joints, joints, [&](int i, int j) {
    const acc_t *of_i = moments + i * row, *of_j = moments + j * row + joints;
    const double sum = of_i[joints], mean = of_i[joints + 1];
    const double product = of_i[j] + sum * of_j[1] + mean * (of_j[0] + static_cast<double>(columns) * of_j[1]);
    gram[i * joints + j] = static_cast<acc_t>(product);
  });
}

// A G = G + (A - I) G.
template <typename acc_t>
__device__ inline void mix_gram(int joints, const acc_t* mixing, const acc_t* moments, acc_t* out) {
  const int row = joints + 2;
  for_entries(joints, joints, [&](int i, int j) {
    out[i * joints + j] = dot(joints, mixing + i * joints, 1, moments + j, row, moments[i * row + j]);
  });
}

// The sample's moments from its chunks' products, sums and centres [chunks, part + K]: m is the mean of its rows, but
// where nothing was centred [chunks, part], 0. With d a chunk's centre less m and n its columns, its products about m are
//   G + xs d^T + d xs^T + n d d^T
template <typename acc_t>
__device__ inline void moments_of(RelationShape shape, bool centred, const acc_t* parts, acc_t* moments) {
  const int joints = static_cast<int>(shape.joints), width = joints + 2;
  const int64_t size = shape.matrix(), row = shape.part(), step = row + (centred ? joints : 0);
  const auto columns_of = [&](int64_t c) { return min(shape.chunk(), shape.columns - c * shape.chunk()); };
  for_entries(1, joints, [&](int, int k) {
    double sum = 0;
    for (int64_t c = 0; c < shape.chunks(); ++c) {
      const acc_t* part = parts + c * step;
      sum += part[size + k];
      if (centred) sum += static_cast<double>(columns_of(c)) * part[row + k];
    }
    const acc_t mean = centred ? static_cast<acc_t>(sum / static_cast<double>(shape.columns)) : acc_t(0);
    moments[k * width + joints] = static_cast<acc_t>(sum - static_cast<double>(shape.columns) * mean);
    moments[k * width + joints + 1] = mean;
  });
  __syncthreads();
  for_entries(joints, joints, [&](int i, int j) {
    acc_t total = 0;
    for (int64_t c = 0; c < shape.chunks(); ++c) {
      const acc_t* part = parts + c * step;
      total += part[i * joints + j];
      if (!centred) continue;
      const acc_t of_i = part[row + i] - moments[i * width + joints + 1];
      const acc_t of_j = part[row + j] - moments[j * width + joints + 1];
      total += part[size + i] * of_j + of_i * (part[size + j] + static_cast<acc_t>(columns_of(c)) * of_j);
    }
    moments[i * width + j] = total;
  });
}

// A - I, c and the sample's sums from its moments. scratch: [3, K, K].
template <typename acc_t>
__device__ inline void norm_fold(
    int joints, int64_t columns, acc_t scale, const acc_t* moments, const acc_t* weight_g, const acc_t* bias_g,
    const acc_t* weight_o, const acc_t* bias_o, acc_t* scratch, acc_t* mixing, acc_t* offset, double* sums) {
  acc_t* gram = scratch + 2 * joints * joints;
  gram_of(joints, columns, moments, gram);
  __syncthreads();
  fold(joints, scale, gram, weight_g, bias_g, weight_o, bias_o, scratch, mixing, offset);
  __syncthreads();
  acc_t* mixed_gram = scratch;
  mix_gram(joints, mixing, moments, mixed_gram);
  __syncthreads();
  for_entries(3, joints, [&](int which, int k) {
    const acc_t* row = mixing + k * joints;
    const acc_t* values = which == 2 ? mixed_gram + k * joints : moments + joints + which;
    const int step = which == 2 ? 1 : joints + 2;
    double total = values[k * step];
    for (int j = 0; j < joints; ++j) total += double(row[j]) * values[j * step];
    sums[which * joints + k] = which == 1 ? total + offset[k] : total;
  });
}

// The sample's part of the gradients of parameters and scale, and first, second and offset of dX. r is [K]; batch [3, K] holds a,
// b and d. scratch: [6, K, K] and [K].
template <typename acc_t>
__device__ inline void norm_fold_backward(
    int joints, int64_t columns, acc_t scale, const acc_t* moments, const acc_t* products, const double* r,
    const acc_t* mixing, const acc_t* constant, const double* sums, const acc_t* mean, const double* batch,
    const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o, acc_t* scratch, acc_t* first, acc_t* second,
    acc_t* offset, acc_t* grad_weight_g, acc_t* grad_bias_g, acc_t* grad_weight_o, acc_t* grad_bias_o,
    acc_t* grad_scale) {
  const int size = joints * joints, row = joints + 2;
  acc_t *gram = scratch + 4 * size, *through = scratch + 5 * size, *total_sums = scratch + 6 * size;
  const double *a = batch, *b = batch + joints, *d = batch + 2 * joints;
  gram_of(joints, columns, moments, gram);
  // C' in `second`, r' in `total_sums`.
  for_entries(joints, joints, [&](int k, int j) {
    const acc_t mixed = dot(joints, mixing + k * joints, 1, moments + j, row, moments[k * row + j]);
    const acc_t* of_j = moments + j * row + joints;
    const double e = sums[joints + k] - mean[k];
    const double total = a[k] * r[k] + b[k] * (sums[k] + double(columns) * e) + d[k] * double(columns);
    if (j == 0) total_sums[k] = static_cast<acc_t>(total);
    second[k * joints + j] = static_cast<acc_t>(
        a[k] * products[k * joints + j] + b[k] * mixed + (b[k] * e + d[k]) * of_j[0] + total * of_j[1]);
  });
  __syncthreads();
  // `first` is A^T - I until its columns are multiplied by a, `through` is Q.
  fold_backward(joints, scale, gram, second, total_sums, weight_g, bias_g, weight_o, scratch, first, through,
                grad_weight_g, grad_bias_g, grad_weight_o, grad_bias_o, grad_scale);
  __syncthreads();
  for_entries(joints, joints + 1, [&](int k, int j) {
    const acc_t* of_k = first + k * joints;
    if (j == joints) {
      double total = 0;
      for (int i = 0; i < joints; ++i) total += (of_k[i] + (i == k ? 1.0 : 0.0)) * (b[i] * (double(constant[i]) - mean[i]) + d[i]);
      offset[k] = static_cast<acc_t>(total);
      return;
    }
    // A^T diag(b) A + Q.
    acc_t total = through[k * joints + j] + static_cast<acc_t>((of_k[j] + (j == k ? 1.0 : 0.0)) * b[j]);
    for (int i = 0; i < joints; ++i) {
      total += static_cast<acc_t>((of_k[i] + (i == k ? 1.0 : 0.0)) * b[i]) * mixing[i * joints + j];
    }
    second[k * joints + j] = total;
  });
  __syncthreads();
  for_entries(joints, joints, [&](int k, int j) { first[k * joints + j] *= static_cast<acc_t>(a[j]); });
}

}  // namespace rpstn
