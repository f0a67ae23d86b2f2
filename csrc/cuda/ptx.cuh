#pragma once

// What the kernels need of the machine below C++, each in a function of its own: dynamic shared memory, clusters and
// their distributed shared memory, asynchronous copies, matrix instructions on half types. Clusters and bulk copies
// exist from sm_90 on, cp.async and these matrix shapes from sm_80 on; a launcher chooses by device_limits() and never
// reaches a trap. python_tests/cuda_on_cpu holds the same functions in plain C++.

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace rpstn {

// The block's dynamic shared memory; its size is Launch::shared_bytes. Aligned for bulk copies.
__device__ inline unsigned char* shared_memory() {
  extern __shared__ __align__(128) unsigned char rpstn_shared_memory[];
  return rpstn_shared_memory;
}

__device__ inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// This thread's warp of the block. Asked of the warp's first lane, it is known to be one number for all of them, and code
// that depends on it needs no second copy of its shuffles for a warp that has fallen apart. For all threads of a warp.
__device__ inline int warp_of_block() { return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x / 32), 0); }

// Tells the compiler of a pointer to global memory, which it would else read as one to any memory.
template <typename T>
__device__ inline const T* in_global(const T* pointer) {
  __builtin_assume(__isGlobal(pointer));
  return pointer;
}

// --- Clusters ---

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define RPSTN_SM90(code) code
#else
#define RPSTN_SM90(code) __trap()
#endif
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define RPSTN_SM80(code) code
#else
#define RPSTN_SM80(code) __trap()
#endif

// This block's place in its cluster.
__device__ inline int cluster_rank() {
  unsigned rank = 0;
  RPSTN_SM90(asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank)));
  return static_cast<int>(rank);
}

// Waits for all threads of the cluster; what they wrote before it, to any block's shared memory too, is seen after it.
__device__ inline void cluster_sync() {
  RPSTN_SM90(asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory"));
}

// The same place of shared memory in block `rank` of the cluster.
template <typename T>
__device__ inline T* in_cluster(T* pointer, int rank) {
  uint64_t there = 0;
  RPSTN_SM90(asm volatile("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(reinterpret_cast<uint64_t>(pointer)), "r"(rank)));
  return reinterpret_cast<T*>(there);
}

// --- Asynchronous copies from global to shared memory ---

// 16 bytes, both addresses multiples of 16; `present` false fills with zeros and does not read.
__device__ inline void copy_async_16(void* shared, const void* global, bool present) {
  RPSTN_SM80(asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                          "r"(present ? 16 : 0) : "memory"));
}

// 4 bytes, both addresses multiples of 4.
__device__ inline void copy_async_4(void* shared, const void* global, bool present) {
  RPSTN_SM80(asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global),
                          "r"(present ? 4 : 0) : "memory"));
}

__device__ inline void copy_async_commit() { RPSTN_SM80(asm volatile("cp.async.commit_group;" ::: "memory")); }

// Until at most kPending of this thread's committed groups are on their way; __syncthreads() shows them to the block.
template <int kPending>
__device__ inline void copy_async_wait() {
  RPSTN_SM80(asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory"));
}

// --- Bulk copies, which complete on a barrier in shared memory ---

using BulkBarrier = uint64_t;

// By one thread; then bulk_barriers_ready(), then __syncthreads().
__device__ inline void bulk_barrier_init(BulkBarrier* barrier, int arrivals) {
  RPSTN_SM90(asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
                          : "memory"));
}

__device__ inline void bulk_barriers_ready() {
  RPSTN_SM90(asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory"));
}

// Arrives, and makes the barrier wait for so many bytes of copies besides.
__device__ inline void bulk_barrier_expect(BulkBarrier* barrier, unsigned bytes) {
  RPSTN_SM90(asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                          "r"(bytes) : "memory"));
}

// Copies bytes, a multiple of 16 between addresses that are multiples of 16; by one thread, after bulk_barrier_expect.
__device__ inline void bulk_copy(void* shared, const void* global, unsigned bytes, BulkBarrier* barrier) {
  RPSTN_SM90(asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                              shared_address(shared)), "l"(global), "r"(bytes), "r"(shared_address(barrier)) : "memory"));
}

// Waits until the barrier's phase of this parity (0 first, then 1, 0 ...) is complete.
__device__ inline void bulk_barrier_wait(BulkBarrier* barrier, unsigned parity) {
  RPSTN_SM90(asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra finished;\n"
      "bra again;\nfinished:\n}" ::"r"(shared_address(barrier)), "r"(parity) : "memory"));
}

// Orders this thread's ordinary writes to shared memory before bulk copies into the same place that are issued after a
// barrier.
__device__ inline void bulk_fence() { RPSTN_SM90(asm volatile("fence.proxy.async.shared::cta;" ::: "memory")); }

// --- Matrix instructions: d[16 x 8] += a[16 x 16] b[16 x 8], sums in float, a warp together ---
// With g = lane / 4 and t = lane % 4: a[0] holds (row g, columns 2t, 2t+1), a[1] (row g + 8, the same columns), a[2]
// (row g, columns 2t + 8, 2t + 9), a[3] (row g + 8, those); b[0] holds (rows 2t, 2t + 1, column g), b[1] (rows 2t + 8,
// 2t + 9, column g); d[0], d[1] are (row g, columns 2t, 2t + 1), d[2], d[3] (row g + 8, the same columns).

template <typename half_t>
__device__ inline void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
__device__ inline void multiply_16x8x16<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  RPSTN_SM80(asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}

template <>
__device__ inline void multiply_16x8x16<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  RPSTN_SM80(asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}

// --- Stores ---

// 16 bytes to global memory at a multiple of 16, as one instruction: the compiler may take a vector's store apart.
__device__ inline void store_global_16(void* global, uint4 bits) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(global), "r"(bits.x), "r"(bits.y), "r"(bits.z),
               "r"(bits.w) : "memory");
}

#undef RPSTN_SM90
#undef RPSTN_SM80

}  // namespace rpstn
