// Compiled once per instruction set, RPSTN_ISA naming its namespace; see joint_relation_norm.h for the equations.

#include "cpu/joint_relation_norm_simd.h"

#include <cstring>

#include "cpu/matrices.h"

namespace rpstn::RPSTN_ISA {
namespace {

// X X^T from the moments.
template <typename acc_t>
void gram_of(int64_t joints, int64_t columns, const acc_t* moments, acc_t* gram) {
  const int64_t row = moments_row(joints);
  for (int64_t i = 0; i < joints; ++i) {
    const acc_t* g = moments + i * row;
    const double sum = g[joints], mean = g[joints + 1];
    for (int64_t j = 0; j < joints; ++j) {
      const acc_t* other = moments + j * row + joints;
      const double product = g[j] + sum * other[1] + mean * (other[0] + static_cast<double>(columns) * other[1]);
      gram[i * joints + j] = static_cast<acc_t>(product);
    }
  }
}

// out = v + (A - I) v' for v' = column `which` of the moments behind G, that is A v.
template <typename acc_t>
double mixed(int64_t joints, const acc_t* mixing_row, const acc_t* moments, int64_t which, int64_t k) {
  const int64_t row = moments_row(joints);
  double total = moments[k * row + joints + which];
  for (int64_t j = 0; j < joints; ++j) total += double(mixing_row[j]) * moments[j * row + joints + which];
  return total;
}

// out = A G = G + (A - I) G.
template <typename acc_t>
void mix_gram(int64_t joints, const acc_t* mixing, const acc_t* moments, acc_t* __restrict__ out) {
  const auto factor = [=](int64_t i, int64_t k) { return mixing[i * joints + k]; };
  combine_rows<acc_t>(joints, factor, moments, moments, moments_row(joints), out);
}

template <typename acc_t>
void fold(
    int64_t joints, int64_t columns, acc_t scale, const acc_t* moments, const acc_t* weight_g, const acc_t* bias_g,
    const acc_t* weight_o, const acc_t* bias_o, acc_t* scratch, acc_t* weights, acc_t* mixing, acc_t* offset,
    NormSums sums) {
  acc_t* gram = scratch + 2 * joints * joints;
  gram_of(joints, columns, moments, gram);
  fold(joints, scale, gram, weight_g, bias_g, weight_o, bias_o, scratch, mixing, offset);
  if (weights != nullptr) std::memcpy(weights, scratch, joints * joints * sizeof(acc_t));
  acc_t* mixed_gram = scratch;
  mix_gram(joints, mixing, moments, mixed_gram);
  for (int64_t k = 0; k < joints; ++k) {
    const acc_t *row = mixing + k * joints, *gram_row = mixed_gram + k * joints;
    sums.mixed_sums[k] = mixed(joints, row, moments, 0, k);
    sums.centre[k] = mixed(joints, row, moments, 1, k) + offset[k];
    double spread = gram_row[k];
    for (int64_t j = 0; j < joints; ++j) spread += double(gram_row[j]) * row[j];
    sums.spread[k] = spread;
  }
}

template <typename acc_t>
void fold_backward(
    int64_t joints, int64_t columns, acc_t scale, const acc_t* moments, const acc_t* products, const double* sums,
    const acc_t* weights, const acc_t* mixing, const acc_t* constant, NormSums of_sample, const double* mean, const double* a,
    const double* b, const double* d, const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o,
    acc_t* scratch, acc_t* first, acc_t* second, acc_t* offset, acc_t* grad_weight_g, acc_t* grad_bias_g,
    acc_t* grad_weight_o, acc_t* grad_bias_o, acc_t* grad_scale) {
  const int64_t size = joints * joints, row = moments_row(joints);
  acc_t *gram = scratch + 4 * size, *through = scratch + 5 * size, *total_sums = scratch + 6 * size;
  gram_of(joints, columns, moments, gram);

  // C' in `second`, r' in `total_sums`.
  mix_gram(joints, mixing, moments, second);
  for (int64_t k = 0; k < joints; ++k) {
    const double e = of_sample.centre[k] - mean[k];
    const double total =
        a[k] * sums[k] + b[k] * (of_sample.mixed_sums[k] + double(columns) * e) + d[k] * double(columns);
    total_sums[k] = static_cast<acc_t>(total);
    for (int64_t j = 0; j < joints; ++j) {
      const acc_t* of_j = moments + j * row + joints;
      acc_t& entry = second[k * joints + j];
      entry = static_cast<acc_t>(
          a[k] * products[k * joints + j] + b[k] * entry + (b[k] * e + d[k]) * of_j[0] + total * of_j[1]);
    }
  }
  // `first` is A^T - I until its columns are multiplied by a, `through` is Q.
  std::memcpy(scratch, weights, size * sizeof(acc_t));
  fold_backward_of_weights(joints, scale, gram, second, total_sums, weight_g, bias_g, weight_o, scratch, first, through,
                           grad_weight_g, grad_bias_g, grad_weight_o, grad_bias_o, grad_scale);
  for (int64_t k = 0; k < joints; ++k) {
    double total = 0;
    for (int64_t j = 0; j < joints; ++j) {
      const double mixed_t = first[k * joints + j] + (j == k ? 1.0 : 0.0);
      total += mixed_t * (b[j] * (constant[j] - mean[j]) + d[j]);
    }
    offset[k] = static_cast<acc_t>(total);
  }
  // A^T diag(b) A + Q = A^T diag(b) + A^T diag(b) (A - I) + Q, with A^T diag(b) in the place of X X^T.
  acc_t* scaled = gram;
  for (int64_t k = 0; k < joints; ++k) {
    for (int64_t i = 0; i < joints; ++i) {
      const acc_t factor = static_cast<acc_t>((first[k * joints + i] + (i == k ? 1.0 : 0.0)) * b[i]);
      scaled[k * joints + i] = factor;
      through[k * joints + i] += factor;
    }
  }
  const auto factor = [=](int64_t k, int64_t i) { return scaled[k * joints + i]; };
  combine_rows<acc_t>(joints, factor, mixing, through, joints, second);
  for (int64_t k = 0; k < joints; ++k) {
    for (int64_t j = 0; j < joints; ++j) first[k * joints + j] *= static_cast<acc_t>(a[j]);
  }
}

}  // namespace

template <typename acc_t>
JointRelationNormSimd<acc_t> joint_relation_norm_simd() {
  return {&fold<acc_t>, &fold_backward<acc_t>};
}

template JointRelationNormSimd<double> joint_relation_norm_simd<double>();
template JointRelationNormSimd<float> joint_relation_norm_simd<float>();

}  // namespace rpstn::RPSTN_ISA
