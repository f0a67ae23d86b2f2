#pragma once

// The device and stream a call works on, without a CUDA header of torch: the library links and loads beside any torch.

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <cuda_runtime.h>

namespace rpstn {

// While it lives the tensor's device is the current one; `stream` is the caller's stream there.
struct DeviceScope {
  c10::DeviceGuard guard;
  cudaStream_t stream;

  explicit DeviceScope(const at::Tensor& tensor)
      : guard(tensor.device()),
        stream(static_cast<cudaStream_t>(
            c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStream(tensor.device()).native_handle())) {}
};

}  // namespace rpstn
