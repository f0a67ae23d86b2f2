#pragma once

// The fused backward kernel of dynamic_match.cu.

#include <algorithm>
#include <cstdint>

#include "cuda/dynamic_match.cuh"
#include "cuda/plane_tiles.cuh"
#include "cuda/plane_view.cuh"
#include "cuda/ptx.cuh"

namespace rpstn {

constexpr int kThreads = 256;

// With G[b,c] = sum_k weight[k,c] * grad_out[b,k], the gradient of what the kernels gave, made where it is needed:
// grad_features and grad_kernels are those of dynamic_conv2d for G, and
// weight_parts[b,k,c] = sum_yx grad_out[b,k,y,x] * conv(features[b,c], kernels[b,c])[y,x], computed again.
// Block: some channels of a sample, one tile after the other. Thread: a unit of 4 x 4 pixels of one channel; for G and
// for weight_parts 4 neighbouring pixels of 4 channels.
// Expected, not measured: multiply-adds bound it, 3 * 49 + 2 * K and the region's rim of each pixel and channel of 7x7.
constexpr int kMixChannels = 4, kMixJoints = 4;

// What of shared memory a block needs, in floats, one after the other; and its channels, whole groups of kMixChannels.
struct BackwardMemory {
  int regions, grads, matched, turned, taps, groups, kernel_total, weight, weight_total, all, channels;

  BackwardMemory() = default;
  BackwardMemory(const PlaneTiles& t, int joints, int size) {
    channels = static_cast<int>(round_up(t.planes, kMixChannels));
    regions = 0;
    grads = regions + channels * t.region();
    matched = grads + channels * t.region();
    turned = matched + channels * t.units() * kUnit * kUnit;
    taps = turned + channels * t.taps();
    weight = taps + channels * t.taps();
    groups = weight + channels * joints;
    const int of_taps = t.threads() / std::min(t.lanes, 32) * size * size;
    const int of_weights = t.threads() / 32 * kMixChannels * kMixJoints;
    kernel_total = groups + std::max(of_taps, of_weights);
    weight_total = kernel_total + channels * size * size;
    all = weight_total + channels * joints;
  }
};

// Pixels (y, x) ... (y, x + 3) of joints first ... of a sample's grad_out, zeros outside; the last joint again for
// joints that there are not. All are on their way together.
template <typename scalar_t, int kCount>
__device__ inline void load_joints_of(
    const PlaneView& grad_out, int64_t place, int last, int y, int x, float (&values)[kCount][4]) {
  const bool inside = y >= 0 && y < grad_out.height;
  const auto* data = static_cast<const scalar_t*>(grad_out.data) + place + y * grad_out.row;
  if (grad_out.quads && x % 4 == 0) {
    const bool present = inside && x >= 0 && x < grad_out.width;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) values[k][i] = 0;
      if (present) load_four<scalar_t>(data, min(k, last) * grad_out.channel + x, values[k]);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bool present = inside && x + i >= 0 && x + i < grad_out.width;
    const auto* pixel = data + (x + i) * grad_out.column;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      values[k][i] = present ? to_acc(*pixel) : 0.0f;
      if (k < last) pixel += grad_out.channel;
    }
  }
}

template <int kCount>
__device__ inline void load_joints(
    const PlaneView& grad_out, int64_t b, int first, int y, int x, float (&values)[kCount][4]) {
  const int64_t place = b * grad_out.sample + first * grad_out.channel;
  const int last = grad_out.channels - 1 - first;
  switch (grad_out.dtype) {
    case Dtype::kFloat32: return load_joints_of<float>(grad_out, place, last, y, x, values);
    case Dtype::kFloat16: return load_joints_of<__half>(grad_out, place, last, y, x, values);
    default: return load_joints_of<__nv_bfloat16>(grad_out, place, last, y, x, values);
  }
}

template <int kSize>
__global__ void __launch_bounds__(kThreads, 2) dynamic_match_backward_kernel(
    MatchShape shape, PlaneTiles tiles, BackwardMemory at, int grad_y, int grad_x, bool async, PlaneView grad_out,
    PlaneView features, PlaneView kernels,
    Parameter weight,                    // [K, C]
    PlaneTarget grad_features,           // [B, C, height, width], or no data
    PlaneTarget grad_kernels,            // [B, C, kSize, kSize], or no data
    float* __restrict__ weight_parts) {  // [B, K, C], or null
  constexpr int kTaps = kSize * kSize;
  auto* memory = reinterpret_cast<float*>(shared_memory());
  const int joints = static_cast<int>(shape.joints), channels = static_cast<int>(shape.channels);
  const int groups_of_channels = ceil_div(channels, tiles.planes);
  const int64_t b = blockIdx.x / groups_of_channels;
  const int c0 = static_cast<int>(blockIdx.x % groups_of_channels) * tiles.planes;
  const int planes = min(tiles.planes, channels - c0), padded = at.channels;
  const int64_t first = b * channels + c0;
  const int thread = threadIdx.x, threads = tiles.threads();
  const int s = thread / tiles.lanes, unit = thread % tiles.lanes;
  const bool active = unit < tiles.units();
  const auto [row, column] = UnitPlace(unit, tiles.unit_columns);
  const int place = (s * tiles.region_rows + row) * tiles.region_pitch + column;
  const int height = static_cast<int>(shape.plane.height), width = static_cast<int>(shape.plane.width);
  const int tile_rows = tiles.unit_rows * kUnit, tile_columns = tiles.unit_columns * kUnit;
  const bool need_grads = grad_features.data != nullptr || grad_kernels.data != nullptr;

  load_taps(kernels, first, planes, padded, true, 0, 0, kSize, kTapPitch<kSize>, memory + at.turned);
  load_taps(kernels, first, planes, padded, false, 0, 0, kSize, kTapPitch<kSize>, memory + at.taps);
  for (int n = thread; n < joints * padded; n += threads) {  // [K][padded]
    const int k = n / padded, c = n % padded;
    memory[at.weight + n] = c < planes ? weight.at<float>(static_cast<int64_t>(k) * channels + c0 + c) : 0.0f;
    memory[at.weight_total + n] = 0;
  }
  for (int n = thread; n < padded * kTaps; n += threads) memory[at.kernel_total + n] = 0;

  for (int tile = 0; tile < tiles.tiles_y * tiles.tiles_x; ++tile) {
    const int y0 = tile / tiles.tiles_x * tile_rows, x0 = tile % tiles.tiles_x * tile_columns;
    __syncthreads();  // all have used the tile before
    load_region(
        features, first, planes, tiles.planes, y0 - static_cast<int>(shape.plane.pad_top),
        x0 - static_cast<int>(shape.plane.pad_left) - kShift<kSize>, tiles.region_rows, tiles.region_pitch, async,
        memory + at.regions);
    if (need_grads) {
      for_block(padded / kMixChannels, tiles.region_rows, tiles.region_pitch / 4, [&](int group, int r, int quad) {
        float sums[kMixChannels][4] = {};
#pragma unroll 1
        for (int k0 = 0; k0 < joints; k0 += kMixJoints) {
          float grads[kMixJoints][4];
          load_joints(grad_out, b, k0, y0 - grad_y + r, x0 - grad_x - kShift<kSize> + 4 * quad, grads);
#pragma unroll
          for (int k = 0; k < kMixJoints; ++k) {
            if (k0 + k >= joints) continue;
            float four[kMixChannels];
            read_four(memory + at.weight + (k0 + k) * padded + group * kMixChannels, four);
#pragma unroll
            for (int c = 0; c < kMixChannels; ++c) {
#pragma unroll
              for (int i = 0; i < 4; ++i) sums[c][i] += four[c] * grads[k][i];
            }
          }
        }
#pragma unroll
        for (int c = 0; c < kMixChannels; ++c) {
          store_four<float>(
              memory + at.grads,
              ((group * kMixChannels + c) * tiles.region_rows + r) * tiles.region_pitch + 4 * quad, sums[c]);
        }
      });
    }
    copies_ready(async);
    if (grad_features.data != nullptr && active && s < planes && x0 + column < width) {
      float sums[kUnit][kUnit] = {};
      correlate<kSize>(memory + at.grads + place, tiles.region_pitch, memory + at.turned + s * tiles.taps(), sums);
      void* const plane = grad_features.at(first + s, height, width);
      store_unit(plane, grad_features.dtype, height, width, y0 + row, x0 + column, sums);
    }
    if (grad_kernels.data != nullptr) {
      float sums[kTaps] = {};
      if (active) {
        float pixels[kUnit][kUnit];
        read_unit(
            memory + at.grads + place + grad_y * tiles.region_pitch + grad_x + kShift<kSize>, tiles.region_pitch,
            (grad_x + kShift<kSize>) % 4 == 0, pixels);
        kernel_gradient<kSize, kShift<kSize>>(memory + at.regions + place, tiles.region_pitch, pixels, sums);
      }
      const int lanes = min(tiles.lanes, 32), group = thread / lanes;
      sum_lanes(sums, lanes, 0, kTaps, [&](int n, float sum) { memory[at.groups + group * kTaps + n] = sum; });
      __syncthreads();
      add_groups(tiles, planes, kTaps, memory + at.groups, [&](int plane, int n, float sum) {
        memory[at.kernel_total + plane * kTaps + n] += sum;
      });
    }
    if (weight_parts == nullptr) continue;
    if (active) {
      float sums[kUnit][kUnit] = {};
      correlate<kSize>(memory + at.regions + place, tiles.region_pitch, memory + at.taps + s * tiles.taps(), sums);
      float* target = memory + at.matched + s * tiles.units() * kUnit * kUnit + row * tile_columns + column;
#pragma unroll
      for (int y = 0; y < kUnit; ++y) store_four<float>(target, y * tile_columns, sums[y]);
    }
    for (int c = 0; c < tiles.planes; c += kMixChannels) {
#pragma unroll 1
      for (int k0 = 0; k0 < joints; k0 += kMixJoints) {
        constexpr int kSums = kMixChannels * kMixJoints;
        __syncthreads();  // what was matched is there; the groups' sums before are done with
        float sums[kSums] = {};
        for (int quad = thread; quad < tiles.units() * kUnit; quad += threads) {
          float pixels[kMixChannels][4];
#pragma unroll
          for (int i = 0; i < kMixChannels; ++i) {
            const int plane = min(c + i, tiles.planes - 1);
            read_four(memory + at.matched + (plane * tiles.units() * kUnit + quad) * 4, pixels[i]);
          }
          const auto [y, x] = UnitPlace(quad, tiles.unit_columns);  // of quads: 4 columns, but 1 row
          float grads[kMixJoints][4];
          load_joints(grad_out, b, k0, y0 + y / kUnit, x0 + x, grads);
#pragma unroll
          for (int j = 0; j < kMixJoints; ++j) {
#pragma unroll
            for (int i = 0; i < kMixChannels; ++i) {
#pragma unroll
              for (int n = 0; n < 4; ++n) sums[j * kMixChannels + i] += grads[j][n] * pixels[i][n];
            }
          }
        }
        sum_lanes(sums, 32, 0, kSums, [&](int n, float sum) { memory[at.groups + thread / 32 * kSums + n] = sum; });
        __syncthreads();
        for (int n = thread; n < kSums; n += threads) {
          const int k = k0 + n / kMixChannels, plane = c + n % kMixChannels;
          if (k >= joints || plane >= planes) continue;
          float sum = 0;
#pragma unroll 1  // four at once would cost registers that the loops of taps need
          for (int warp = 0; warp < threads / 32; ++warp) sum += memory[at.groups + warp * kSums + n];
          memory[at.weight_total + plane * joints + k] += sum;
        }
      }
    }
  }
  __syncthreads();
  if (grad_kernels.data != nullptr) {
    for (int n = thread; n < planes * kTaps; n += threads) {
      const int plane = n / kTaps, tap = n % kTaps;
      const float sum = finite_or_existing(
          memory[at.kernel_total + n], shape.plane, features, first + plane, tap / kSize, tap % kSize,
          [&](int y, int x) {
            float mixed = 0;
            for (int k = 0; k < joints; ++k) {
              mixed += weight.at<float>(static_cast<int64_t>(k) * channels + c0 + plane) *
                       PixelsOf<float>{grad_out, b * joints + k}(y, x);
            }
            return mixed;
          });
      store_element(grad_kernels.data, grad_kernels.dtype, grad_kernels.plane(first + plane) * kTaps + tap, sum);
    }
  }
  if (weight_parts != nullptr) {
    for (int n = thread; n < planes * joints; n += threads) {
      const int k = n / planes, c = n % planes;
      weight_parts[(b * joints + k) * channels + c0 + c] = memory[at.weight_total + c * joints + k];
    }
  }
}

}  // namespace rpstn
