#pragma once

// Parameters on their way into a block's shared memory; for kernels alone, where parameters.cuh is for their callers too.

#include "cuda/parameters.cuh"

namespace rpstn {

// target[i] = the parameter's number i, i < count, by the block.
template <typename scalar_t, typename acc_t>
__device__ inline void stage_typed(int count, const void* source, acc_t* target) {
  const auto* numbers = static_cast<const scalar_t*>(source);
  for (int i = threadIdx.x; i < count; i += blockDim.x) target[i] = static_cast<acc_t>(to_acc(numbers[i]));
}
template <typename acc_t>
__device__ inline void stage(int count, Parameter source, acc_t* target) {
  switch (source.dtype) {
    case Dtype::kFloat64: return stage_typed<double>(count, source.data, target);
    case Dtype::kFloat32: return stage_typed<float>(count, source.data, target);
    case Dtype::kFloat16: return stage_typed<__half>(count, source.data, target);
    default: return stage_typed<__nv_bfloat16>(count, source.data, target);
  }
}

}  // namespace rpstn
