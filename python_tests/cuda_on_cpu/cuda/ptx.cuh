#pragma once

// csrc/cuda/ptx.cuh in plain C++. Copies happen at once, so waits for them only check that they were committed.

#include <cstdint>
#include <cstring>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace rpstn {

inline unsigned char* shared_memory() { return emulated::machine().current->block->shared; }

// By a shuffle, as there: a thread of the warp that does not come fails.
inline int warp_of_block() { return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x / 32), 0); }

template <typename T>
const T* in_global(const T* pointer) {
  const auto offset = reinterpret_cast<const unsigned char*>(pointer) - shared_memory();
  if (offset >= 0 && offset < emulated::kSharedMemory) emulated::fail("in_global: an address in shared memory");
  return pointer;
}

inline int cluster_rank() { return emulated::machine().current->block->rank; }

inline void cluster_sync() { emulated::meet(emulated::machine().cluster); }

template <typename T>
T* in_cluster(T* pointer, int rank) {
  auto& machine = emulated::machine();
  const auto offset = reinterpret_cast<unsigned char*>(pointer) - machine.current->block->shared;
  if (offset < 0 || offset >= emulated::kSharedMemory) emulated::fail("in_cluster: not an address in shared memory");
  return reinterpret_cast<T*>(machine.blocks.at(rank).shared + offset);
}

inline void check_alignment(const void* shared, const void* global, unsigned bytes) {
  if (reinterpret_cast<uintptr_t>(shared) % bytes != 0 || reinterpret_cast<uintptr_t>(global) % bytes != 0) {
    emulated::fail("an asynchronous copy between addresses that are not multiples of its size");
  }
}

inline void copy_async_16(void* shared, const void* global, bool present) {
  check_alignment(shared, present ? global : shared, 16);
  if (present) std::memcpy(shared, global, 16);
  else std::memset(shared, 0, 16);
}

inline void copy_async_4(void* shared, const void* global, bool present) {
  check_alignment(shared, present ? global : shared, 4);
  if (present) std::memcpy(shared, global, 4);
  else std::memset(shared, 0, 4);
}

inline void copy_async_commit() {}
template <int kPending>
void copy_async_wait() {}

// Bits: 0 the phase's parity, 1..20 arrivals wanted, 21..40 arrivals still to come, 41..63 bytes still to come.
using BulkBarrier = uint64_t;
struct BulkState {
  uint64_t parity : 1, wanted : 20, missing : 20, bytes : 23;
};
static_assert(sizeof(BulkState) == sizeof(BulkBarrier));

template <typename Change>
void change(BulkBarrier* barrier, Change&& f) {
  BulkState state;
  std::memcpy(&state, barrier, 8);
  f(state);
  if (state.missing == 0 && state.bytes == 0) {
    state.parity ^= 1;
    state.missing = state.wanted;
    ++emulated::machine().progress;
  }
  std::memcpy(barrier, &state, 8);
}

inline void bulk_barrier_init(BulkBarrier* barrier, int arrivals) {
  const BulkState state = {0, static_cast<uint64_t>(arrivals), static_cast<uint64_t>(arrivals), 0};
  std::memcpy(barrier, &state, 8);
}
inline void bulk_barriers_ready() {}
inline void bulk_barrier_expect(BulkBarrier* barrier, unsigned bytes) {
  change(barrier, [=](BulkState& state) {
    if (state.missing == 0) emulated::fail("more arrivals at a bulk barrier than it waits for");
    state.bytes += bytes;
    --state.missing;
  });
}
inline void bulk_copy(void* shared, const void* global, unsigned bytes, BulkBarrier* barrier) {
  check_alignment(shared, global, 16);
  if (bytes % 16 != 0) emulated::fail("a bulk copy of a number of bytes that is no multiple of 16");
  std::memcpy(shared, global, bytes);
  change(barrier, [=](BulkState& state) {
    if (state.bytes < bytes) emulated::fail("a bulk copy of more bytes than its barrier expects");
    state.bytes -= bytes;
  });
}
inline void bulk_barrier_wait(BulkBarrier* barrier, unsigned parity) {
  for (;;) {
    BulkState state;
    std::memcpy(&state, barrier, 8);
    if (state.parity != parity) return;  // that phase is over
    emulated::yield();
  }
}
inline void bulk_fence() {}

template <typename half_t>
float half_of(uint32_t pair, int which);
template <>
inline float half_of<__half>(uint32_t pair, int which) {
  __half2 halves;
  std::memcpy(&halves, &pair, 4);
  return __half2float(which == 0 ? halves.x : halves.y);
}
template <>
inline float half_of<__nv_bfloat16>(uint32_t pair, int which) {
  return __bfloat162float({static_cast<uint16_t>(which == 0 ? pair : pair >> 16)});
}

template <typename half_t>
void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Registers {
    uint32_t a[4], b[2];
  };
  const auto shown = emulated::show(Registers{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
  const int lane = emulated::machine().current->lane, g = lane / 4, t = lane % 4;
  float left[2][16], right[2][16];  // rows g and g + 8 of a, columns 2t and 2t + 1 of b
  for (int from = 0; from < 4; ++from) {
    const Registers of_row = shown[g * 4 + from];
    for (int half = 0; half < 2; ++half) {
      left[0][2 * from + half] = half_of<half_t>(of_row.a[0], half);
      left[1][2 * from + half] = half_of<half_t>(of_row.a[1], half);
      left[0][2 * from + 8 + half] = half_of<half_t>(of_row.a[2], half);
      left[1][2 * from + 8 + half] = half_of<half_t>(of_row.a[3], half);
    }
    for (int column = 0; column < 2; ++column) {
      const Registers of_column = shown[(2 * t + column) * 4 + from];
      for (int half = 0; half < 2; ++half) {
        right[column][2 * from + half] = half_of<half_t>(of_column.b[0], half);
        right[column][2 * from + 8 + half] = half_of<half_t>(of_column.b[1], half);
      }
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int k = 0; k < 16; ++k) d[i] += left[i / 2][k] * right[i % 2][k];
  }
}

inline void store_global_16(void* global, uint4 bits) {
  if (reinterpret_cast<uintptr_t>(global) % 16 != 0) emulated::fail("16 bytes stored at no multiple of 16");
  std::memcpy(global, &bits, 16);
}

}  // namespace rpstn
