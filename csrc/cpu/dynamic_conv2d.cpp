// CPU: divides the planes among threads; the arithmetic is in dynamic_conv2d_simd.cpp. Every result belongs to one
// plane and one thread, so results do not depend on threads, batch or run. Half types are computed on float copies.

#include "dynamic_conv2d.h"

#include <algorithm>
#include <tuple>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "checks.h"
#include "cpu/dynamic_conv2d_simd.h"
#include "cpu/instruction_set.h"
#include "dtypes.h"

namespace rpstn {
namespace {

using at::Tensor;
using Gradients = std::tuple<Tensor, Tensor>;

// Padding at the bottom and right is what the size of the output says.
DynamicConv2dShape plane_shape(
    const Tensor& features, const Tensor& kernels, int64_t top, int64_t left, int64_t bottom, int64_t right) {
  return {features.size(0) * features.size(1),
          features.size(2),
          features.size(3),
          kernels.size(2),
          kernels.size(3),
          top,
          left,
          features.size(2) + top + bottom - kernels.size(2) + 1,
          features.size(3) + left + right - kernels.size(3) + 1};
}

// Planes that are worth a thread: about 20 microseconds of work.
int64_t grain(const DynamicConv2dShape& shape) {
  const int64_t work = shape.out_height * shape.out_width * shape.kernel_h * shape.kernel_w;
  return std::max<int64_t>(1, 300'000 / std::max<int64_t>(1, work));
}

Tensor dense(const Tensor& tensor, at::ScalarType dtype) { return as_dtype(tensor, dtype).contiguous(); }

Tensor dynamic_conv2d_cpu(
    const Tensor& features, const Tensor& kernels, int64_t top, int64_t left, int64_t bottom, int64_t right) {
  check_dynamic_conv2d(features, kernels, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels);
  const auto acc = accumulate_dtype(dtype);
  const auto shape = plane_shape(features, kernels, top, left, bottom, right);
  auto out = at::empty({features.size(0), features.size(1), shape.out_height, shape.out_width},
                       features.options().dtype(acc));
  const auto f = dense(features, acc), k = dense(kernels, acc);
  AT_DISPATCH_FLOATING_TYPES(acc, "dynamic_conv2d", [&] {
    const auto planes = RPSTN_SELECT(dynamic_conv2d_planes<scalar_t>);
    const auto *f_data = f.const_data_ptr<scalar_t>(), *k_data = k.const_data_ptr<scalar_t>();
    auto* out_data = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, shape.planes, grain(shape), [&](int64_t begin, int64_t end) {
      planes(shape, f_data, k_data, out_data, begin, end);
    });
  });
  return as_dtype(out, dtype);
}

Gradients dynamic_conv2d_backward_cpu(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, int64_t top, int64_t left,
    int64_t bottom, int64_t right, bool need_features, bool need_kernels) {
  check_dynamic_conv2d(features, kernels, top, left, bottom, right);
  const auto acc = accumulate_dtype(common_dtype(features, kernels));
  const auto shape = plane_shape(features, kernels, top, left, bottom, right);
  const c10::SymInt out_sizes[] = {features.size(0), features.size(1), shape.out_height, shape.out_width};
  check_shape("dynamic_conv2d_backward", {"grad_out", grad_out}, out_sizes);
  const auto empty = [acc](const Tensor& like, bool needed) {
    return at::empty(needed ? like.sizes() : at::IntArrayRef{0}, like.options().dtype(acc));
  };
  auto grad_features = empty(features, need_features), grad_kernels = empty(kernels, need_kernels);
  const auto d = dense(grad_out, acc), f = dense(features, acc), k = dense(kernels, acc);
  AT_DISPATCH_FLOATING_TYPES(acc, "dynamic_conv2d_backward", [&] {
    const auto planes = RPSTN_SELECT(dynamic_conv2d_backward_planes<scalar_t>);
    const auto *d_data = d.const_data_ptr<scalar_t>(), *f_data = f.const_data_ptr<scalar_t>(),
               *k_data = k.const_data_ptr<scalar_t>();
    auto* grad_f = need_features ? grad_features.mutable_data_ptr<scalar_t>() : nullptr;
    auto* grad_k = need_kernels ? grad_kernels.mutable_data_ptr<scalar_t>() : nullptr;
    at::parallel_for(0, shape.planes, grain(shape), [&](int64_t begin, int64_t end) {
      planes(shape, d_data, f_data, k_data, grad_f, grad_k, begin, end);
    });
  });
  return {as_dtype(grad_features, features.scalar_type()), as_dtype(grad_kernels, kernels.scalar_type())};
}

TORCH_LIBRARY_IMPL(rpstn_ext, CPU, m) {
  m.impl("dynamic_conv2d", &dynamic_conv2d_cpu);
  m.impl("dynamic_conv2d_backward", &dynamic_conv2d_backward_cpu);
}

}  // namespace
}  // namespace rpstn
