#pragma once

// The one way to launch a kernel: with its shared memory allowed, in clusters where asked for, and checked.

#include <cstdint>
#include <stdexcept>
#include <string>

#include <cuda_runtime.h>

#include "tuned.h"

namespace rpstn {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // not to be found by who comes next
  throw std::runtime_error(std::string("rpstn_ext: ") + what + " failed: " + cudaGetErrorString(status));
}

// What of the current device decides how work is divided.
struct DeviceLimits {
  int multiprocessors, shared_memory_per_block, architecture;  // architecture: 75, 80, 90 ...

  bool has_clusters() const { return architecture >= 90; }
};

inline int device_attribute(cudaDeviceAttr attribute, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device), "asking for the device's limits");
  return value;
}

inline DeviceLimits device_limits() {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  return {tuned("multiprocessors", device_attribute(cudaDevAttrMultiProcessorCount, device)),
          tuned("shared_memory", device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device)),
          tuned("architecture", 10 * device_attribute(cudaDevAttrComputeCapabilityMajor, device) +
                                    device_attribute(cudaDevAttrComputeCapabilityMinor, device))};
}

struct Launch {
  dim3 grid, block;
  cudaStream_t stream;
  int64_t shared_bytes = 0;  // dynamic shared memory, ptx.cuh's shared_memory()
  int cluster = 1;           // blocks of a cluster, along x; above 1 only where has_clusters()
};

// Runs kernel(arguments...) where there is work. Throws std::runtime_error where the launch is refused.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, const Launch& how, void (*kernel)(Parameters...), Arguments&&... arguments) {
  if (how.grid.x == 0 || how.grid.y == 0 || how.grid.z == 0) return;
  constexpr int64_t kAlwaysAllowed = 48 * 1024;
  const void* function = reinterpret_cast<const void*>(kernel);
  if (how.shared_bytes > kAlwaysAllowed) {
    // The most that the device allows, not what this launch needs: the limit is the kernel's, and another thread, or
    // another shape in the same graph, may be between its setting and its launch. No kernel has static shared memory.
    const int most = device_limits().shared_memory_per_block;
    if (how.shared_bytes > most) {
      throw std::runtime_error(std::string("rpstn_ext: ") + name + " needs " + std::to_string(how.shared_bytes) +
                               " bytes of shared memory, the device has " + std::to_string(most));
    }
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, most), name);
  }
  if (how.cluster > 8) check(cudaFuncSetAttribute(function, cudaFuncAttributeNonPortableClusterSizeAllowed, 1), name);
  cudaLaunchConfig_t config = {};
  config.gridDim = how.grid;
  config.blockDim = how.block;
  config.dynamicSmemBytes = static_cast<size_t>(how.shared_bytes);
  config.stream = how.stream;
  cudaLaunchAttribute cluster = {};
  if (how.cluster > 1) {
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = how.cluster;
    cluster.val.clusterDim.y = 1;
    cluster.val.clusterDim.z = 1;
    config.attrs = &cluster;
    config.numAttrs = 1;
  }
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
  launched(name, function, int64_t(how.grid.x) * how.grid.y * how.grid.z,
           int64_t(how.block.x) * how.block.y * how.block.z, how.shared_bytes, how.cluster);
}

}  // namespace rpstn
