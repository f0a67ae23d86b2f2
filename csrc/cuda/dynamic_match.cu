// Tiles, units and what a thread does with them: plane_tiles.cuh. Kernels of 7x7, 5x5 and 3x3 in float are fused here:
// nothing of the size of features is ever in memory. Everything else goes a few channels at a time through
// dynamic_conv2d and the steps of dynamic_match_parts.cuh.

#include "cuda/dynamic_match.cuh"

#include "cuda/dynamic_conv2d.cuh"
#include "cuda/dynamic_match_parts.cuh"
#include "cuda/launch.cuh"
#include "cuda/plane_tiles.cuh"
#include "cuda/ptx.cuh"

namespace rpstn {
namespace {

constexpr int kThreads = 256;

// --- Fused forward ---

// A tile of units, 32 at most. Of a step's `channels` each has its threads, one a unit; then of all these channels each
// thread mixes 4 pixels into `joints` joints, of `parts` such groups. A cluster's blocks share the channels of a tile.
struct MatchTiles {
  int unit_rows, unit_columns, tiles_y, tiles_x, channels, parts, joints, cluster, region_rows, region_pitch, tap_count;

  __host__ __device__ int units() const { return unit_rows * unit_columns; }
  __host__ __device__ int quads() const { return units() * kUnit; }
  __host__ __device__ int mixed() const { return parts * joints; }
  __host__ __device__ int region() const { return channels * region_rows * region_pitch; }
  __host__ __device__ int taps() const { return channels * tap_count; }
  // Regions, matched pixels, taps and weights; or at the end the sums.
  int64_t bytes() const {
    const int64_t work = channels * quads() * 4 + 2 * (region() + taps() + channels * mixed());
    return 4 * std::max<int64_t>(work, mixed() * quads() * 4);
  }
};

// M[b,k,y,x] = bias[k] + sum_c weight[k,c] * sum_ij kernels[b,c,i,j] * features[b,c,y+i-pad_top,x+j-pad_left]
// Cluster: a tile of one sample. Block: its part of the channels, some of them at a time: copies their regions (the next
// ones while it works on these), correlates, a thread a unit of a channel, and mixes, a thread 4 pixels and kJoints
// joints. At the end the cluster's sums are added in the order of its blocks.
// Expected, not measured: multiply-adds bound it, 49 + K of each pixel and channel of 7x7, 17 us at 8x256x64x64 and
// K = 13 on an H200 (memory 8 us).
template <int kSize, int kJoints>
__global__ void __launch_bounds__(kThreads, kJoints <= 8 ? 2 : 1) dynamic_match_kernel(
    MatchShape shape, MatchTiles tiles, bool async, PlaneView features, PlaneView kernels,
    const float* __restrict__ weight,  // [K, C]
    const float* __restrict__ bias,    // [K]
    PlaneTarget output) {              // [B, K, out_height, out_width]
  auto* regions = reinterpret_cast<float*>(shared_memory());   // [2][channels][region_rows][region_pitch]
  float* matched = regions + 2 * tiles.region();               // [channels][quads][4]
  float* taps = matched + tiles.channels * tiles.quads() * 4;  // [2][channels][kSize][kTapPitch]
  float* weights = taps + 2 * tiles.taps();                    // [2][channels][parts][joints]
  const int thread = threadIdx.x, rank = static_cast<int>(blockIdx.x) % tiles.cluster;
  const uint32_t tile = blockIdx.x / tiles.cluster, tile_row = tile / tiles.tiles_x;
  const int x0 = static_cast<int>(tile % tiles.tiles_x) * tiles.unit_columns * kUnit;
  const int y0 = static_cast<int>(tile_row % tiles.tiles_y) * tiles.unit_rows * kUnit;
  const int64_t b = tile_row / tiles.tiles_y;
  const int channels = static_cast<int>(shape.channels), joints = static_cast<int>(shape.joints);
  const int first_joint = static_cast<int>(blockIdx.y) * tiles.mixed();
  const int steps_of_rank = static_cast<int>(ceil_div(ceil_div(channels, tiles.channels), tiles.cluster));
  const int begin = min(channels, rank * steps_of_rank * tiles.channels);
  const int end = min(channels, begin + steps_of_rank * tiles.channels);
  const int steps = static_cast<int>(ceil_div(end - begin, tiles.channels));

  const auto load_step = [&](int step) {
    const int c = begin + step * tiles.channels, count = min(tiles.channels, end - c), odd = step & 1;
    const int64_t first = b * channels + c;
    load_region(
        features, first, count, tiles.channels, y0 - static_cast<int>(shape.plane.pad_top),
        x0 - static_cast<int>(shape.plane.pad_left) - kShift<kSize>, tiles.region_rows, tiles.region_pitch, async,
        regions + odd * tiles.region());
    load_taps(
        kernels, first, count, tiles.channels, false, 0, 0, kSize, kTapPitch<kSize>, taps + odd * tiles.taps());
    for_block(1, tiles.channels, tiles.mixed(), [&](int, int s, int j) {
      const int k = first_joint + j;
      weights[(odd * tiles.channels + s) * tiles.mixed() + j] =
          s < count && k < joints ? weight[static_cast<int64_t>(k) * channels + c + s] : 0.0f;
    });
  };

  const int s = thread / tiles.units(), unit = thread % tiles.units();
  const auto [row, column] = UnitPlace(unit, tiles.unit_columns);
  const int part = thread / tiles.quads(), quad = thread % tiles.quads();
  float mixed[kJoints][4] = {};
  for (int step = -1; step < steps; ++step) {
    const int odd = step & 1;
    if (step >= 0) copies_ready(async);
    if (step + 1 < steps) load_step(step + 1);
    if (step < 0) continue;
    if (s < tiles.channels) {
      float sums[kUnit][kUnit] = {};
      correlate<kSize>(
          regions + odd * tiles.region() + (s * tiles.region_rows + row) * tiles.region_pitch + column,
          tiles.region_pitch, taps + odd * tiles.taps() + s * kSize * kTapPitch<kSize>, sums);
      float* target = matched + s * tiles.quads() * 4 + row * tiles.unit_columns * kUnit + column;
#pragma unroll
      for (int y = 0; y < kUnit; ++y) store_four<float>(target, y * tiles.unit_columns * kUnit, sums[y]);
    }
    __syncthreads();
    if (part < tiles.parts) {
      const float* w = weights + odd * tiles.channels * tiles.mixed() + part * tiles.joints;
      for (int c = 0; c < tiles.channels; ++c, w += tiles.mixed()) {
        float pixels[4];
        read_four(matched + (c * tiles.quads() + quad) * 4, pixels);
#pragma unroll
        for (int j = 0; j < kJoints; j += 4) {
          if (j >= tiles.joints) continue;
          float four[4];
          read_four(w + j, four);
#pragma unroll
          for (int k = 0; k < 4; ++k) {
#pragma unroll
            for (int x = 0; x < 4; ++x) mixed[j + k][x] += four[k] * pixels[x];
          }
        }
      }
    }
  }

  __syncthreads();  // what the sums overwrite is done with
  float* partial = regions;  // [parts][joints][quads][4]
#pragma unroll
  for (int j = 0; j < kJoints; ++j) {
    if (j < tiles.joints && part < tiles.parts) {
      store_four<float>(partial, ((part * tiles.joints + j) * tiles.quads() + quad) * 4, mixed[j]);
    }
  }
  if (tiles.cluster > 1) cluster_sync();
  else __syncthreads();
  const int height = static_cast<int>(shape.plane.out_height), width = static_cast<int>(shape.plane.out_width);
  for (int n = rank * kThreads + thread; n < tiles.mixed() * tiles.quads(); n += tiles.cluster * kThreads) {
    const int k = first_joint + n / tiles.quads(), q = n % tiles.quads();
    const int y = y0 + q / tiles.unit_columns, x = x0 + q % tiles.unit_columns * 4;
    if (k >= joints || y >= height || x >= width) continue;
    float sums[4] = {bias[k], bias[k], bias[k], bias[k]};
    for (int other = 0; other < tiles.cluster; ++other) {
      float values[4];
      read_four(static_cast<const float*>(tiles.cluster > 1 ? in_cluster(partial, other) : partial) + 4 * n, values);
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[i] += values[i];
    }
    store_row(output.data, output.dtype, ((b * joints + k) * height + y) * width + x, sums, width - x, width % 4 == 0);
  }
  if (tiles.cluster > 1) cluster_sync();  // nobody leaves while its sums are read
}

// Depends on the sizes of a sample and on the device, never on how many samples there are.
MatchTiles divide_match(const MatchShape& shape, int size, const DeviceLimits& limits) {
  // Without clusters one block has all channels of its tile: half the tile gives twice the blocks.
  const int64_t most = limits.has_clusters() ? 32 : 16, usual_columns = limits.has_clusters() ? 8 : 4;
  const int64_t across = std::max<int64_t>(1, ceil_div(shape.plane.out_width, kUnit));
  const int64_t down = std::max<int64_t>(1, ceil_div(shape.plane.out_height, kUnit));
  MatchTiles t = {};
  t.tiles_x = static_cast<int>(ceil_div(across, usual_columns));
  t.unit_columns = static_cast<int>(ceil_div(across, t.tiles_x));
  t.tiles_y = static_cast<int>(ceil_div(down, most / t.unit_columns));
  t.unit_rows = static_cast<int>(ceil_div(down, t.tiles_y));
  t.channels = static_cast<int>(std::min<int64_t>({kThreads / t.units(), 16, round_up(std::max<int64_t>(1, shape.channels), 4)}));
  t.parts = kThreads / t.quads();
  t.joints = static_cast<int>(std::min<int64_t>(16, round_up(ceil_div(shape.joints, t.parts), 4)));
  t.parts = static_cast<int>(std::min<int64_t>(t.parts, ceil_div(shape.joints, t.joints)));
  t.region_rows = t.unit_rows * kUnit + size - 1;
  t.region_pitch = t.unit_columns * kUnit + 8;
  if (t.unit_columns == 4) t.region_pitch += 4;  // rows of neighbouring units in other banks
  t.tap_count = static_cast<int>(size * round_up(size, 4));
  t.cluster = 1;
  while (limits.has_clusters() && t.cluster < 8 && shape.channels >= 4 * t.cluster * t.channels) t.cluster *= 2;
  while (t.channels > 1 && t.bytes() > limits.shared_memory_per_block) --t.channels;
  return t;
}

// --- Fused backward ---

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

// Pixels (y, x) ... (y, x + 3) of joints first ... of a sample's grad_out, zeros outside; the last joint again for joints
// that there are not. All are on their way together.
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
  for (int k = 0; k < kCount; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool present = inside && x + i >= 0 && x + i < grad_out.width;
      values[k][i] =
          present ? to_acc(data[min(k, last) * grad_out.channel + (x + i) * grad_out.column]) : 0.0f;
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
    const float* __restrict__ weight,    // [K, C]
    PlaneTarget grad_features,           // [B, C, height, width], or no data
    PlaneTarget grad_kernels,            // [B, C, kSize, kSize], or no data
    float* __restrict__ weight_parts) {  // [B, K, C], or null
  constexpr int kTaps = kSize * kSize;
  auto* memory = reinterpret_cast<float*>(shared_memory());
  const int joints = static_cast<int>(shape.joints), channels = static_cast<int>(shape.channels);
  const int groups_of_channels = static_cast<int>(ceil_div(channels, tiles.planes));
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
    memory[at.weight + n] = c < planes ? weight[static_cast<int64_t>(k) * channels + c0 + c] : 0.0f;
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
      store_unit(grad_features, grad_features.plane(first + s), height, width, y0 + row, x0 + column, sums);
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
      for (int k0 = 0; k0 < joints; k0 += kMixJoints) {
        constexpr int kSums = kMixChannels * kMixJoints;
        __syncthreads();  // what was matched is there; the groups' sums before are done with
        float sums[kSums] = {};
        for (int quad = thread; quad < tiles.units() * kUnit; quad += threads) {
          float pixels[kMixChannels][4];
#pragma unroll
          for (int i = 0; i < kMixChannels; ++i) {
            read_four(memory + at.matched + ((min(c + i, tiles.planes - 1)) * tiles.units() * kUnit + quad) * 4, pixels[i]);
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
          for (int warp = 0; warp < threads / 32; ++warp) sum += memory[at.groups + warp * kSums + n];
          memory[at.weight_total + plane * joints + k] += sum;
        }
      }
    }
  }
  __syncthreads();
  if (grad_kernels.data != nullptr) {
    for (int n = thread; n < planes * kTaps; n += threads) {
      const int64_t plane = grad_kernels.plane(first + n / kTaps);
      store_element(grad_kernels.data, grad_kernels.dtype, plane * kTaps + n % kTaps, memory[at.kernel_total + n]);
    }
  }
  if (weight_parts != nullptr) {
    for (int n = thread; n < planes * joints; n += threads) {
      const int k = n / planes, c = n % planes;
      weight_parts[(b * joints + k) * channels + c0 + c] = memory[at.weight_total + c * joints + k];
    }
  }
}

// --- A few channels at a time ---

// So many that their [B, channels, H, W] is a twentieth of that of all.
int64_t channels_at_once(const MatchShape& shape) { return std::max<int64_t>(1, shape.channels / 20); }

int64_t step_elements(const MatchShape& shape) {
  return shape.samples * std::min(channels_at_once(shape), shape.channels) * shape.plane.out_height * shape.plane.out_width;
}

bool is_double(Dtype dtype) { return dtype == Dtype::kFloat64; }

DynamicConv2dShape of_channels(const MatchShape& shape, int64_t channels) {
  auto plane = shape.plane;
  plane.planes = shape.samples * channels;
  return plane;
}

// Calls f(first, count) for the channels of each step.
template <typename Function>
void for_channels(const MatchShape& shape, Function&& f) {
  const int64_t at_once = channels_at_once(shape);
  for (int64_t first = 0; first < shape.channels; first += at_once) {
    f(static_cast<int>(first), static_cast<int>(std::min(at_once, shape.channels - first)));
  }
}

template <typename acc_t>
void match_in_steps(
    const MatchShape& shape, const PlaneView& features, const PlaneView& kernels, const acc_t* weight, const acc_t* bias,
    const PlaneTarget& output, acc_t* workspace, cudaStream_t stream) {
  const int joints = static_cast<int>(shape.joints), channels = static_cast<int>(shape.channels);
  const int64_t pixels = shape.plane.out_height * shape.plane.out_width;
  const bool in_output = is_double(output.dtype) || output.dtype == Dtype::kFloat32;
  acc_t* sums = in_output ? static_cast<acc_t*>(output.data) : workspace + step_elements(shape);
  const auto mix = [&](int first, int count) {
    launch("dynamic_match",
           {dim3(ceil_div(shape.samples * pixels, kStepThreads), ceil_div(joints, kStepJoints)), dim3(kStepThreads), stream},
           mix_kernel<acc_t>, shape.samples, pixels, joints, channels, first, count, first + count == channels, workspace,
           weight, bias, sums, output);
  };
  for_channels(shape, [&](int first, int count) {
    const PlaneTarget matched = {
        workspace, std::is_same_v<acc_t, double> ? Dtype::kFloat64 : Dtype::kFloat32, count, count, 0};
    launch_dynamic_conv2d(
        of_channels(shape, count), false, channels_of(features, first, count), channels_of(kernels, first, count),
        matched, stream);
    mix(first, count);
  });
  if (channels == 0) mix(0, 0);
}

template <typename acc_t>
void match_backward_in_steps(
    const MatchShape& shape, const PlaneView& grad_out, const PlaneView& features, const PlaneView& kernels,
    const acc_t* weight, const PlaneTarget& grad_features, const PlaneTarget& grad_kernels, acc_t* weight_parts,
    acc_t* workspace, cudaStream_t stream) {
  const int joints = static_cast<int>(shape.joints), channels = static_cast<int>(shape.channels);
  const int height = static_cast<int>(shape.plane.out_height), width = static_cast<int>(shape.plane.out_width);
  const int64_t pixels = static_cast<int64_t>(height) * width;
  constexpr Dtype kSums = std::is_same_v<acc_t, double> ? Dtype::kFloat64 : Dtype::kFloat32;
  for_channels(shape, [&](int first, int count) {
    const auto part = of_channels(shape, count);
    const auto f = channels_of(features, first, count), k = channels_of(kernels, first, count);
    if (grad_features.data != nullptr || grad_kernels.data != nullptr) {
      launch("dynamic_match_backward",
             {dim3(ceil_div(shape.samples * pixels, kStepThreads), ceil_div(count, kStepChannels)), dim3(kStepThreads),
              stream},
             unmix_kernel<acc_t>, shape.samples, joints, channels, first, count, grad_out, weight, workspace);
      const PlaneView unmixed = {workspace, kSums, count * pixels, pixels, width, 1, count, height, width,
                                 kSums == Dtype::kFloat32 && width % 4 == 0};
      launch_dynamic_conv2d_backward(
          part, unmixed, f, k, channels_of(grad_features, first, count), channels_of(grad_kernels, first, count), stream);
    }
    if (weight_parts != nullptr) {
      launch_dynamic_conv2d(part, false, f, k, {workspace, kSums, count, count, 0}, stream);
      launch("dynamic_match_backward",
             {dim3(shape.samples * count, ceil_div(joints, kStepJoints)), dim3(kStepThreads), stream,
              kStepThreads / 32 * kStepJoints * sizeof(acc_t)},
             weight_gradient_kernel<acc_t>, joints, channels, first, count, grad_out, workspace, weight_parts);
    }
  });
}

// --- Which way ---

constexpr int kMostFusedJoints = 64;  // of the backward kernel, which keeps weights of all of them in shared memory

struct BackwardWay {
  PlaneTiles tiles;
  BackwardMemory memory;
  int before_y, before_x;  // rows and columns of grad_out before a pixel of features, with which the turned kernel begins
  bool fused;
};

BackwardWay backward_way(const MatchShape& shape, int size, const DeviceLimits& limits) {
  BackwardWay way = {};
  const auto& p = shape.plane;
  if (size == 0 || p.pad_top >= size || p.pad_left >= size || shape.joints > kMostFusedJoints) return way;
  way.before_y = static_cast<int>(size - 1 - p.pad_top);
  way.before_x = static_cast<int>(size - 1 - p.pad_left);
  const auto bytes = [&](const PlaneTiles& t) -> int64_t {
    return 4 * BackwardMemory(t, static_cast<int>(shape.joints), size).all;
  };
  const TileWish wish = {std::max(p.out_height, p.height), std::max(p.out_width, p.width), size, size, size,
                         kThreads, 64, 1, kThreads};
  way.tiles = divide_planes(wish, limits.shared_memory_per_block, bytes);
  way.memory = BackwardMemory(way.tiles, static_cast<int>(shape.joints), size);
  way.fused = bytes(way.tiles) <= limits.shared_memory_per_block;
  return way;
}

}  // namespace

int64_t dynamic_match_workspace(const MatchShape& shape, Dtype dtype) {
  if (shape.samples * shape.joints == 0 || compiled_size(shape.plane, dtype) != 0) return 0;
  const bool half = dtype == Dtype::kFloat16 || dtype == Dtype::kBFloat16;
  const int64_t sums = shape.samples * shape.joints * shape.plane.out_height * shape.plane.out_width;
  return step_elements(shape) + (half ? sums : 0);
}

int64_t dynamic_match_backward_workspace(const MatchShape& shape, Dtype dtype, bool need_weight, bool need_bias) {
  const bool fused = backward_way(shape, compiled_size(shape.plane, dtype), device_limits()).fused;
  return shape.samples * shape.joints * ((need_weight ? shape.channels : 0) + (need_bias ? 1 : 0)) +
         (fused ? 0 : step_elements(shape));
}

void launch_dynamic_match(
    const MatchShape& shape, const PlaneView& features, const PlaneView& kernels, const void* weight, const void* bias,
    const PlaneTarget& output, void* workspace, cudaStream_t stream) {
  if (shape.samples * shape.joints == 0) return;
  const int size = compiled_size(shape.plane, output.dtype);
  if (size == 0) {
    with_sums(output.dtype, [&](auto sum) {
      using acc_t = decltype(sum);
      match_in_steps<acc_t>(
          shape, features, kernels, static_cast<const acc_t*>(weight), static_cast<const acc_t*>(bias), output,
          static_cast<acc_t*>(workspace), stream);
    });
    return;
  }
  const auto limits = device_limits();
  const auto tiles = divide_match(shape, size, limits);
  const Launch how = {
      dim3(shape.samples * tiles.tiles_y * tiles.tiles_x * tiles.cluster, ceil_div(shape.joints, tiles.mixed())),
      dim3(kThreads), stream, tiles.bytes(), tiles.cluster};
  const auto run = [&](auto* kernel) {
    launch("dynamic_match", how, kernel, shape, tiles, limits.architecture >= 80, features, kernels,
           static_cast<const float*>(weight), static_cast<const float*>(bias), output);
  };
  with_size(size, [&](auto kSize) {
    if (tiles.joints <= 8) run(dynamic_match_kernel<kSize.value, 8>);
    else run(dynamic_match_kernel<kSize.value, 16>);
  });
}

void launch_dynamic_match_backward(
    const MatchShape& shape, const PlaneView& grad_out, const PlaneView& features, const PlaneView& kernels,
    const void* weight, const PlaneTarget& grad_features, const PlaneTarget& grad_kernels, void* grad_weight,
    void* grad_bias, void* workspace, cudaStream_t stream) {
  with_sums(grad_kernels.dtype, [&](auto sum) {
    using acc_t = decltype(sum);
    const int joints = static_cast<int>(shape.joints);
    const auto limits = device_limits();
    const int size = compiled_size(shape.plane, grad_kernels.dtype);
    const auto way = backward_way(shape, size, limits);
    auto* steps = static_cast<acc_t*>(workspace);  // first, for its alignment
    auto* weight_parts = steps + (way.fused ? 0 : step_elements(shape));
    const int64_t weights = grad_weight != nullptr ? shape.joints * shape.channels : 0;
    auto* bias_parts = weight_parts + shape.samples * weights;
    if (grad_weight == nullptr) weight_parts = nullptr;
    const auto* w = static_cast<const acc_t*>(weight);
    if (shape.plane.planes == 0 || (grad_features.data == nullptr && grad_kernels.data == nullptr && weight_parts == nullptr)) {
    } else if (!way.fused) {
      match_backward_in_steps<acc_t>(
          shape, grad_out, features, kernels, w, grad_features, grad_kernels, weight_parts, steps, stream);
    } else if constexpr (std::is_same_v<acc_t, float>) {
      with_size(size, [&](auto kSize) {
        launch("dynamic_match_backward",
               {dim3(shape.samples * ceil_div(shape.channels, way.tiles.planes)), dim3(way.tiles.threads()), stream,
                4 * way.memory.all},
               dynamic_match_backward_kernel<kSize.value>, shape, way.tiles, way.memory, way.before_y, way.before_x,
               limits.architecture >= 80, grad_out, features, kernels, w, grad_features, grad_kernels, weight_parts);
      });
    }
    const auto add_samples = [&](const acc_t* parts, int64_t count, void* total) {
      launch("dynamic_match_backward", {dim3(ceil_div(count, kStepThreads)), dim3(kStepThreads), stream},
             add_samples_kernel<acc_t>, shape.samples, count, parts, static_cast<acc_t*>(total));
    };
    if (grad_weight != nullptr) add_samples(weight_parts, weights, grad_weight);
    if (grad_bias != nullptr) {
      launch("dynamic_match_backward",
             {dim3(shape.samples, ceil_div(joints, kStepJoints)), dim3(kStepThreads), stream,
              kStepThreads / 32 * kStepJoints * sizeof(acc_t)},
             weight_gradient_kernel<acc_t>, joints, 1, 0, 1, grad_out, static_cast<const acc_t*>(nullptr), bias_parts);
      add_samples(bias_parts, shape.joints, grad_bias);
    }
  });
}

}  // namespace rpstn
