#pragma once

// With conv the operation of dynamic_conv2d.h and w the 1x1 convolution [K, C]:
//   M[b,k] = bias[k] + sum_c w[k,c] * conv(features[b,c], kernels[b,c])
// Backward, with D = dM, from the gradient of what conv gives, which is never kept:
//   d(conv)[b,c] = sum_k w[k,c] * D[b,k], and from it the two gradients of dynamic_conv2d.h
//   dw[k,c] = sum_b,yx D[b,k] * conv(features[b,c], kernels[b,c]), computed again    dbias[k] = sum_b,yx D[b,k]

#include <tuple>

#include <ATen/core/Tensor.h>

namespace rpstn {

// Of features, kernels, weight, bias.
using DynamicMatchBackward = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

}  // namespace rpstn
