#pragma once

// Steps of dynamic_match on a few channels at a time, whose [B, channels, H, W] lies in a workspace: what serves kernels
// of sizes that are not compiled, double, and sums of samples' parts. V = conv(features, kernels), D = grad_out.

#include <cstdint>

#include "cuda/launch.cuh"
#include "cuda/parameters.cuh"
#include "cuda/plane_tiles.cuh"
#include "cuda/plane_view.cuh"

namespace rpstn {

constexpr int kStepThreads = 128;
constexpr int kStepJoints = 8;    // a thread's joints
constexpr int kStepChannels = 8;  // a thread's channels

// sums[b,k,n] = (bias[k] or, after the first channels, itself) + sum_c weight[k,first+c] * V[b,c,n]; the last channels
// give the output. Thread: one pixel, kStepJoints joints.
template <typename acc_t>
__global__ void __launch_bounds__(kStepThreads) mix_kernel(
    int64_t samples, int64_t pixels, int joints, int all_channels, int first, int channels, bool last,
    const acc_t* __restrict__ matched,  // [B, channels, pixels]
    const acc_t* __restrict__ weight,   // [K, all_channels]
    const acc_t* __restrict__ bias,     // [K]
    acc_t* sums,                        // [B, K, pixels]; not used where one step does all
    PlaneTarget output) {               // [B, K, pixels]
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= samples * pixels) return;
  const int64_t b = index / pixels, n = index % pixels;
  const int first_joint = blockIdx.y * kStepJoints;
  acc_t mixed[kStepJoints];
#pragma unroll
  for (int k = 0; k < kStepJoints; ++k) {
    const int joint = min(first_joint + k, joints - 1);
    mixed[k] = first == 0 ? bias[joint] : sums[(b * joints + joint) * pixels + n];
  }
  for (int c = 0; c < channels; ++c) {
    const acc_t value = matched[(b * channels + c) * pixels + n];
#pragma unroll
    for (int k = 0; k < kStepJoints; ++k) {
      mixed[k] += weight[static_cast<int64_t>(min(first_joint + k, joints - 1)) * all_channels + first + c] * value;
    }
  }
#pragma unroll
  for (int k = 0; k < kStepJoints; ++k) {
    if (first_joint + k >= joints) continue;
    const int64_t place = (b * joints + first_joint + k) * pixels + n;
    if (last) store_element(output.data, output.dtype, place, mixed[k]);
    else sums[place] = mixed[k];
  }
}

// unmixed[b,c,n] = sum_k weight[k,first+c] * D[b,k,n]. Thread: one pixel, kStepChannels channels.
template <typename acc_t>
__global__ void __launch_bounds__(kStepThreads) unmix_kernel(
    int64_t samples, int joints, int all_channels, int first, int channels, PlaneView grad_out,
    const acc_t* __restrict__ weight,  // [K, all_channels]
    acc_t* __restrict__ unmixed) {     // [B, channels, pixels]
  const int64_t pixels = static_cast<int64_t>(grad_out.height) * grad_out.width;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= samples * pixels) return;
  const int64_t b = index / pixels, n = index % pixels;
  const int64_t place = b * grad_out.sample + n / grad_out.width * grad_out.row + n % grad_out.width * grad_out.column;
  const int first_channel = blockIdx.y * kStepChannels;
  acc_t sums[kStepChannels] = {};
  for (int k = 0; k < joints; ++k) {
    const acc_t value = load_element<acc_t>(grad_out, place + k * grad_out.channel);
#pragma unroll
    for (int c = 0; c < kStepChannels; ++c) {
      sums[c] += weight[static_cast<int64_t>(k) * all_channels + first + min(first_channel + c, channels - 1)] * value;
    }
  }
#pragma unroll
  for (int c = 0; c < kStepChannels; ++c) {
    if (first_channel + c < channels) unmixed[(b * channels + first_channel + c) * pixels + n] = sums[c];
  }
}

// parts[b,k,first+c] = sum_n D[b,k,n] * V[b,c,n], and without V (null; channels 1) the sum of D itself.
// Block: one sample and channel, kStepJoints joints.
template <typename acc_t>
__global__ void __launch_bounds__(kStepThreads) weight_gradient_kernel(
    int joints, int all_channels, int first, int channels, PlaneView grad_out,
    const acc_t* __restrict__ matched,  // [B, channels, pixels] or null
    acc_t* __restrict__ parts) {        // [B, K, all_channels]
  constexpr int kWarps = kStepThreads / 32;
  auto* warps = reinterpret_cast<acc_t*>(shared_memory());  // [kWarps][kStepJoints]
  const int64_t b = blockIdx.x / channels;
  const int c = static_cast<int>(blockIdx.x % channels), first_joint = blockIdx.y * kStepJoints;
  const int64_t pixels = static_cast<int64_t>(grad_out.height) * grad_out.width;
  acc_t sums[kStepJoints] = {};
  const unsigned width = grad_out.width, down = kStepThreads / width, along = kStepThreads % width;
  unsigned y = threadIdx.x / width, x = threadIdx.x % width;  // of pixel n; moved on by additions
  for (int64_t n = threadIdx.x; n < pixels; n += kStepThreads) {
    const acc_t value = matched == nullptr ? acc_t(1) : matched[static_cast<int64_t>(blockIdx.x) * pixels + n];
    const int64_t place = b * grad_out.sample + y * grad_out.row + x * grad_out.column;
    y += down;
    x += along;
    if (x >= width) {
      x -= width;
      ++y;
    }
#pragma unroll
    for (int k = 0; k < kStepJoints; ++k) {
      sums[k] += value * load_element<acc_t>(grad_out, place + min(first_joint + k, joints - 1) * grad_out.channel);
    }
  }
  sum_lanes(sums, 32, 0, kStepJoints, [&](int k, acc_t sum) { warps[threadIdx.x / 32 * kStepJoints + k] = sum; });
  __syncthreads();
  const int k = threadIdx.x;
  if (k < kStepJoints && first_joint + k < joints) {
    acc_t sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) sum += warps[warp * kStepJoints + k];
    parts[(b * joints + first_joint + k) * all_channels + first + c] = sum;
  }
}

// What samples' parts [B, size] are added to; nothing where there are none.
struct PartSums {
  const void* parts;
  int64_t size;
  Target total;  // [size]
};

// first.total[i] = sum_b first.parts[b,i], and the same of second, in order, in double.
template <typename acc_t>
__global__ void __launch_bounds__(kStepThreads) add_samples_kernel(int64_t samples, PartSums first, PartSums second) {
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= first.size + second.size) return;
  const bool of_second = i >= first.size;
  if (of_second) i -= first.size;
  const auto* parts = static_cast<const acc_t*>(of_second ? second.parts : first.parts) + i;
  const int64_t size = of_second ? second.size : first.size;
  double sum = 0;
  for (int64_t b = 0; b < samples; ++b) sum += parts[b * size];
  if (of_second) second.total.store(i, sum);
  else first.total.store(i, sum);
}

// Channels first ... of a view or a target.
inline PlaneView channels_of(PlaneView view, int first, int count) {
  const int bytes = view.dtype == Dtype::kFloat64 ? 8 : view.dtype == Dtype::kFloat32 ? 4 : 2;
  view.data = static_cast<const char*>(view.data) + first * view.channel * bytes;
  view.channels = count;
  return view;
}
inline PlaneTarget channels_of(PlaneTarget target, int first, int count) {
  target.first = first;
  target.channels = count;
  return target;
}

}  // namespace rpstn
