// Tiles, units and what a thread does with them: plane_tiles.cuh.

#include "cuda/dynamic_conv2d.cuh"

#include "cuda/launch.cuh"
#include "cuda/plane_tiles.cuh"
#include "cuda/ptx.cuh"

namespace rpstn {
namespace {

// Launch bounds name one block at least: without, ptxas spills a few registers to fit more of them.

// What a thread has to do with a block's planes: thread `lane` of plane `s`, units lane, lane + lanes ...
struct Lane {
  int s, lane;
  bool present;  // false for planes beyond the last, of which all pixels are zeros

  __device__ Lane(const PlaneTiles& tiles, int planes)
      : s(static_cast<int>(threadIdx.x / static_cast<unsigned>(tiles.lanes))),
        lane(static_cast<int>(threadIdx.x) - s * tiles.lanes), present(s < planes) {}
};

struct BlockTile {
  int64_t first;  // plane
  int planes;     // that exist
  int y, x;       // of the first result

  // Blocks count through [groups of planes][tiles_y][tiles_x].
  __device__ BlockTile(const PlaneTiles& tiles, int64_t all_planes, int64_t block) {
    auto group = static_cast<uint32_t>(block);
    x = y = 0;
    if (tiles.tiles_x > 1) {
      x = static_cast<int>(group % tiles.tiles_x) * tiles.unit_columns * kUnit;
      group /= tiles.tiles_x;
    }
    if (tiles.tiles_y > 1) {
      y = static_cast<int>(group % tiles.tiles_y) * tiles.unit_rows * kUnit;
      group /= tiles.tiles_y;
    }
    first = static_cast<int64_t>(group) * tiles.planes;
    planes = static_cast<int>(min(static_cast<int64_t>(tiles.planes), all_planes - first));
  }
};

// out[p,y,x] = sum_ij kernels[p,i,j] * features[p,y+i-pad_top,x+j-pad_left]
// Block: a tile of some planes. Thread: units of 4 x 4 results, one after the other.
// Shared: the tile's region of every plane, then its kernels.
// 7x7 in float: 784 multiply-adds of a thread for 30 vectors of pixels, 14 of taps. Expected, not measured: on sm_90 the
// read and the write of memory (15.6 us at 8x256x64x64 on an H200) and the multiply-adds (12.3 us) are bounds alike;
// the blocks that share a multiprocessor, 4 of 128 threads by the 113 registers that ptxas (13.0) takes, copy and compute
// at different times.
template <int kSize>
__global__ void __launch_bounds__(512, 1) dynamic_conv2d_kernel(
    DynamicConv2dShape shape, PlaneTiles tiles, bool flipped, bool async, PlaneView features, PlaneView kernels,
    PlaneTarget output) {  // [planes, out_height, out_width]
  auto* region = reinterpret_cast<float*>(shared_memory());
  float* weights = region + tiles.planes * tiles.region();
  const BlockTile at(tiles, shape.planes, blockIdx.x);
  const Lane mine(tiles, at.planes);
  const int height = static_cast<int>(shape.out_height), width = static_cast<int>(shape.out_width);
  load_region(
      features, at.first, at.planes, tiles.planes, at.y - static_cast<int>(shape.pad_top),
      at.x - static_cast<int>(shape.pad_left) - kShift<kSize>, tiles.region_rows, tiles.region_pitch, async, region);
  load_taps(kernels, at.first, at.planes, tiles.planes, flipped, 0, 0, tiles.window_h, tiles.window_w, weights);
  copies_ready(async);
  if (!mine.present) return;
  void* const plane = output.at(at.first + mine.s, height, width);
  UnitPlace place(mine.lane, tiles.unit_columns);
  for (int unit = mine.lane; unit < tiles.units(); unit += tiles.lanes, place.next(tiles)) {
    float sums[kUnit][kUnit] = {};
    correlate<kSize>(
        region + (mine.s * tiles.region_rows + place.row) * tiles.region_pitch + place.column, tiles.region_pitch,
        weights + mine.s * tiles.taps(), sums);
    if (at.x + place.column < width) {
      store_unit(plane, output.dtype, height, width, at.y + place.row, at.x + place.column, sums);
    }
  }
}

// The same for kernels of any size, one window of the kernel after the other. A thread has one unit.
template <typename acc_t>
__global__ void __launch_bounds__(256, 1) dynamic_conv2d_any_kernel(
    DynamicConv2dShape shape, PlaneTiles tiles, bool flipped, bool async, PlaneView features, PlaneView kernels,
    PlaneTarget output) {  // [planes, out_height, out_width]
  auto* region = reinterpret_cast<acc_t*>(shared_memory());
  acc_t* weights = region + tiles.planes * tiles.region();
  const BlockTile at(tiles, shape.planes, blockIdx.x);
  const Lane mine(tiles, at.planes);
  const int height = static_cast<int>(shape.out_height), width = static_cast<int>(shape.out_width);
  const int kernel_h = static_cast<int>(shape.kernel_h), kernel_w = static_cast<int>(shape.kernel_w);
  const auto [row, column] = UnitPlace(mine.lane, tiles.unit_columns);
  const bool active = mine.present && mine.lane < tiles.units();
  const acc_t* unit = region + (mine.s * tiles.region_rows + row) * tiles.region_pitch + column;
  acc_t sums[kUnit][kUnit] = {};
  for (int top = 0; top < kernel_h; top += kWindow) {
    for (int left = 0; left < kernel_w; left += kWindow) {
      __syncthreads();  // all have used the window before
      load_region(
          features, at.first, at.planes, tiles.planes, at.y + top - static_cast<int>(shape.pad_top),
          at.x + left - static_cast<int>(shape.pad_left), tiles.region_rows, tiles.region_pitch, async, region);
      load_taps(
          kernels, at.first, at.planes, tiles.planes, flipped, top, left, tiles.window_h, tiles.window_w, weights);
      copies_ready(async);
      if (!active) continue;
      const int rows = min(kWindow, kernel_h - top), columns = min(kWindow, kernel_w - left);
      for (int i = 0; i < rows; i += kPiece) {
        for (int j = 0; j < columns; j += kPiece) {
          correlate_piece(
              unit + i * tiles.region_pitch + j, tiles.region_pitch,
              weights + mine.s * tiles.taps() + i * tiles.window_w + j, tiles.window_w, rows - i, columns - j, sums);
        }
      }
    }
  }
  if (active && at.x + column < width) {
    void* const plane = output.at(at.first + mine.s, height, width);
    store_unit(plane, output.dtype, height, width, at.y + row, at.x + column, sums);
  }
}

template <typename acc_t>
struct Region {  // what load_region fills, and from where
  PlaneView view;
  int top, left, rows, pitch;
  acc_t* target;
};

// Two regions of the same planes, by one copy of the loads: a second made the backward kernel a third longer.
template <typename acc_t>
__device__ inline void load_both(
    const Region<acc_t>& one, const Region<acc_t>& other, int64_t first, int planes, int all_planes, bool async) {
#pragma unroll 1
  for (int which = 0; which < 2; ++which) {
    Region<acc_t> region = other;
    if (which == 0) region = one;
    load_region(
        region.view, first, planes, all_planes, region.top, region.left, region.rows, region.pitch, async, region.target);
  }
}

// grad_kernels[p,i,j] = sum_yx grad_out[p,y,x] * features[p,y+i-pad_top,x+j-pad_left], and if wanted
// grad_features[p,y,x] = sum_ij kernels[p,i,j] * grad_out[p,y-i+pad_top,x-j+pad_left], the operation itself with the
// kernel turned: both from one copy of features and grad_out in shared memory.
// Block: all tiles of some planes, one after the other. Thread: units of 4 x 4 pixels; it sums each tap over its units,
// sum_lanes and add_groups sum over threads, always in the same order.
// Shared: regions of features and of grad_out, whose tile begins (grad_y, grad_x + kShift) after its first pixel,
// kernels, the sums of groups of threads and those of all tiles.
// 7x7 in float: 1568 multiply-adds of a thread and unit, which bound it (25 us at 8x256x64x64 on an H200, expected, not
// measured; memory 21 us), for 60 vectors of pixels; adding up 49 sums costs 200 instructions each two units.
template <int kSize>
__global__ void __launch_bounds__(512, 1) dynamic_conv2d_backward_kernel(
    DynamicConv2dShape shape, PlaneTiles tiles, int grad_y, int grad_x, bool async, PlaneView grad_out,
    PlaneView features, PlaneView kernels,
    PlaneTarget grad_features,  // [planes, height, width], or no data
    PlaneTarget grad_kernels) {  // [planes, kSize, kSize]
  constexpr int kTaps = kSize * kSize;
  auto* region = reinterpret_cast<float*>(shared_memory());
  float* grad = region + tiles.planes * tiles.region();
  float* weights = grad + tiles.planes * tiles.region();
  float* groups = weights + tiles.planes * tiles.taps();
  float* total = groups + tiles.threads() / min(tiles.lanes, 32) * kTaps;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * tiles.planes;
  const int planes = static_cast<int>(min(static_cast<int64_t>(tiles.planes), shape.planes - first));
  const Lane mine(tiles, planes);
  const int height = static_cast<int>(shape.height), width = static_cast<int>(shape.width);
  const bool together = (grad_x + kShift<kSize>) % 4 == 0;
  void* const plane_of_features = grad_features.at(first + mine.s, height, width);
  for (int n = threadIdx.x; n < tiles.planes * kTaps; n += blockDim.x) total[n] = 0;
  if (grad_features.data != nullptr) {
    load_taps(kernels, first, planes, tiles.planes, true, 0, 0, kSize, kTapPitch<kSize>, weights);
  }
  for (int tile = 0; tile < tiles.tiles_y * tiles.tiles_x; ++tile) {
    const int y0 = tile / tiles.tiles_x * tiles.unit_rows * kUnit;
    const int x0 = tile % tiles.tiles_x * tiles.unit_columns * kUnit;
    __syncthreads();  // all have used the tile before
    load_both<float>(
        {features, y0 - static_cast<int>(shape.pad_top), x0 - static_cast<int>(shape.pad_left) - kShift<kSize>,
         tiles.region_rows, tiles.region_pitch, region},
        {grad_out, y0 - grad_y, x0 - grad_x - kShift<kSize>, tiles.region_rows, tiles.region_pitch, grad}, first, planes,
        tiles.planes, async);
    copies_ready(async);
    if (grad_features.data != nullptr && mine.present) {
      UnitPlace place(mine.lane, tiles.unit_columns);
      for (int unit = mine.lane; unit < tiles.units(); unit += tiles.lanes, place.next(tiles)) {
        const auto [row, column] = place;
        float sums[kUnit][kUnit] = {};
        correlate<kSize>(
            grad + (mine.s * tiles.region_rows + row) * tiles.region_pitch + column, tiles.region_pitch,
            weights + mine.s * tiles.taps(), sums);
        if (x0 + column < width) {
          store_unit(plane_of_features, grad_features.dtype, height, width, y0 + row, x0 + column, sums);
        }
      }
    }
    float sums[kTaps] = {};
    UnitPlace at(mine.lane, tiles.unit_columns);
    for (int unit = mine.lane; unit < tiles.units(); unit += tiles.lanes, at.next(tiles)) {
      const auto [row, column] = at;
      const int place = (mine.s * tiles.region_rows + row) * tiles.region_pitch + column;
      float pixels[kUnit][kUnit];
      read_unit(
          grad + place + grad_y * tiles.region_pitch + grad_x + kShift<kSize>, tiles.region_pitch, together, pixels);
      kernel_gradient<kSize, kShift<kSize>>(region + place, tiles.region_pitch, pixels, sums);
    }
    const int lanes = min(tiles.lanes, 32), group = static_cast<int>(threadIdx.x) / lanes;
    sum_lanes(sums, lanes, 0, kTaps, [&](int index, float sum) { groups[group * kTaps + index] = sum; });
    __syncthreads();
    add_groups(tiles, planes, kTaps, groups, [&](int s, int index, float sum) { total[s * kTaps + index] += sum; });
  }
  __syncthreads();
  for (int n = threadIdx.x; n < planes * kTaps; n += blockDim.x) {
    const int64_t plane = first + n / kTaps;
    const int tap = n % kTaps;
    store_element(
        grad_kernels.data, grad_kernels.dtype, grad_kernels.plane(plane) * kTaps + tap,
        finite_or_existing(
            total[n], shape, features, plane, tap / kSize, tap % kSize, PixelsOf<float>{grad_out, plane}));
  }
}

// grad_kernels for kernels of any size, one window of the kernel after the other and in it pieces of 4 x 4 taps. A
// thread has one unit. Shared: as above; the tile of grad_out has nothing around it.
template <typename acc_t>
__global__ void __launch_bounds__(256, 1) dynamic_conv2d_kernel_gradient_kernel(
    DynamicConv2dShape shape, PlaneTiles tiles, bool async, PlaneView grad_out, PlaneView features,
    PlaneTarget grad_kernels) {  // [planes, kernel_h, kernel_w]
  constexpr int kTaps = kPiece * kPiece;
  const int grad_rows = tiles.unit_rows * kUnit, grad_pitch = tiles.unit_columns * kUnit;
  auto* region = reinterpret_cast<acc_t*>(shared_memory());
  acc_t* grad = region + tiles.planes * tiles.region();
  acc_t* groups = grad + tiles.planes * grad_rows * grad_pitch;
  acc_t* total = groups + tiles.threads() / min(tiles.lanes, 32) * kTaps;  // [planes][window_h][window_w]
  const int64_t first = static_cast<int64_t>(blockIdx.x) * tiles.planes;
  const int planes = static_cast<int>(min(static_cast<int64_t>(tiles.planes), shape.planes - first));
  const Lane mine(tiles, planes);
  const int kernel_h = static_cast<int>(shape.kernel_h), kernel_w = static_cast<int>(shape.kernel_w);
  const auto [row, column] = UnitPlace(mine.lane, tiles.unit_columns);
  const int lanes = min(tiles.lanes, 32), group = static_cast<int>(threadIdx.x) / lanes;
  for (int top = 0; top < kernel_h; top += kWindow) {
    for (int left = 0; left < kernel_w; left += kWindow) {
      const int window_h = min(kWindow, kernel_h - top), window_w = min(kWindow, kernel_w - left);
      for (int n = threadIdx.x; n < tiles.planes * tiles.taps(); n += blockDim.x) total[n] = 0;
      for (int tile = 0; tile < tiles.tiles_y * tiles.tiles_x; ++tile) {
        const int y0 = tile / tiles.tiles_x * grad_rows, x0 = tile % tiles.tiles_x * grad_pitch;
        __syncthreads();  // all have used the tile before
        load_both<acc_t>(
            {features, y0 + top - static_cast<int>(shape.pad_top), x0 + left - static_cast<int>(shape.pad_left),
             tiles.region_rows, tiles.region_pitch, region},
            {grad_out, y0, x0, grad_rows, grad_pitch, grad}, first, planes, tiles.planes, async);
        copies_ready(async);
        const bool active = mine.lane < tiles.units();
        acc_t pixels[kUnit][kUnit] = {};
        if (active) {
          read_unit(grad + (mine.s * grad_rows + row) * grad_pitch + column, grad_pitch, true, pixels);
        }
        for (int i = 0; i < window_h; i += kPiece) {
          for (int j = 0; j < window_w; j += kPiece) {
            acc_t sums[kTaps] = {};
            if (active) {
              kernel_gradient<kPiece, 0>(
                  region + (mine.s * tiles.region_rows + row + i) * tiles.region_pitch + column + j,
                  tiles.region_pitch, pixels, sums);
            }
            sum_lanes(sums, lanes, 0, kTaps, [&](int index, acc_t sum) { groups[group * kTaps + index] = sum; });
            __syncthreads();
            add_groups(tiles, planes, kTaps, groups, [&](int s, int index, acc_t sum) {
              total[s * tiles.taps() + (i + index / kPiece) * tiles.window_w + j + index % kPiece] += sum;
            });
            __syncthreads();
          }
        }
      }
      for (int n = threadIdx.x; n < planes * window_h * window_w; n += blockDim.x) {
        const int s = n / (window_h * window_w), i = n / window_w % window_h, j = n % window_w;
        store_element(
            grad_kernels.data, grad_kernels.dtype,
            (grad_kernels.plane(first + s) * kernel_h + top + i) * kernel_w + left + j,
            finite_or_existing(
                total[s * tiles.taps() + i * tiles.window_w + j], shape, features, first + s, top + i, left + j,
                PixelsOf<acc_t>{grad_out, first + s}));
      }
      __syncthreads();
    }
  }
}

// A tile of 64 x 64 results. A compiled kernel's thread takes two units, which halves what it costs to add up sums.
constexpr int kUnits = 256;

// Units of a thread, forward. Four of them halve what each warp does once for its plane, a sixth of all instructions of
// 7x7 on 64x64, where planes fill the device and shared memory holds four blocks of two; no sum depends on it.
int forward_units(const DynamicConv2dShape& shape, const DeviceLimits& limits) {
  constexpr int kRoom = 160 * 1024, kPlanesOfMultiprocessor = 8;
  const bool many = shape.planes >= int64_t(kPlanesOfMultiprocessor) * limits.multiprocessors;
  return tuned("plane_units_of_thread", many && limits.shared_memory_per_block >= kRoom ? 4 : 2);
}

// A warp's read of channels_last takes 32 bytes of each pixel, where they fit into shared memory.
constexpr int kPlanesOfChannelsLast = 8;

// Neighbouring channels of a block share the sectors of memory that hold them.
int wanted_planes(const PlaneView& a, const PlaneView& b) {
  return a.channels_last() || b.channels_last() ? kPlanesOfChannelsLast : 1;
}

}  // namespace

void launch_dynamic_conv2d(
    const DynamicConv2dShape& shape, bool flipped, const PlaneView& features, const PlaneView& kernels,
    const PlaneTarget& output, cudaStream_t stream) {
  if (shape.planes == 0) return;
  const Dtype dtype = output.dtype;
  const auto limits = device_limits();
  const bool async = limits.architecture >= 80;
  const int size = compiled_size(shape, dtype), bytes_of_sum = dtype == Dtype::kFloat64 ? 8 : 4;
  const auto bytes = [&](const PlaneTiles& t) -> int64_t { return t.planes * (t.region() + t.taps()) * bytes_of_sum; };
  const TileWish wish = {shape.out_height, shape.out_width, shape.kernel_h, shape.kernel_w, size,
                         wanted_planes(features, features), kUnits, size == 0 ? 1 : forward_units(shape, limits),
                         size == 0 ? 256 : 512};
  const auto tiles = divide_planes(wish, limits.shared_memory_per_block, bytes);
  const Launch how = {
      dim3(ceil_div(shape.planes, tiles.planes) * tiles.tiles()), dim3(tiles.threads()), stream, bytes(tiles)};
  if (size == 0) {
    with_sums(dtype, [&](auto sum) {
      launch("dynamic_conv2d", how, dynamic_conv2d_any_kernel<decltype(sum)>, shape, tiles, flipped, async, features,
             kernels, output);
    });
  } else {
    with_size(size, [&](auto kSize) {
      launch("dynamic_conv2d", how, dynamic_conv2d_kernel<kSize.value>, shape, tiles, flipped, async, features,
             kernels, output);
    });
  }
}

void launch_dynamic_conv2d_backward(
    const DynamicConv2dShape& shape, const PlaneView& grad_out, const PlaneView& features, const PlaneView& kernels,
    const PlaneTarget& grad_features, const PlaneTarget& grad_kernels, cudaStream_t stream) {
  if (shape.planes == 0) return;
  const Dtype dtype = grad_kernels.dtype;
  const int size = compiled_size(shape, dtype);
  // Rows and columns of grad_out before a pixel of features, with which the turned kernel begins.
  const int64_t before_y = shape.kernel_h - 1 - shape.pad_top, before_x = shape.kernel_w - 1 - shape.pad_left;
  const bool at_once = size != 0 && grad_kernels.data != nullptr && before_y >= 0 && before_x >= 0;
  if (grad_features.data != nullptr && !at_once) {
    const DynamicConv2dShape turned = {shape.planes, shape.out_height, shape.out_width, shape.kernel_h, shape.kernel_w,
                                       before_y, before_x, shape.height, shape.width};
    launch_dynamic_conv2d(turned, true, grad_out, kernels, grad_features, stream);
  }
  if (grad_kernels.data == nullptr) return;
  const auto limits = device_limits();
  const bool async = limits.architecture >= 80;
  const int bytes_of_sum = dtype == Dtype::kFloat64 ? 8 : 4;
  const auto groups = [](const PlaneTiles& t) { return t.threads() / std::min(t.lanes, 32); };
  const auto blocks = [&](const PlaneTiles& t) { return dim3(ceil_div(shape.planes, t.planes)); };
  const int wanted = wanted_planes(features, grad_out);
  if (size == 0) {
    const auto bytes = [&](const PlaneTiles& t) -> int64_t {
      return (t.planes * (t.region() + t.units() * kUnit * kUnit + t.taps()) + groups(t) * kPiece * kPiece) *
             bytes_of_sum;
    };
    const TileWish wish = {shape.out_height, shape.out_width, shape.kernel_h, shape.kernel_w, 0, wanted, kUnits, 1, 256};
    const auto tiles = divide_planes(wish, limits.shared_memory_per_block, bytes);
    with_sums(dtype, [&](auto sum) {
      launch("dynamic_conv2d_backward", {blocks(tiles), dim3(tiles.threads()), stream, bytes(tiles)},
             dynamic_conv2d_kernel_gradient_kernel<decltype(sum)>, shape, tiles, async, grad_out, features,
             grad_kernels);
    });
    return;
  }
  const auto bytes = [&](const PlaneTiles& t) -> int64_t {
    return (t.planes * (2 * t.region() + t.taps() + size * size) + groups(t) * size * size) * bytes_of_sum;
  };
  const TileWish wish = {std::max(shape.out_height, shape.height), std::max(shape.out_width, shape.width),
                         shape.kernel_h, shape.kernel_w, size, wanted, kUnits, 2, 512};
  const auto tiles = divide_planes(wish, limits.shared_memory_per_block, bytes);
  with_size(size, [&](auto kSize) {
    launch("dynamic_conv2d_backward", {blocks(tiles), dim3(tiles.threads()), stream, bytes(tiles)},
           dynamic_conv2d_backward_kernel<kSize.value>, shape, tiles, at_once ? static_cast<int>(before_y) : 0,
           at_once ? static_cast<int>(before_x) : 0, async, grad_out, features, kernels,
           at_once ? grad_features : PlaneTarget{}, grad_kernels);
  });
}

}  // namespace rpstn
