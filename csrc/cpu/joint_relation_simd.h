#pragma once

// The arithmetic of joint_relation on raw memory, once per instruction set; joint_relation.cpp divides the work.
// A chunk is columns [begin, end) of the N columns of a sample's K x N matrix. Matrices are row-major and dense.

#include "cpu/rows.h"

namespace rpstn {

struct JointRelationShape {
  int64_t joints, columns;  // K, N
};

constexpr int64_t kPackedColumns = 64;
constexpr int64_t kScratchPadding = 16;

// Elements of scratch that product and mix need: a chunk of two inputs rounded up to whole vectors, or blocks of two
// inputs and a result.
constexpr int64_t scratch_elements(int64_t joints, int64_t chunk) {
  return joints * (2 * (chunk + 16 + kScratchPadding) + 3 * kPackedColumns);
}

// How results are stored: to be read from a cache, or, too large for that, past the caches: tile by tile, or block by block,
// each row's part of a block at once.
enum class Stores { cached, past_caches, past_caches_by_row };

template <typename scalar_t>
struct JointRelationSimd {
  using acc_t = typename Accumulate<scalar_t>::type;

  // products[i,j] = sum over the chunk of left[i,n] * (right[j,n] - shift[j]); left == right is allowed, is then
  // shifted on both sides, and takes half the work. sums[i] = sum over the chunk of left[i,n], unless null.
  void (*product)(
      JointRelationShape shape, int64_t begin, int64_t end,
      const scalar_t* left,   // [K, N]
      const scalar_t* right,  // [K, N]
      const acc_t* shift,     // [K] or null
      int64_t ahead,          // elements from here to where left and right are read next, asked for meanwhile; 0 for nowhere
      acc_t* scratch,         // [scratch_elements]
      acc_t* products,        // [K, K]
      acc_t* sums);           // [K] or null

  // sums[k] = sum over the chunk of x[k,n].
  void (*sum_rows)(
      JointRelationShape shape, int64_t begin, int64_t end, const scalar_t* x, acc_t* scratch, acc_t* sums);

  // out[k,n] = gain[k] * x[k,n] + offset[k] + sum_j first[k,j] * x[j,n] + sum_j second[k,j] * y[j,n] over the chunk.
  // That x is added by itself, not through the diagonal of first, keeps the digits of first.
  void (*mix)(
      JointRelationShape shape, int64_t begin, int64_t end,
      const acc_t* gain,      // [K] or null for 1
      const acc_t* first,     // [K, K]
      const scalar_t* x,      // [K, N]
      const acc_t* second,    // [K, K] or null
      const scalar_t* y,      // [K, N] or null
      const acc_t* offset,    // [K] or null
      int64_t ahead,          // the same of x and y
      Stores stores,
      acc_t* scratch,         // [scratch_elements]
      scalar_t* out);         // [K, N]

  // A - I = Wo P Wg and c = Wo P bg + bo from G.
  void (*fold)(
      int64_t joints, acc_t scale,
      const acc_t* gram,                              // [K, K]
      const acc_t* weight_g, const acc_t* bias_g,     // [K, K], [K]
      const acc_t* weight_o, const acc_t* bias_o,     // [K, K], [K]
      acc_t* scratch,                                 // [2, K, K]
      acc_t* mixing, acc_t* offset);                  // [K, K], [K]

  // A^T - I, Q and one sample's part of the gradients of parameters and scale, from G, C and r.
  void (*fold_backward)(
      int64_t joints, acc_t scale,
      const acc_t* gram, const acc_t* products, const acc_t* sums,                  // [K, K], [K, K], [K]
      const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o,            // [K, K], [K], [K, K]
      acc_t* scratch,                                                               // [4, K, K]
      acc_t* mixing_t, acc_t* through_relation,                                     // [K, K], [K, K]
      acc_t* grad_weight_g, acc_t* grad_bias_g, acc_t* grad_weight_o, acc_t* grad_bias_o, acc_t* grad_scale);
};

namespace baseline {
template <typename scalar_t>
JointRelationSimd<scalar_t> joint_relation_simd();
}
namespace avx2 {
template <typename scalar_t>
JointRelationSimd<scalar_t> joint_relation_simd();
}
namespace avx512 {
template <typename scalar_t>
JointRelationSimd<scalar_t> joint_relation_simd();
}

}  // namespace rpstn
