// The kernels of one read: a file of their own, which nvcc compiles beside the others.

#include "cuda/joint_relation_one_read.cuh"

#include "cuda/launch.cuh"

namespace rpstn {

namespace {

// Calls f(scalar_t(), tile, division, bytes) and returns true, where one read of the maps is possible on this device.
template <bool kBackward, typename Function>
bool with_one_read(Dtype dtype, RelationShape shape, Function&& f) {
  const DeviceLimits limits = device_limits();
  if (!limits.has_clusters()) return false;
  return with_tile(dtype, shape.joints, [&](auto zero, auto tile) {
    OneReadDivision division;
    int64_t bytes;
    constexpr int kJoints = decltype(tile)::value;
    if (!divide_for_one_read<decltype(zero), kJoints, kBackward>(shape, limits, division, bytes)) return false;
    f(zero, tile, division, bytes);
    return true;
  });
}

}  // namespace

bool launch_one_read_forward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps x, RelationParameters parameters, void* gram, void* out,
    cudaStream_t stream) {
  return with_one_read<false>(dtype, shape, [&](auto zero, auto tile, OneReadDivision division, int64_t bytes) {
    using scalar_t = decltype(zero);
    launch("joint_relation",
           {dim3(shape.samples * division.cluster), dim3(kOneReadThreads), stream, bytes, division.cluster},
           one_read_forward_kernel<scalar_t, decltype(tile)::value>, shape, division, scale, x, parameters,
           as<float>(gram), as<scalar_t>(out));
  });
}

bool launch_one_read_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps grad_out, Maps x, const void* gram,
    RelationParameters parameters, void* grad_x, void* gradients, cudaStream_t stream) {
  return with_one_read<true>(dtype, shape, [&](auto zero, auto tile, OneReadDivision division, int64_t bytes) {
    using scalar_t = decltype(zero);
    launch("joint_relation's backward",
           {dim3(shape.samples * division.cluster), dim3(kOneReadThreads), stream, bytes, division.cluster},
           one_read_backward_kernel<scalar_t, decltype(tile)::value>, shape, division, scale, grad_out, x,
           as<float>(gram), parameters, as<scalar_t>(grad_x), as<float>(gradients));
  });
}

}  // namespace rpstn
