// What the emulation must get right and must notice; test_cuda_on_cpu.py compiles it and reads what it prints.

#include <cstdio>
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "cuda/numbers.cuh"
#include "cuda/ptx.cuh"

namespace rpstn {
namespace {

constexpr int kThreads = 128, kBlocks = 4, kCluster = 2;
constexpr unsigned kAll = 0xffffffffu;

// totals[c] = sum of what the blocks of cluster c read; `forget` leaves out the barrier before the sum over warps.
__global__ void sum_kernel(const float* values, float* totals, int count, bool forget) {
  auto* sums = reinterpret_cast<float*>(shared_memory());
  float sum = 0;
  for (int i = blockIdx.x * kThreads + threadIdx.x; i < count; i += kBlocks * kThreads) sum += values[i];
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(kAll, sum, lanes);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  if (!forget) __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kThreads / 32; ++warp) sum += sums[warp];
    sums[kThreads / 32] = sum;
  }
  cluster_sync();
  if (cluster_rank() == 0 && threadIdx.x == 0) {
    float total = 0;
    for (int rank = 0; rank < kCluster; ++rank) total += *in_cluster(sums + kThreads / 32, rank);
    totals[blockIdx.x / kCluster] = total;
  }
  cluster_sync();
}

__global__ void diverging_kernel() {
  if (threadIdx.x < 16) __syncwarp();  // for which the warp's other half never comes
  __syncthreads();
}

template <typename half_t>
__global__ void product_kernel(const uint32_t* a, const uint32_t* b, float* d) {
  float sums[4] = {};
  uint32_t left[4], right[2];
  for (int i = 0; i < 4; ++i) left[i] = a[threadIdx.x * 4 + i];
  for (int i = 0; i < 2; ++i) right[i] = b[threadIdx.x * 2 + i];
  multiply_16x8x16<half_t>(sums, left, right);
  for (int i = 0; i < 4; ++i) d[threadIdx.x * 4 + i] = sums[i];
}

// Adds the number of the round to each round's `count` values, which arrive by bulk copies into one place.
__global__ void bulk_kernel(const float* values, float* out, int count) {
  auto* barrier = reinterpret_cast<BulkBarrier*>(shared_memory());
  auto* arrived = reinterpret_cast<float*>(shared_memory() + 128);
  if (threadIdx.x == 0) {
    bulk_barrier_init(barrier, 1);
    bulk_barriers_ready();
  }
  __syncthreads();
  for (int round = 0; round < 3; ++round) {
    if (threadIdx.x == 0) {
      bulk_barrier_expect(barrier, count * 4);
      bulk_copy(arrived, values + round * count, count * 4, barrier);
    }
    bulk_barrier_wait(barrier, round & 1);
    for (int i = threadIdx.x; i < count; i += kThreads) out[round * count + i] = arrived[i] + round;
    bulk_fence();
    __syncthreads();
  }
}

void sums(bool forget) {
  std::vector<float> values(1000);
  float wanted[2] = {}, found[2] = {};
  for (int i = 0; i < 1000; ++i) {
    values[i] = i % 17;
    wanted[i / kThreads % kBlocks / kCluster] += values[i];
  }
  launch("sums", {dim3(kBlocks), dim3(kThreads), nullptr, 256, kCluster}, sum_kernel, values.data(), found, 1000, forget);
  std::puts(found[0] == wanted[0] && found[1] == wanted[1] ? "right" : "wrong");
}

template <typename half_t, typename Convert>
void products(Convert&& convert) {
  std::vector<uint32_t> a(128), b(64);
  std::vector<float> d(128);
  const auto left = [](int row, int column) { return (row * 16 + column) * 7 % 13 - 6; };
  const auto right = [](int row, int column) { return (row * 8 + column) * 5 % 11 - 5; };
  const auto pair = [&](int first, int second) {
    const half_t halves[2] = {convert(first), convert(second)};
    uint32_t bits;
    std::memcpy(&bits, halves, 4);
    return bits;
  };
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = g + i % 2 * 8, column = 2 * t + i / 2 * 8;
      a[lane * 4 + i] = pair(left(row, column), left(row, column + 1));
    }
    for (int i = 0; i < 2; ++i) b[lane * 2 + i] = pair(right(2 * t + 8 * i, g), right(2 * t + 8 * i + 1, g));
  }
  launch("products", {dim3(1), dim3(32), nullptr}, product_kernel<half_t>, a.data(), b.data(), d.data());
  bool same = true;
  for (int place = 0; place < 128; ++place) {
    const int lane = place / 4, row = lane / 4 + place % 4 / 2 * 8, column = lane % 4 * 2 + place % 2;
    int wanted = 0;
    for (int k = 0; k < 16; ++k) wanted += left(row, k) * right(k, column);
    same = same && d[place] == wanted;
  }
  std::puts(same ? "right" : "wrong");
}

void bulk() {
  constexpr int kCount = 256;
  alignas(16) static float values[3 * kCount], out[3 * kCount];
  bool same = true;
  for (int i = 0; i < 3 * kCount; ++i) values[i] = i;
  launch("bulk", {dim3(1), dim3(kThreads), nullptr, 128 + 4 * kCount}, bulk_kernel, values, out, kCount);
  for (int i = 0; i < 3 * kCount; ++i) same = same && out[i] == values[i] + i / kCount;
  std::puts(same ? "right" : "wrong");
}

}  // namespace
}  // namespace rpstn

int main(int, char** arguments) {
  const std::string what = arguments[1];
  if (what == "sums") rpstn::sums(false);
  if (what == "forgotten barrier") rpstn::sums(true);
  if (what == "float16") rpstn::products<__half>([](int i) { return __float2half_rn(i); });
  if (what == "bfloat16") rpstn::products<__nv_bfloat16>([](int i) { return __float2bfloat16_rn(i); });
  if (what == "bulk copies") rpstn::bulk();
  if (what == "diverging barrier") rpstn::launch("diverging", {dim3(1), dim3(64), nullptr}, rpstn::diverging_kernel);
}
