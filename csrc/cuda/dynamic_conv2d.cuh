#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "cuda/plane_view.cuh"
#include "dynamic_conv2d.h"

namespace rpstn {

// output [planes, out_height, out_width], contiguous, in the type of `dtype`; pads may be negative. With `flipped` the
// kernels are turned by 180 degrees.
void launch_dynamic_conv2d(
    const DynamicConv2dShape& shape, bool flipped, const PlaneView& features, const PlaneView& kernels, void* output,
    Dtype dtype, cudaStream_t stream);

// Gradients, contiguous, of the shapes of features and kernels; a null pointer is one that is not needed.
void launch_dynamic_conv2d_backward(
    const DynamicConv2dShape& shape, const PlaneView& grad_out, const PlaneView& features, const PlaneView& kernels,
    void* grad_features, void* grad_kernels, Dtype dtype, cudaStream_t stream);

}  // namespace rpstn
