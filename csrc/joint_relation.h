#pragma once

// With X a sample's heat maps as K x N:
//   G = X X^T    P = softmax of each row of scale * G    A = Wo P Wg + I    c = Wo P bg + bo    Z = A X + c 1^T
// Backward, with D = dZ, C = D X^T, r = D 1 and E = C Wg^T + r bg^T:
//   dWo = sum_b E P^T    dbo = sum_b r    dWg = sum_b P^T Wo^T C    dbg = sum_b P^T Wo^T r
//   dP = Wo^T E    dS = P * (dP - rowsum(dP * P))    Q = scale * (dS + dS^T)    dX = A^T D + Q X
//   dscale = sum_b sum_ij dS_ij G_ij

#include <tuple>

#include <ATen/core/Tensor.h>

namespace rpstn {

// Z; G [B, K, K].
using JointRelationForward = std::tuple<at::Tensor, at::Tensor>;
// Gradients of heat maps, weight_g, bias_g, weight_o, bias_o, scale_tensor.
using JointRelationBackward =
    std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

}  // namespace rpstn
