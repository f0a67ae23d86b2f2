#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "cuda/plane_view.cuh"
#include "dynamic_conv2d.h"

namespace rpstn {

struct MatchShape {
  int64_t samples, channels, joints;
  DynamicConv2dShape plane;  // of samples * channels planes
};

// Elements of the sums' type that the launches below need to work in.
int64_t dynamic_match_workspace(const MatchShape& shape, Dtype dtype);
int64_t dynamic_match_backward_workspace(const MatchShape& shape, Dtype dtype, bool need_weight, bool need_bias);

// weight [K, C] and bias [K], contiguous, have the type of the sums: float, or double for double.
void launch_dynamic_match(
    const MatchShape& shape, const PlaneView& features, const PlaneView& kernels, const void* weight, const void* bias,
    const PlaneTarget& output, void* workspace, cudaStream_t stream);

// Targets without data and null pointers are gradients that are not needed; grad_weight and grad_bias have the type of
// the sums.
void launch_dynamic_match_backward(
    const MatchShape& shape, const PlaneView& grad_out, const PlaneView& features, const PlaneView& kernels,
    const void* weight, const PlaneTarget& grad_features, const PlaneTarget& grad_kernels, void* grad_weight,
    void* grad_bias, void* workspace, cudaStream_t stream);

}  // namespace rpstn
