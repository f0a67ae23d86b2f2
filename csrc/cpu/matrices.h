#pragma once

// Algebra of K x K matrices, row-major and dense. Everything has internal linkage, see rows.h.

#include <math.h>

#include <cstdint>

#include "cpu/tiles.h"
#include "cpu/vectors.h"

namespace rpstn::RPSTN_ISA {
namespace {

inline float exponential(float x) { return expf(x); }
inline double exponential(double x) { return exp(x); }

// Columns [j, j + lanes) of combine_rows, which load(row of b or start) reads and store(row of out, vector) writes. Four rows
// at a time share what is read of b and do not wait for each other's sums.
template <typename acc_t, typename Factor, typename Load, typename Store>
inline void combine_columns(
    int64_t joints, Factor factor, const acc_t* b, const acc_t* start, int64_t stride, acc_t* out, Load load, Store store) {
  for_tiles<4>(joints, [&](int64_t first, int rows) {
    with_constant<4>(rows, [&]<int kRows>() {
      Vector<acc_t> total[kRows] = {};
#pragma GCC unroll 4
      for (int row = 0; row < kRows; ++row) {
        if (start != nullptr) total[row] = load(start + (first + row) * stride);
      }
      for (int64_t k = 0; k < joints; ++k) {
        const Vector<acc_t> of_b = load(b + k * stride);
#pragma GCC unroll 4
        for (int row = 0; row < kRows; ++row) total[row] += factor(first + row, k) * of_b;
      }
#pragma GCC unroll 4
      for (int row = 0; row < kRows; ++row) store(out + (first + row) * joints, total[row]);
    });
  });
}

// out[i,:] = start[i,:] + sum_k factor(i, k) * b[k,:], rows of b and start `stride` apart; no start where it is null.
// Rows of K are no whole vectors: lanes are masked, or, where they cannot be, the last vector overlaps the one before (AVX2,
// 13 joints: forward 3.4 -> 1.7, backward 8.0 -> 3.7 microseconds a sample).
template <typename acc_t, typename Factor>
void combine_rows(
    int64_t joints, Factor factor, const acc_t* b, const acc_t* start, int64_t stride, acc_t* __restrict__ out) {
  constexpr int64_t kLane = kLanes<acc_t>;
#if defined(__AVX512F__)
  for (int64_t j = 0; j < joints; j += kLane) {
    const int64_t count = joints - j < kLane ? joints - j : kLane;
    combine_columns<acc_t>(
        joints, factor, b, start, stride, out, [=](const acc_t* row) { return load_part(row + j, count); },
        [=](acc_t* row, Vector<acc_t> vector) { store_part(row + j, vector, count); });
  }
#else
  if (joints >= kLane) {
    for (int64_t begin = 0; begin < joints; begin += kLane) {
      const int64_t j = smaller(begin, joints - kLane);
      combine_columns<acc_t>(
          joints, factor, b, start, stride, out, [=](const acc_t* row) { return load(row + j); },
          [=](acc_t* row, Vector<acc_t> vector) { store(row + j, vector); });
    }
    return;
  }
  for (int64_t i = 0; i < joints; ++i) {
    acc_t* __restrict__ row = out + i * joints;
    for (int64_t j = 0; j < joints; ++j) row[j] = start != nullptr ? start[i * stride + j] : acc_t(0);
    for (int64_t k = 0; k < joints; ++k) {
      const acc_t of_row = factor(i, k);
      for (int64_t j = 0; j < joints; ++j) row[j] += of_row * b[k * stride + j];
    }
  }
#endif
}

// out = a b, or a^T b.
template <bool kTransposed = false, typename acc_t>
void multiply(int64_t joints, const acc_t* a, const acc_t* b, acc_t* __restrict__ out) {
  const auto factor = [=](int64_t i, int64_t k) { return kTransposed ? a[k * joints + i] : a[i * joints + k]; };
  combine_rows<acc_t>(joints, factor, b, nullptr, joints, out);
}

template <typename acc_t>
void transpose(int64_t joints, const acc_t* a, acc_t* __restrict__ out) {
  for (int64_t i = 0; i < joints; ++i) {
    for (int64_t j = 0; j < joints; ++j) out[j * joints + i] = a[i * joints + j];
  }
}

// out = a v + shift, or a v.
template <typename acc_t>
void apply(int64_t joints, const acc_t* a, const acc_t* v, const acc_t* shift, acc_t* __restrict__ out) {
  for (int64_t i = 0; i < joints; ++i) {
    double total = shift != nullptr ? shift[i] : acc_t(0);
    for (int64_t j = 0; j < joints; ++j) total += double(a[i * joints + j]) * v[j];
    out[i] = static_cast<acc_t>(total);
  }
}

// The entry of a row of G whose weight is largest.
template <typename acc_t>
acc_t winner(int64_t joints, acc_t scale, const acc_t* row) {
  acc_t best = row[0];
  for (int64_t j = 1; j < joints; ++j) best = (scale < 0 ? row[j] < best : row[j] > best) ? row[j] : best;
  return best;
}

// Weights P: softmax of each row of scale * G.
template <typename acc_t>
void softmax_rows(int64_t joints, acc_t scale, const acc_t* gram, acc_t* __restrict__ weights) {
  for (int64_t i = 0; i < joints; ++i) {
    const acc_t* row = gram + i * joints;
    acc_t* __restrict__ out = weights + i * joints;
    const acc_t best = winner(joints, scale, row);
    double total = 0;
    for (int64_t j = 0; j < joints; ++j) total += out[j] = exponential(scale * (row[j] - best));
    for (int64_t j = 0; j < joints; ++j) out[j] = static_cast<acc_t>(out[j] / total);
  }
}

// --- joint_relation.h's folding of a sample into K x K ---

template <typename acc_t>
void fold(
    int64_t joints, acc_t scale, const acc_t* gram, const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o,
    const acc_t* bias_o, acc_t* scratch, acc_t* mixing, acc_t* offset) {
  acc_t* weights = scratch;
  acc_t* product = scratch + joints * joints;
  softmax_rows(joints, scale, gram, weights);
  multiply(joints, weight_o, weights, product);
  multiply(joints, product, weight_g, mixing);
  apply(joints, product, bias_g, bias_o, offset);
}

// scratch holds the weights P, as softmax_rows gives them, and room for three matrices more.
template <typename acc_t>
void fold_backward_of_weights(
    int64_t joints, acc_t scale, const acc_t* gram, const acc_t* products, const acc_t* sums,
    const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o, acc_t* scratch, acc_t* mixing_t,
    acc_t* through_relation, acc_t* grad_weight_g, acc_t* grad_bias_g, acc_t* grad_weight_o, acc_t* grad_bias_o,
    acc_t* grad_scale) {
  const int64_t size = joints * joints;
  acc_t *weights = scratch, *turned = scratch + size, *e = scratch + 2 * size, *dp = scratch + 3 * size;

  // turned = P^T Wo^T; A^T - I = Wg^T turned
  transpose(joints, weight_o, e);
  multiply<true>(joints, weights, e, turned);
  multiply<true>(joints, weight_g, turned, mixing_t);
  multiply(joints, turned, products, grad_weight_g);
  apply<acc_t>(joints, turned, sums, nullptr, grad_bias_g);

  // E = C Wg^T + r bg^T; dWo = E P^T
  transpose(joints, weight_g, dp);
  multiply(joints, products, dp, e);
  for (int64_t i = 0; i < joints; ++i) {
    for (int64_t j = 0; j < joints; ++j) e[i * joints + j] += sums[i] * bias_g[j];
    grad_bias_o[i] = sums[i];
  }
  transpose(joints, weights, dp);
  multiply(joints, e, dp, grad_weight_o);

  // dS = P * (dP - rowsum(dP * P)) in the place of P; Q = scale * (dS + dS^T). dscale = sum(dS * G): rows of dS sum to
  // zero, so that any number may be subtracted from a row of G; with the winner's, roundings of dS meet small numbers.
  multiply<true>(joints, weight_o, e, dp);
  double of_scale = 0;
  for (int64_t i = 0; i < joints; ++i) {
    acc_t* row = weights + i * joints;
    const acc_t* grad = dp + i * joints;
    acc_t total = 0;
    for (int64_t j = 0; j < joints; ++j) total += grad[j] * row[j];
    for (int64_t j = 0; j < joints; ++j) row[j] *= grad[j] - total;
    const acc_t* of_gram = gram + i * joints;
    const double best = winner(joints, scale, of_gram);
    for (int64_t j = 0; j < joints; ++j) of_scale += double(row[j]) * (of_gram[j] - best);
  }
  *grad_scale = static_cast<acc_t>(of_scale);
  for (int64_t i = 0; i < joints; ++i) {
    for (int64_t j = 0; j < joints; ++j) {
      through_relation[i * joints + j] = scale * (weights[i * joints + j] + weights[j * joints + i]);
    }
  }
}

template <typename acc_t>
void fold_backward(
    int64_t joints, acc_t scale, const acc_t* gram, const acc_t* products, const acc_t* sums,
    const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o, acc_t* scratch, acc_t* mixing_t,
    acc_t* through_relation, acc_t* grad_weight_g, acc_t* grad_bias_g, acc_t* grad_weight_o, acc_t* grad_bias_o,
    acc_t* grad_scale) {
  softmax_rows(joints, scale, gram, scratch);
  fold_backward_of_weights(joints, scale, gram, products, sums, weight_g, bias_g, weight_o, scratch, mixing_t,
                           through_relation, grad_weight_g, grad_bias_g, grad_weight_o, grad_bias_o, grad_scale);
}

}  // namespace
}  // namespace rpstn::RPSTN_ISA
