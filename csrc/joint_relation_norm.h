#pragma once

// Y = gamma * (Z - mu) / sqrt(var + eps) + beta with Z = A X + c 1^T of joint_relation.h, per joint over all samples and
// columns. In training the statistics exist before Z does. With m near a sample's row means, Xc = X - m 1^T, G = Xc Xc^T,
// xs = Xc 1 and e = A m + c - mu, so that Z - mu = A Xc + e 1^T:
//   X X^T = G + xs m^T + m xs^T + N m m^T
//   mu  = sum_b (A xs + N (A m + c)) / (B N)
//   var = sum_b (diag(A G A^T) + 2 (A xs) * e + N e * e) / (B N)
// Nothing here subtracts large numbers of like size, whatever X's offset. In evaluation mu and var are given and m = 0.
//
// Backward, with D = dY, Cc = D Xc^T, r = D 1, s = 1 / sqrt(var + eps), R = sum_b r, t = sum_b (diag(Cc A^T) + r * e):
//   dgamma = s t    dbeta = R
//   a = gamma s, and in training b = -gamma s^3 t / (B N), d = -gamma s R / (B N), else b = d = 0
//   dZ = a D + b (Z - mu) + d, never formed:
//   r' = dZ 1 = a r + b (A xs + N e) + d N        C' = dZ X^T = a Cc + b (A G + e xs^T) + d xs^T + r' m^T
// and with them the gradients of parameters and scale and Q of joint_relation.h;
//   dX = (A^T diag(a)) D + (A^T diag(b) A + Q) X + A^T (b (c - mu) + d) 1^T

//
// Where several processes share a batch, each has sums over its own samples. Of mu and var it tells the others its own
// and how many values they are of (2 K + 1 numbers), of the gradients its sums of t and r (2 K): joint_relation_norm_sums
// and joint_relation_norm_gradient_sums. The result is then normalised as in evaluation, by the statistics of all.

#include <tuple>

#include <ATen/core/Tensor.h>

namespace rpstn {

// Y; per sample the columns G, xs, m [B, K, K + 2]; mu, var [K].
using JointRelationNormForward = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
// Y, mu, var: without what only the derivative needs.
using JointRelationNorm = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
inline JointRelationNorm without_moments(const JointRelationNormForward& all) {
  return {std::get<0>(all), std::get<2>(all), std::get<3>(all)};
}
// Per sample G, xs, m; mu and var [2, K] of these samples.
using JointRelationNormSums = std::tuple<at::Tensor, at::Tensor>;
// Gradients of heat maps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, scale_tensor.
using JointRelationNormBackward =
    std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

}  // namespace rpstn
