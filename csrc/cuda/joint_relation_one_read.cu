// The kernels of one read: a file of their own, which nvcc compiles beside the others.

#include "cuda/joint_relation_one_read.cuh"

#include "cuda/launch.cuh"

namespace rpstn {

bool launch_one_read_forward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps x, RelationParameters parameters, void* gram, void* out,
    cudaStream_t stream) {
  const DeviceLimits limits = device_limits();
  if (!limits.has_clusters()) return false;
  return with_tile(dtype, shape.joints, [&](auto zero, auto tile) {
    using scalar_t = decltype(zero);
    constexpr int kJoints = decltype(tile)::value;
    OneReadDivision division;
    int64_t bytes;
    if (!divide_for_one_read<scalar_t, kJoints, false>(shape, limits, division, bytes)) return false;
    launch("joint_relation",
           {dim3(shape.samples * division.cluster), dim3(kOneReadThreads), stream, bytes, division.cluster},
           one_read_forward_kernel<scalar_t, kJoints>, shape, division, scale, x, parameters, as<float>(gram),
           as<scalar_t>(out));
    return true;
  });
}

bool launch_one_read_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps grad_out, Maps x, const void* gram,
    RelationParameters parameters, void* grad_x, void* gradients, cudaStream_t stream) {
  const DeviceLimits limits = device_limits();
  if (!limits.has_clusters()) return false;
  return with_tile(dtype, shape.joints, [&](auto zero, auto tile) {
    using scalar_t = decltype(zero);
    constexpr int kJoints = decltype(tile)::value;
    OneReadDivision division;
    int64_t bytes;
    if (!divide_for_one_read<scalar_t, kJoints, true>(shape, limits, division, bytes)) return false;
    launch("joint_relation's backward",
           {dim3(shape.samples * division.cluster), dim3(kOneReadThreads), stream, bytes, division.cluster},
           one_read_backward_kernel<scalar_t, kJoints>, shape, division, scale, grad_out, x,
           as<float>(gram), parameters, as<scalar_t>(grad_x), as<float>(gradients));
    return true;
  });
}

}  // namespace rpstn
