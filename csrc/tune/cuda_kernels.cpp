// What is known of the CUDA kernels that have been launched: registers, memory and resident blocks, as the driver says.

#include "tune/kernels.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <string>

#include "cuda/launch.cuh"

namespace rpstn {
namespace {

struct Launched {
  const char* name;
  const void* kernel;
  int64_t blocks, threads, shared_bytes, cluster, count;
};

std::mutex mutex;
std::vector<Launched> since;

std::string symbol(const void* kernel) {
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess) return "";
  int status = 0;
  char* text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  const std::string name = status == 0 ? text : mangled;
  std::free(text);
  return name;
}

pybind11::dict facts_of(const Launched& what) {
  pybind11::dict of;
  of["launch"] = what.name;
  of["count"] = what.count;
  of["blocks"] = what.blocks;
  of["threads"] = what.threads;
  of["shared_bytes"] = what.shared_bytes;
  of["cluster"] = what.cluster;
  of["kernel"] = symbol(what.kernel);
  cudaFuncAttributes attributes = {};
  if (cudaFuncGetAttributes(&attributes, what.kernel) == cudaSuccess) {
    int resident = 0;
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
              &resident, what.kernel, static_cast<int>(what.threads), static_cast<size_t>(what.shared_bytes)),
          "asking for resident blocks");
    of["registers"] = attributes.numRegs;
    of["spilled_bytes"] = attributes.localSizeBytes;
    of["resident_blocks"] = resident;
    of["waves"] = static_cast<double>(what.blocks) / (std::max(resident, 1) * device_limits().multiprocessors);
    of["compiled_for"] = attributes.binaryVersion;
  }
  return of;
}

}  // namespace

void launched(
    const char* name, const void* kernel, int64_t blocks, int64_t threads, int64_t shared_bytes, int64_t cluster) {
  const std::lock_guard<std::mutex> lock(mutex);
  for (auto& what : since) {
    if (what.kernel == kernel && what.blocks == blocks && what.threads == threads && what.shared_bytes == shared_bytes &&
        what.cluster == cluster) {
      ++what.count;
      return;
    }
  }
  since.push_back({name, kernel, blocks, threads, shared_bytes, cluster, 1});
}

std::vector<pybind11::dict> kernels() {
  std::vector<Launched> of;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    of.swap(since);
  }
  std::vector<pybind11::dict> all;
  for (const auto& what : of) all.push_back(facts_of(what));
  return all;
}

}  // namespace rpstn
