// CUDA: checks, memory and types; the arithmetic is in dynamic_conv2d.cu. Inputs are read with the strides they have,
// channels_last included; outputs and gradients are contiguous, whatever the inputs are.

#include "cuda/dynamic_conv2d.cuh"

#include <tuple>

#include <ATen/ops/empty.h>

#include "checks.h"
#include "cuda/stream.h"
#include "cuda/views.h"
#include "dtypes.h"
#include "serve.h"

namespace rpstn {
namespace {

using at::Tensor;
using Gradients = std::tuple<Tensor, Tensor>;

Tensor dynamic_conv2d_cuda(
    const Tensor& features, const Tensor& kernels, int64_t top, int64_t left, int64_t bottom, int64_t right) {
  check_dynamic_conv2d(features, kernels, top, left, bottom, right);
  const DeviceScope scope(features);
  const auto dtype = common_dtype(features, kernels);
  const auto shape = cuda_plane_shape("dynamic_conv2d", features, kernels, top, left, bottom, right);
  auto out = at::empty({features.size(0), features.size(1), shape.out_height, shape.out_width},
                       features.options().dtype(dtype));
  const auto f = as_dtype(features, dtype), k = as_dtype(kernels, dtype);
  launch_dynamic_conv2d(
      shape, /*flipped=*/false, plane_view(f), plane_view(k), plane_target(out), scope.stream);
  return out;
}

Gradients dynamic_conv2d_backward_cuda(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, int64_t top, int64_t left,
    int64_t bottom, int64_t right, bool need_features, bool need_kernels) {
  check_dynamic_conv2d_backward(grad_out, features, kernels, top, left, bottom, right);
  const DeviceScope scope(features);
  const auto dtype = common_dtype(features, kernels);
  const auto shape = cuda_plane_shape("dynamic_conv2d_backward", features, kernels, top, left, bottom, right);
  auto grad_features = empty_gradient(features, dtype, need_features);
  auto grad_kernels = empty_gradient(kernels, dtype, need_kernels);
  const auto d = as_dtype(grad_out, dtype), f = as_dtype(features, dtype), k = as_dtype(kernels, dtype);
  launch_dynamic_conv2d_backward(
      shape, plane_view(d), plane_view(f), plane_view(k), plane_target(grad_features, need_features),
      plane_target(grad_kernels, need_kernels), scope.stream);
  return {as_dtype(grad_features, features.scalar_type()), as_dtype(grad_kernels, kernels.scalar_type())};
}

}  // namespace

void serve_dynamic_conv2d(torch::Library& m) {
  m.impl("dynamic_conv2d", &dynamic_conv2d_cuda);
  m.impl("dynamic_conv2d_backward", &dynamic_conv2d_backward_cuda);
}

}  // namespace rpstn
