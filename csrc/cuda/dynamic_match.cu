// Tiles, units and what a thread does with them: plane_tiles.cuh. Kernels of 7x7, 5x5 and 3x3 in float are fused here:
// nothing of the size of features is ever in memory. Everything else goes a few channels at a time through
// dynamic_conv2d and the steps of dynamic_match_parts.cuh.

#include "cuda/dynamic_match.cuh"

#include "cuda/dynamic_conv2d.cuh"
#include "cuda/dynamic_match_backward.cuh"
#include "cuda/dynamic_match_parts.cuh"
#include "cuda/launch.cuh"
#include "cuda/plane_tiles.cuh"
#include "cuda/ptx.cuh"

namespace rpstn {
namespace {

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
    Parameter weight,      // [K, C]
    Parameter bias,        // [K]
    PlaneTarget output) {  // [B, K, out_height, out_width]
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
  const int steps_of_rank = ceil_div(ceil_div(channels, tiles.channels), tiles.cluster);
  const int begin = min(channels, rank * steps_of_rank * tiles.channels);
  const int end = min(channels, begin + steps_of_rank * tiles.channels);
  const int steps = ceil_div(end - begin, tiles.channels);

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
          s < count && k < joints ? weight.at<float>(static_cast<int64_t>(k) * channels + c + s) : 0.0f;
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
    const float own = bias.at<float>(k);
    float sums[4] = {own, own, own, own};
    for (int other = 0; other < tiles.cluster; ++other) {
      float values[4];
      read_four(static_cast<const float*>(tiles.cluster > 1 ? in_cluster(partial, other) : partial) + 4 * n, values);
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[i] += values[i];
    }
    store_row(
        output.data, output.dtype, ((b * joints + k) * height + y) * width + x, sums, width - x, width % 4 == 0);
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
  const int64_t channels = round_up(std::max<int64_t>(1, shape.channels), 4);
  t.channels = static_cast<int>(std::min<int64_t>({kThreads / t.units(), 16, channels}));
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

// --- A few channels at a time ---

// So many that their [B, channels, H, W] is a twentieth of that of all, but no fewer than fill the device twice: a plane
// of 64 x 64 is a block of dynamic_conv2d, of which two share a multiprocessor. No sum depends on it: what is mixed is
// added channel after channel, and gradients are of one channel each.
int64_t channels_at_once(const MatchShape& shape) {
  constexpr int64_t kPixelsOfBlock = 64 * 64, kBlocks = 2 * 2;
  const int64_t pixels = shape.plane.out_height * shape.plane.out_width, of_plane = ceil_div(pixels, kPixelsOfBlock);
  const int64_t planes = ceil_div(kBlocks * device_limits().multiprocessors, std::max<int64_t>(1, of_plane));
  return std::max({shape.channels / 20, ceil_div(planes, std::max<int64_t>(1, shape.samples)), int64_t(1)});
}

int64_t step_elements(const MatchShape& shape) {
  const int64_t channels = std::min(channels_at_once(shape), shape.channels);
  return shape.samples * channels * shape.plane.out_height * shape.plane.out_width;
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
    const MatchShape& shape, const PlaneView& features, const PlaneView& kernels, const acc_t* weight,
    const acc_t* bias, const PlaneTarget& output, acc_t* workspace, cudaStream_t stream) {
  const int joints = static_cast<int>(shape.joints), channels = static_cast<int>(shape.channels);
  const int64_t pixels = shape.plane.out_height * shape.plane.out_width;
  const bool in_output = is_double(output.dtype) || output.dtype == Dtype::kFloat32;
  acc_t* sums = in_output ? static_cast<acc_t*>(output.data) : workspace + step_elements(shape);
  const auto mix = [&](int first, int count) {
    launch("dynamic_match",
           {dim3(ceil_div(shape.samples * pixels, kStepThreads), ceil_div(joints, kStepJoints)), dim3(kStepThreads),
            stream},
           mix_kernel<acc_t>, shape.samples, pixels, joints, channels, first, count, first + count == channels,
           workspace, weight, bias, sums, output);
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
          part, unmixed, f, k, channels_of(grad_features, first, count), channels_of(grad_kernels, first, count),
          stream);
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
  int before_y, before_x;  // rows and columns of grad_out before a pixel of features: the turned kernel begins there
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

bool dynamic_match_takes_any_weight(const MatchShape& shape, Dtype dtype) {
  return compiled_size(shape.plane, dtype) != 0;
}

bool dynamic_match_backward_takes_any_weight(const MatchShape& shape, Dtype dtype) {
  return backward_way(shape, compiled_size(shape.plane, dtype), device_limits()).fused;
}

void launch_dynamic_match(
    const MatchShape& shape, const PlaneView& features, const PlaneView& kernels, Parameter weight, Parameter bias,
    const PlaneTarget& output, void* workspace, cudaStream_t stream) {
  if (shape.samples * shape.joints == 0) return;
  const int size = compiled_size(shape.plane, output.dtype);
  if (size == 0) {
    with_sums(output.dtype, [&](auto sum) {
      using acc_t = decltype(sum);
      match_in_steps<acc_t>(
          shape, features, kernels, static_cast<const acc_t*>(weight.data), static_cast<const acc_t*>(bias.data), output,
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
           weight, bias, output);
  };
  with_size(size, [&](auto kSize) {
    if (tiles.joints <= 8) run(dynamic_match_kernel<kSize.value, 8>);
    else run(dynamic_match_kernel<kSize.value, 16>);
  });
}

void launch_dynamic_match_backward(
    const MatchShape& shape, const PlaneView& grad_out, const PlaneView& features, const PlaneView& kernels,
    Parameter weight, const PlaneTarget& grad_features, const PlaneTarget& grad_kernels, Target grad_weight,
    Target grad_bias, void* workspace, cudaStream_t stream) {
  with_sums(grad_kernels.dtype, [&](auto sum) {
    using acc_t = decltype(sum);
    const int joints = static_cast<int>(shape.joints);
    const auto limits = device_limits();
    const int size = compiled_size(shape.plane, grad_kernels.dtype);
    const auto way = backward_way(shape, size, limits);
    auto* steps = static_cast<acc_t*>(workspace);  // first, for its alignment
    auto* weight_parts = steps + (way.fused ? 0 : step_elements(shape));
    const int64_t weights = grad_weight.data != nullptr ? shape.joints * shape.channels : 0;
    auto* bias_parts = weight_parts + shape.samples * weights;
    if (grad_weight.data == nullptr) weight_parts = nullptr;
    const bool of_planes =
        shape.plane.planes > 0 &&
        (grad_features.data != nullptr || grad_kernels.data != nullptr || weight_parts != nullptr);
    if (of_planes && !way.fused) {
      match_backward_in_steps<acc_t>(
          shape, grad_out, features, kernels, static_cast<const acc_t*>(weight.data), grad_features, grad_kernels,
          weight_parts, steps, stream);
    }
    if constexpr (std::is_same_v<acc_t, float>) {
      if (of_planes && way.fused) with_size(size, [&](auto kSize) {
        launch("dynamic_match_backward",
               {dim3(shape.samples * ceil_div(shape.channels, way.tiles.planes)), dim3(way.tiles.threads()), stream,
                4 * way.memory.all},
               dynamic_match_backward_kernel<kSize.value>, shape, way.tiles, way.memory, way.before_y, way.before_x,
               limits.architecture >= 80, grad_out, features, kernels, weight, grad_features, grad_kernels, weight_parts);
      });
    }
    const int64_t biases = grad_bias.data != nullptr ? shape.joints : 0;
    if (biases > 0) {
      launch("dynamic_match_backward",
             {dim3(shape.samples, ceil_div(joints, kStepJoints)), dim3(kStepThreads), stream,
              kStepThreads / 32 * kStepJoints * sizeof(acc_t)},
             weight_gradient_kernel<acc_t>, joints, 1, 0, 1, grad_out, static_cast<const acc_t*>(nullptr), bias_parts);
    }
    launch("dynamic_match_backward", {dim3(ceil_div(weights + biases, kStepThreads)), dim3(kStepThreads), stream},
           add_samples_kernel<acc_t>, shape.samples, PartSums{weight_parts, weights, grad_weight},
           PartSums{bias_parts, biases, grad_bias});
  });
}

}  // namespace rpstn
