#pragma once

// Launchers of joint_relation_norm.cu, between the passes of joint_relation.cuh. Pointers of no type point at numbers
// of the type of the sums. Equations: joint_relation_norm.h.

#include "cuda/joint_relation.cuh"

namespace rpstn {

struct NormParameters {
  const void *weight_g, *bias_g, *weight_o, *bias_o, *norm_weight, *norm_bias;  // [K, K] and [K]
};

// What the batch is normalised by.
struct NormBatch {
  void *mean, *var;   // [K]: mu and var, written in training
  double* exact;      // [3, K]: mu, var and 1 / sqrt(var + eps)
  void* gain;         // [K]: gamma / sqrt(var + eps)
};

// m of every sample's moments: in training its rows' means over the first chunk of columns, else 0.
void launch_centre(Dtype dtype, RelationShape shape, Maps x, bool training, void* moments, cudaStream_t stream);

// moments [B, K, K + 2] from parts; A - I and c per sample: folded [B, part]; A xs, A m + c, diag(A G A^T): sums [B, 3, K].
void launch_norm_fold(
    Dtype dtype, RelationShape shape, RelationScale scale, NormParameters parameters, const void* parts, void* scratch,
    void* moments, void* folded, double* sums, cudaStream_t stream);

// The batch's mu and var from its samples' sums, over all of them in one order; in evaluation they are given.
void launch_norm_statistics(
    Dtype dtype, RelationShape shape, bool training, double eps, NormParameters parameters, const double* sums,
    NormBatch batch, cudaStream_t stream);

// diag(gain) (A - I) and gain * (c - mu) + beta in the place of A - I and c.
void launch_normalise(
    Dtype dtype, RelationShape shape, NormParameters parameters, NormBatch batch, void* folded, cudaStream_t stream);

// What the gradients of a sample need, in memory between two kernels.
struct NormGradientWork {
  void* products;  // [B, K, K]: Cc
  void* folded;    // [B, part]: A - I, c
  double* sums;    // [B, 3, K]
  double* of_t;    // [B, 2, K]: t, r
  double* batch;   // [3, K]: a, b, d
};

void launch_norm_gradient_sums(
    Dtype dtype, RelationShape shape, RelationScale scale, NormParameters parameters, const void* parts, const void* moments,
    NormBatch batch, void* scratch, NormGradientWork work, cudaStream_t stream);

// a, b, d and the gradients of gamma and beta: grad_norm [2, K]. a, b and d are of the whole batch where its totals are
// given [2 K + 1]: t, R and the number of values per joint.
void launch_norm_batch_gradients(
    Dtype dtype, RelationShape shape, bool training, NormBatch batch, NormGradientWork work, const double* totals,
    void* grad_norm, cudaStream_t stream);

// first, second and offset of dX: mixing [B, 2 K K + K]; a sample's part of the gradients: [B, scale.gradients()].
void launch_norm_fold_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, NormParameters parameters, const void* moments, NormBatch batch,
    NormGradientWork work, void* scratch, void* mixing, void* gradients, cudaStream_t stream);

// As fold_scratch: for launch_norm_fold and launch_norm_gradient_sums, and for launch_norm_fold_backward.
int64_t norm_fold_scratch(RelationShape shape);
int64_t norm_fold_backward_scratch(RelationShape shape);

}  // namespace rpstn
