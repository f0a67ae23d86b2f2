#pragma once

// Launchers of joint_relation_norm.cu, between the passes of joint_relation.cuh. Pointers of no type point at numbers
// of the type of the sums. Equations: joint_relation_norm.h.

#include "cuda/joint_relation.cuh"

namespace rpstn {

// Running statistics [K] in their own type, `step` elements apart.
struct RunningStatistic {
  Target numbers;  // without data where there are none
  int64_t step;

  __device__ double at(int64_t k) const { return Parameter{numbers.data, numbers.dtype}.at<double>(k * step); }
  __device__ void move(int64_t k, double momentum, double value) const {
    if (numbers.data == nullptr) return;
    const double before = at(k);
    numbers.store(k * step, before + momentum * (value - before));
  }
};

// What the batch is normalised by, written by the block that ends last.
struct NormBatch {
  unsigned* counter;      // 0 before the launch
  void *mean, *var;       // [K]: mu and var; may be null
  double* exact;          // [2, K]: mu and var
  void* gain;             // [K]: gamma / sqrt(var + eps); may be null
  double eps;
  Parameter norm_weight;  // [K]
  // In evaluation those that count; in training moved, the variance with Bessel's correction.
  RunningStatistic running_mean, running_var;
  double momentum;
};

// In training: moments [B, K, K + 2] from centred parts; A - I and c per sample: folded [B, part]; A xs, A m + c,
// diag(A G A^T): sums [B, 3, K]; and the batch's mu and var from them, over all samples in one order. In evaluation parts
// are not centred, m is 0, and the batch's statistics are the running ones.
void launch_norm_fold(
    Dtype dtype, RelationShape shape, RelationScale scale, RelationParameters parameters, bool training, const void* parts,
    void* scratch, void* moments, void* folded, double* sums, const NormBatch& batch, cudaStream_t stream);

// What the gradients of a sample need, in memory between two kernels.
struct NormGradientWork {
  void* products;  // [B, K, K]: Cc
  void* folded;    // [B, part]: A - I, c
  double* sums;    // [B, 3, K]
  double* of_t;    // [B, 2, K]: t, r
};

// What the gradients of the batch are made of, by the block that ends last.
struct NormBatchGradients {
  unsigned* counter;     // 0 before the launch; null where they are not wanted
  bool training;
  double eps;
  const void* var;       // [K]
  Parameter norm_weight;
  const double* totals;  // [2 K + 1]: t, R and the number of values per joint of a batch of which this is a part; or null
  double* batch;         // [3, K]: a, b, d
  void* gain;            // [K]: a
  Target of_weight, of_bias;  // dgamma and dbeta, of these samples
};

// Per sample Cc, r and t, with A and the sums anew from its moments; and the gradients of the batch.
void launch_norm_gradient_sums(
    Dtype dtype, RelationShape shape, RelationScale scale, RelationParameters parameters, const void* parts,
    const void* moments, const void* mean, void* scratch, NormGradientWork work, const NormBatchGradients& batch,
    cudaStream_t stream);

// first, second and offset of dX: mixing [B, 2 K K + K]; a sample's part of the gradients: [B, scale.gradients()].
void launch_norm_fold_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, RelationParameters parameters, const void* moments,
    const void* mean, const double* batch, NormGradientWork work, void* scratch, void* mixing, void* gradients,
    cudaStream_t stream);

// As fold_scratch: for launch_norm_fold and launch_norm_gradient_sums, and for launch_norm_fold_backward.
int64_t norm_fold_scratch(Dtype dtype, RelationShape shape);
int64_t norm_fold_backward_scratch(Dtype dtype, RelationShape shape);

}  // namespace rpstn
