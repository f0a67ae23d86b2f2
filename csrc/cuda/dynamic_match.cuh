#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "cuda/parameters.cuh"
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

// Whether weight and bias may have any type; else they must have that of the sums: float, or double for double.
bool dynamic_match_takes_any_weight(const MatchShape& shape, Dtype dtype);
bool dynamic_match_backward_takes_any_weight(const MatchShape& shape, Dtype dtype);

// weight [K, C] and bias [K], contiguous.
void launch_dynamic_match(
    const MatchShape& shape, const PlaneView& features, const PlaneView& kernels, Parameter weight, Parameter bias,
    const PlaneTarget& output, void* workspace, cudaStream_t stream);

// Targets without data are gradients that are not needed.
void launch_dynamic_match_backward(
    const MatchShape& shape, const PlaneView& grad_out, const PlaneView& features, const PlaneView& kernels,
    Parameter weight, const PlaneTarget& grad_features, const PlaneTarget& grad_kernels, Target grad_weight,
    Target grad_bias, void* workspace, cudaStream_t stream);

}  // namespace rpstn
