#pragma once

// The K x K algebra of joint_relation_norm for one sample, once per instruction set; see joint_relation_norm.h.

#include <cstdint>

namespace rpstn {

// One sample's moments: [K, K + 2], row k holding G's row, xs[k] and m[k].
inline int64_t moments_row(int64_t joints) { return joints + 2; }

// What the batch's statistics need of a sample: A xs, A m + c and diag(A G A^T), each [K].
struct NormSums {
  double *mixed_sums, *centre, *spread;
};

template <typename acc_t>
struct JointRelationNormSimd {
  // A - I, c and the sample's sums from its moments; the weights P, too, where they are kept.
  void (*fold)(
      int64_t joints, int64_t columns, acc_t scale,
      const acc_t* moments,                           // [K, K + 2]
      const acc_t* weight_g, const acc_t* bias_g,     // [K, K], [K]
      const acc_t* weight_o, const acc_t* bias_o,     // [K, K], [K]
      acc_t* scratch,                                 // [3, K, K]
      acc_t* weights,                                 // [K, K] or null
      acc_t* mixing, acc_t* offset,                   // [K, K], [K]
      NormSums sums);

  // The sample's part of the gradients of parameters and scale, and first, second and offset of dX, from the batch's a, b and d.
  void (*fold_backward)(
      int64_t joints, int64_t columns, acc_t scale,
      const acc_t* moments, const acc_t* products, const double* sums,              // [K, K + 2], Cc [K, K], r [K]
      const acc_t* weights,                                                         // P [K, K]
      const acc_t* mixing, const acc_t* constant, NormSums of_sample,               // A - I [K, K], c [K]
      const double* mean, const double* a, const double* b, const double* d,        // [K] each
      const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o,            // [K, K], [K], [K, K]
      acc_t* scratch,                                                               // [7, K, K]
      acc_t* first, acc_t* second, acc_t* offset,                                   // [K, K], [K, K], [K]
      acc_t* grad_weight_g, acc_t* grad_bias_g, acc_t* grad_weight_o, acc_t* grad_bias_o, acc_t* grad_scale);
};

namespace baseline {
template <typename acc_t>
JointRelationNormSimd<acc_t> joint_relation_norm_simd();
}
namespace avx2 {
template <typename acc_t>
JointRelationNormSimd<acc_t> joint_relation_norm_simd();
}
namespace avx512 {
template <typename acc_t>
JointRelationNormSimd<acc_t> joint_relation_norm_simd();
}

}  // namespace rpstn
