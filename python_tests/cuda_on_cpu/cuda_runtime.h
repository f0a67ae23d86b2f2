#pragma once

// The part of CUDA's run time and of its device language that csrc/cuda uses, on the CPU; see README.md.

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __align__(size) alignas(size)
#define __grid_constant__

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(int64_t x = 1, int64_t y = 1, int64_t z = 1)
      : x(static_cast<unsigned>(x)), y(static_cast<unsigned>(y)), z(static_cast<unsigned>(z)) {}
};
using uint3 = dim3;
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the thread whose turn it is

namespace emulated {

constexpr size_t kStack = 256 * 1024;
constexpr int kWarp = 32;
constexpr int kSlot = 24;  // bytes that a lane shows to its warp
constexpr int kSharedMemory = 227 * 1024;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "cuda_on_cpu: %s\n", what);
  std::abort();
}

// Where a fiber or the scheduler goes on. By the compiler's own jumps where it has them: those of the C library took a
// fifth of the time.
#if defined(__clang__) && !defined(__x86_64__)
using Place = jmp_buf;
#define RPSTN_HERE(place) _setjmp(place)
#define RPSTN_GO_ON(place) _longjmp(place, 1)
#else
using Place = void* [5];
#define RPSTN_HERE(place) __builtin_setjmp(place)
#define RPSTN_GO_ON(place) __builtin_longjmp(place, 1)
#endif

// Threads meet here until `expected` of them have come.
struct Barrier {
  int expected = 0, arrived = 0;
  uint64_t generation = 0;

  void release_if_complete();
};

struct Warp {
  Barrier barrier;
  unsigned char slots[2][kWarp][kSlot];  // in turn: when all have come to one, none reads the one before it any more
};

struct Block {
  dim3 index;
  int rank;  // in its cluster
  Barrier barrier;
  std::vector<Warp> warps;
  unsigned char* shared;
};

// Runs threads one after the other, on a stack that it keeps.
struct Fiber {
  Place here;
  std::unique_ptr<unsigned char[]> stack;
  bool finished = false;
  const Barrier* waits_for = nullptr;  // until its generation is not this one
  uint64_t generation = 0;
  unsigned shown = 0;
  dim3 thread;
  int lane;
  Block* block;
  Warp* warp;

  bool waits() const { return waits_for != nullptr && waits_for->generation == generation; }
};

struct Launched {
  const void* kernel;
  uint64_t blocks, threads, shared_bytes, cluster;
};

// One cluster at a time, and of a grid without clusters one block.
struct Machine {
  std::vector<Fiber> fibers;  // the first `threads` of them
  size_t threads = 0;         // of the cluster
  std::vector<Block> blocks;
  Barrier cluster;
  Fiber* current = nullptr;
  Place scheduler;
  uint64_t progress = 0;
  std::vector<Launched> launches;
  void (*body)(void*) = nullptr;
  void* arguments = nullptr;
  std::vector<std::unique_ptr<unsigned char[]>> shared;
};

inline Machine& machine() {
  static Machine it;
  return it;
}

inline void Barrier::release_if_complete() {
  if (expected > 0 && arrived == expected) {
    arrived = 0;
    ++generation;
  }
}

[[gnu::noinline]] inline void yield() {
  Machine& m = machine();
  if (RPSTN_HERE(m.current->here) == 0) RPSTN_GO_ON(m.scheduler);
}

inline void meet(Barrier& barrier) {
  const uint64_t generation = barrier.generation;
  ++barrier.arrived;
  barrier.release_if_complete();
  if (barrier.generation == generation) {
    Fiber& self = *machine().current;
    self.waits_for = &barrier;
    self.generation = generation;
    yield();
    self.waits_for = nullptr;
  }
  ++machine().progress;
}

inline void finish(Fiber& fiber) {
  fiber.finished = true;
  for (Barrier* barrier : {&fiber.warp->barrier, &fiber.block->barrier, &machine().cluster}) {
    --barrier->expected;
    barrier->release_if_complete();
  }
  ++machine().progress;
}

inline void enter() {
  Machine& m = machine();
  for (;;) {
    m.body(m.arguments);
    finish(*m.current);
    yield();
  }
}

inline void start(Fiber& fiber) {
  // Stacks begin at different places of their pages, or what all fibers use would share a few lines of the caches.
  const size_t begins = (&fiber - machine().fibers.data()) % 512 * 192;
  fiber.stack.reset(new unsigned char[kStack + begins]);
  ucontext_t entry;
  getcontext(&entry);
  entry.uc_stack.ss_sp = fiber.stack.get();
  entry.uc_stack.ss_size = kStack + begins;
  entry.uc_link = nullptr;
  makecontext(&entry, &enter, 0);
  setcontext(&entry);
}

[[gnu::noinline]] inline void resume(Fiber& fiber) {
  Machine& m = machine();
  m.current = &fiber;
  threadIdx = fiber.thread;
  blockIdx = fiber.block->index;
  if (RPSTN_HERE(m.scheduler) != 0) return;
  if (fiber.stack == nullptr) start(fiber);
  RPSTN_GO_ON(fiber.here);
}

inline void run_cluster() {
  Machine& m = machine();
  static const char* const order = std::getenv("RPSTN_CUDA_ON_CPU_ORDER");
  static const bool backwards = order != nullptr && std::strcmp(order, "backwards") == 0;
  uint64_t seen = m.progress;
  int idle_rounds = 0;
  for (bool alive = true; alive;) {
    alive = false;
    for (size_t i = 0; i < m.threads; ++i) {
      Fiber& fiber = m.fibers[backwards ? m.threads - 1 - i : i];
      if (fiber.finished) continue;
      if (!fiber.waits()) resume(fiber);
      alive = true;
    }
    idle_rounds = m.progress == seen ? idle_rounds + 1 : 0;
    seen = m.progress;
    if (idle_rounds > 4) fail("threads wait for each other for ever: a barrier that not all of them reach");
  }
}

inline void run_grid(
    const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, unsigned cluster, void (*body)(void*), void* arguments) {
  Machine& m = machine();
  const int threads = static_cast<int>(block.x * block.y * block.z);
  m.launches.push_back({kernel, uint64_t(grid.x) * grid.y * grid.z, static_cast<uint64_t>(threads), shared_bytes, cluster});
  if (threads < 1 || threads > 1024) fail("a block of more than 1024 threads, or of none");
  if (shared_bytes > kSharedMemory) fail("a block with more shared memory than a multiprocessor has");
  if (grid.x % cluster != 0) fail("a grid that is not a whole number of clusters");
  if (grid.y > 65535 || grid.z > 65535) fail("a grid of more than 65535 blocks along y or z");
  gridDim = grid;
  blockDim = block;
  m.body = body;
  m.arguments = arguments;
  while (m.shared.size() < cluster) m.shared.emplace_back(new unsigned char[kSharedMemory + 256]);
  m.threads = threads * cluster;
  if (m.fibers.size() < m.threads) m.fibers.resize(m.threads);
  m.blocks.resize(cluster);
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; x += cluster) {
        m.cluster = {threads * static_cast<int>(cluster)};
        for (unsigned rank = 0; rank < cluster; ++rank) {
          Block& b = m.blocks[rank];
          b.index = dim3(x + rank, y, z);
          b.rank = static_cast<int>(rank);
          b.barrier = {threads};
          b.warps.assign((threads + kWarp - 1) / kWarp, {});
          b.shared = m.shared[rank].get();
          b.shared += (128 - reinterpret_cast<uintptr_t>(b.shared) % 128) % 128;
          std::memset(b.shared, 0xFF, shared_bytes);  // NaN in every floating type
          for (int t = 0; t < threads; ++t) {
            const int place = static_cast<int>(rank) * threads + t;
            Fiber& f = m.fibers[place];
            f.finished = false;
            f.shown = 0;
            f.thread = dim3(t % block.x, t / block.x % block.y, t / (block.x * block.y));
            f.lane = t % kWarp;
            f.block = &b;
            f.warp = &b.warps[t / kWarp];
            ++f.warp->barrier.expected;
          }
        }
        run_cluster();
      }
    }
  }
}

// For tests and benchmarks that load this library: how many kernels it launched so far, and of one of them where its code
// begins in the library, blocks, threads, bytes of shared memory and blocks of a cluster.
extern "C" [[gnu::used, gnu::visibility("default")]] inline uint64_t rpstn_emulated_launches() {
  return machine().launches.size();
}
extern "C" [[gnu::used, gnu::visibility("default")]] inline void rpstn_emulated_launch(uint64_t index, uint64_t* out) {
  const Launched& launch = machine().launches.at(index);
  Dl_info where = {};
  dladdr(launch.kernel, &where);
  out[0] = static_cast<uint64_t>(static_cast<const char*>(launch.kernel) - static_cast<const char*>(where.dli_fbase));
  out[1] = launch.blocks;
  out[2] = launch.threads;
  out[3] = launch.shared_bytes;
  out[4] = launch.cluster;
}

// What the lanes of a warp showed, until the thread's next show(); lanes that left the kernel showed nothing.
template <typename T>
struct Shown {
  const unsigned char (*slots)[kSlot];

  T operator[](int lane) const {
    T value;
    std::memcpy(&value, slots[lane], sizeof(T));
    return value;
  }
};

// By all live lanes of the warp.
template <typename T>
Shown<T> show(const T& value) {
  static_assert(sizeof(T) <= kSlot);
  Fiber& self = *machine().current;
  auto& slots = self.warp->slots[self.shown++ % 2];
  std::memcpy(slots[self.lane], &value, sizeof(T));
  meet(self.warp->barrier);
  return {slots};
}

template <typename T, typename Choose>
T exchange(T value, Choose&& choose) {
  const auto shown = show(value);
  const int from = choose(machine().current->lane);
  return from >= 0 && from < kWarp ? shown[from] : value;
}

}  // namespace emulated

inline void __syncthreads() { emulated::meet(emulated::machine().current->block->barrier); }
inline void __threadfence() {}
inline void __threadfence_block() {}
// Whole warps only: a mask of some lanes is refused, because the kernels need none.
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  if (mask != 0xffffffffu) emulated::fail("a warp operation of some lanes only");
  emulated::meet(emulated::machine().current->warp->barrier);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  if (mask != 0xffffffffu) emulated::fail("a warp operation of some lanes only");
  return emulated::exchange(value, [=](int lane) { return (lane ^ lanes) / width == lane / width ? lane ^ lanes : lane; });
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, int by, int width = 32) {
  if (mask != 0xffffffffu) emulated::fail("a warp operation of some lanes only");
  return emulated::exchange(value, [=](int lane) { return lane % width + by < width ? lane + by : lane; });
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int by, int width = 32) {
  if (mask != 0xffffffffu) emulated::fail("a warp operation of some lanes only");
  return emulated::exchange(value, [=](int lane) { return lane % width >= by ? lane - by : lane; });
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
  if (mask != 0xffffffffu) emulated::fail("a warp operation of some lanes only");
  return emulated::exchange(value, [=](int lane) { return lane / width * width + from % width; });
}

template <typename T>
T __ldg(const T* pointer) { return *pointer; }
template <typename T>
T __ldcs(const T* pointer) { return *pointer; }
template <typename T>
T __ldcg(const T* pointer) { return *pointer; }
inline unsigned atomicAdd(unsigned* address, unsigned value) { return std::exchange(*address, *address + value); }
template <typename T>
void __stcs(T* pointer, T value) { *pointer = value; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __expf(float x) { return expf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
template <typename T>
T min(T a, T b) { return b < a ? b : a; }
template <typename T>
T max(T a, T b) { return a < b ? b : a; }

// --- Run time ---

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorNotSupported = 801 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize, cudaFuncAttributeNonPortableClusterSizeAllowed };
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct { unsigned x, y, z; } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

inline int emulated_number(const char* variable, int usual) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::atoi(text) : usual;
}
inline int emulated_architecture() { return emulated_number("RPSTN_CUDA_ON_CPU_ARCHITECTURE", 90); }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "an emulated failure"; }
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const int architecture = emulated_architecture();
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = emulated_number("RPSTN_CUDA_ON_CPU_MULTIPROCESSORS", 8); break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 1024 * (architecture >= 90 ? 227 : architecture == 80 ? 163 : architecture == 75 ? 64 : 99);
      break;
    case cudaDevAttrComputeCapabilityMajor: *value = architecture / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = architecture % 10; break;
  }
  return cudaSuccess;
}
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute attribute, int value) {
  int limit = 0;
  cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
  return attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value > limit ? cudaErrorInvalidValue : cudaSuccess;
}

// What only a compiler for a GPU knows of a kernel.
struct cudaFuncAttributes {
  size_t localSizeBytes;
  int numRegs, binaryVersion;
};
inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*) { return cudaErrorNotSupported; }
inline cudaError_t cudaFuncGetName(const char**, const void*) { return cudaErrorNotSupported; }
inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int*, const void*, int, size_t) {
  return cudaErrorNotSupported;
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  const unsigned cluster = config->numAttrs > 0 ? config->attrs[0].val.clusterDim.x : 1;
  if (cluster > 1 && emulated_architecture() < 90) return cudaErrorInvalidValue;
  auto call = [&] { kernel(arguments...); };
  emulated::run_grid(reinterpret_cast<const void*>(kernel), config->gridDim, config->blockDim, config->dynamicSmemBytes, cluster,
                     [](void* body) { (*static_cast<decltype(call)*>(body))(); }, &call);
  return cudaSuccess;
}
