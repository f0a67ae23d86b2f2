// CUDA: checks, memory and types; the arithmetic is in dynamic_match.cu. Inputs are read with the strides they have,
// channels_last included; outputs and gradients are contiguous, whatever the inputs are.

#include "dynamic_match.h"

#include "cuda/dynamic_match.cuh"

#include <ATen/ops/empty.h>

#include "checks.h"
#include "cuda/stream.h"
#include "cuda/views.h"
#include "dtypes.h"
#include "serve.h"

namespace rpstn {
namespace {

using at::Tensor;

// In its own type where the kernels take any.
Tensor contiguous(const Tensor& tensor, bool any, at::ScalarType acc) {
  return (any ? tensor : as_dtype(tensor, acc)).contiguous();
}
Parameter parameter(const Tensor& tensor) { return {tensor.const_data_ptr(), dtype_of(tensor.scalar_type())}; }

Tensor dynamic_match_cuda(
    const Tensor& features, const Tensor& kernels, const Tensor& weight, const Tensor& bias, int64_t top, int64_t left,
    int64_t bottom, int64_t right) {
  check_dynamic_match(features, kernels, weight, bias, top, left, bottom, right);
  const DeviceScope scope(features);
  const auto dtype = common_dtype(features, kernels, weight, bias);
  const auto acc = accumulate_dtype(dtype);
  const MatchShape shape = {features.size(0), features.size(1), weight.size(0),
                            cuda_plane_shape("dynamic_match", features, kernels, top, left, bottom, right)};
  auto out = at::empty({shape.samples, shape.joints, shape.plane.out_height, shape.plane.out_width},
                       features.options().dtype(dtype));
  const auto f = as_dtype(features, dtype), k = as_dtype(kernels, dtype);
  const bool any = dynamic_match_takes_any_weight(shape, dtype_of(dtype));
  const auto w = contiguous(weight, any, acc), b = contiguous(bias, any, acc);
  const auto workspace = at::empty({dynamic_match_workspace(shape, dtype_of(dtype))}, features.options().dtype(acc));
  launch_dynamic_match(
      shape, plane_view(f), plane_view(k), parameter(w), parameter(b), plane_target(out), workspace.mutable_data_ptr(),
      scope.stream);
  return out;
}

DynamicMatchBackward dynamic_match_backward_cuda(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, const Tensor& weight, int64_t top,
    int64_t left, int64_t bottom, int64_t right, bool need_features, bool need_kernels, bool need_weight,
    bool need_bias) {
  check_dynamic_match_backward(grad_out, features, kernels, weight, top, left, bottom, right);
  const DeviceScope scope(features);
  const auto dtype = common_dtype(features, kernels, weight);
  const auto acc = accumulate_dtype(dtype);
  const MatchShape shape = {features.size(0), features.size(1), weight.size(0),
                            cuda_plane_shape("dynamic_match_backward", features, kernels, top, left, bottom, right)};
  const auto empty = [](at::IntArrayRef sizes, bool needed, at::TensorOptions options) {
    return at::empty(needed ? sizes : at::IntArrayRef{0}, options);
  };
  const auto target = [](const Tensor& tensor, bool needed) {
    return Target{needed ? tensor.mutable_data_ptr() : nullptr, dtype_of(tensor.scalar_type())};
  };
  auto grad_features = empty(features.sizes(), need_features, features.options().dtype(dtype));
  auto grad_kernels = empty(kernels.sizes(), need_kernels, kernels.options().dtype(dtype));
  auto grad_weight = empty(weight.sizes(), need_weight, weight.options());
  auto grad_bias = empty({shape.joints}, need_bias, weight.options());
  const auto d = as_dtype(grad_out, dtype), f = as_dtype(features, dtype), k = as_dtype(kernels, dtype);
  const auto w = contiguous(weight, dynamic_match_backward_takes_any_weight(shape, dtype_of(dtype)), acc);
  const auto workspace = at::empty(
      {dynamic_match_backward_workspace(shape, dtype_of(dtype), need_weight, need_bias)}, features.options().dtype(acc));
  launch_dynamic_match_backward(
      shape, plane_view(d), plane_view(f), plane_view(k), parameter(w), plane_target(grad_features, need_features),
      plane_target(grad_kernels, need_kernels), target(grad_weight, need_weight), target(grad_bias, need_bias),
      workspace.mutable_data_ptr(), scope.stream);
  return {as_dtype(grad_features, features.scalar_type()), as_dtype(grad_kernels, kernels.scalar_type()), grad_weight,
          grad_bias};
}

}  // namespace

void serve_dynamic_match(torch::Library& m) {
  m.impl("dynamic_match", &dynamic_match_cuda);
  m.impl("dynamic_match_backward", &dynamic_match_backward_cuda);
}

}  // namespace rpstn
