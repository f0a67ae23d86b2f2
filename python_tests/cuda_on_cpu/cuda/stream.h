#pragma once

// csrc/cuda/stream.h where the device is the CPU.

#include <ATen/core/Tensor.h>
#include <cuda_runtime.h>

namespace rpstn {

struct DeviceScope {
  cudaStream_t stream = nullptr;

  explicit DeviceScope(const at::Tensor&) {}
};

}  // namespace rpstn
