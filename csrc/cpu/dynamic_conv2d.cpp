// CPU: divides the planes among threads; the arithmetic is in dynamic_conv2d_simd.cpp. Every result belongs to one
// plane and one thread, so results do not depend on threads, batch or run.

#include "dynamic_conv2d.h"

#include <tuple>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "checks.h"
#include "cpu/dynamic_conv2d_simd.h"
#include "cpu/instruction_set.h"
#include "cpu/plane_shape.h"
#include "cpu/raw.h"

namespace rpstn {
namespace {

using at::Tensor;
using Gradients = std::tuple<Tensor, Tensor>;

int64_t grain(const DynamicConv2dShape& shape) {
  return worth_a_thread(shape.out_height * shape.out_width * shape.kernel_h * shape.kernel_w);
}

Tensor dynamic_conv2d_cpu(
    const Tensor& features, const Tensor& kernels, int64_t top, int64_t left, int64_t bottom, int64_t right) {
  check_dynamic_conv2d(features, kernels, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels);
  const auto shape = plane_shape(features, kernels, top, left, bottom, right);
  auto out = at::empty({features.size(0), features.size(1), shape.out_height, shape.out_width},
                       features.options().dtype(dtype));
  const auto f = dense(features, dtype), k = dense(kernels, dtype);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "dynamic_conv2d", [&] {
    const auto planes = RPSTN_SELECT(dynamic_conv2d_planes<Raw<scalar_t>::type>);
    const auto *f_data = input<scalar_t>(f), *k_data = input<scalar_t>(k);
    auto* out_data = output<scalar_t>(out);
    at::parallel_for(0, shape.planes, grain(shape), [&](int64_t begin, int64_t end) {
      planes(shape, f_data, k_data, out_data, begin, end);
    });
  });
  return out;
}

Gradients dynamic_conv2d_backward_cpu(
    const Tensor& grad_out, const Tensor& features, const Tensor& kernels, int64_t top, int64_t left,
    int64_t bottom, int64_t right, bool need_features, bool need_kernels) {
  check_dynamic_conv2d(features, kernels, top, left, bottom, right);
  const auto dtype = common_dtype(features, kernels);
  const auto shape = plane_shape(features, kernels, top, left, bottom, right);
  const c10::SymInt out_sizes[] = {features.size(0), features.size(1), shape.out_height, shape.out_width};
  check_shape("dynamic_conv2d_backward", {"grad_out", grad_out}, out_sizes);
  const auto empty = [dtype](const Tensor& like, bool needed) {
    return at::empty(needed ? like.sizes() : at::IntArrayRef{0}, like.options().dtype(dtype));
  };
  auto grad_features = empty(features, need_features), grad_kernels = empty(kernels, need_kernels);
  const auto d = dense(grad_out, dtype), f = dense(features, dtype), k = dense(kernels, dtype);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "dynamic_conv2d_backward", [&] {
    const auto planes = RPSTN_SELECT(dynamic_conv2d_backward_planes<Raw<scalar_t>::type>);
    const auto *d_data = input<scalar_t>(d), *f_data = input<scalar_t>(f), *k_data = input<scalar_t>(k);
    auto* grad_f = need_features ? output<scalar_t>(grad_features) : nullptr;
    auto* grad_k = need_kernels ? output<scalar_t>(grad_kernels) : nullptr;
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
