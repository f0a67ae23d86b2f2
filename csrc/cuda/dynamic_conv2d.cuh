#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "cuda/plane_view.cuh"
#include "dynamic_conv2d.h"

namespace rpstn {

// output [.., out_height, out_width]; pads may be negative. With `flipped` the kernels are turned by 180 degrees.
void launch_dynamic_conv2d(
    const DynamicConv2dShape& shape, bool flipped, const PlaneView& features, const PlaneView& kernels,
    const PlaneTarget& output, cudaStream_t stream);

// Gradients of the shapes of features and kernels; a target without data is one that is not needed. Both have one
// dtype.
void launch_dynamic_conv2d_backward(
    const DynamicConv2dShape& shape, const PlaneView& grad_out, const PlaneView& features, const PlaneView& kernels,
    const PlaneTarget& grad_features, const PlaneTarget& grad_kernels, cudaStream_t stream);

}  // namespace rpstn
