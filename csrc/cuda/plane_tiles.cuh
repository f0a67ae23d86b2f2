#pragma once

// What dynamic_conv2d and dynamic_match do in a block, on tiles of planes in shared memory:
//   correlate: out[y,x] = sum_ij weights[i,j] * region[y + i, x + j]
//   kernel_gradient: sums[i,j] = sum_yx grad[y,x] * region[y + i, x + j]
// A region is a tile with the pixels around it that its taps reach, zeros outside the plane, copied once.
// A unit is 4 x 4 results of a thread (or, of a gradient, 4 x 4 pixels that it adds to all taps): every row of 12 pixels
// that a thread reads from shared memory, 3 vectors, serves 4 x 4 x 7 multiply-adds of a 7 x 7 kernel, 26 for each read.
// Neighbouring threads read neighbouring vectors: no bank conflicts in planes of 32 columns and their multiples.
// Kernels of 7, 5 and 3 are compiled (kSize); any other (kSize 0) is cut into pieces of 4 x 4 taps.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cuda/launch.cuh"
#include "cuda/numbers.cuh"
#include "cuda/plane_view.cuh"
#include "cuda/ptx.cuh"
#include "dynamic_conv2d.h"

namespace rpstn {

constexpr int kUnit = 4;    // rows and columns of a unit
constexpr int kPiece = 4;   // rows and columns of a piece of a kernel of another size
constexpr int kWindow = 32; // at most so many rows and columns of such a kernel are in shared memory at once

// In the wider of the two types: a kernel's divisions of int stay short.
template <typename A, typename B>
__host__ __device__ constexpr std::common_type_t<A, B> ceil_div(A a, B b) {
  return (a + b - 1) / b;
}
__host__ __device__ constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Columns before the first that the first result reads. A quadruple of pixels in memory is one in shared memory, too,
// where the padding is that of "same": padding + kShift is a multiple of 4.
template <int kSize>
constexpr int kShift = kSize == 0 ? 0 : (4 - (kSize - 1) / 2 % 4) % 4;

// Elements between rows of a kernel in shared memory.
template <int kSize>
constexpr int kTapPitch = round_up(kSize, 4);

// --- The division of planes among blocks and threads ---

// The size of a compiled kernel, or 0.
inline int compiled_size(const DynamicConv2dShape& shape, Dtype dtype) {
  const bool square = shape.kernel_h == shape.kernel_w && dtype != Dtype::kFloat64;
  const int64_t size = shape.kernel_h;
  return square && (size == 7 || size == 5 || size == 3) ? static_cast<int>(size) : 0;
}

// Calls f(std::integral_constant<int, kSize>()) for a compiled size.
template <typename Function>
void with_size(int size, Function&& f) {
  switch (size) {
    case 7: return f(std::integral_constant<int, 7>());
    case 5: return f(std::integral_constant<int, 5>());
    case 3: return f(std::integral_constant<int, 3>());
  }
}

// A tile has unit_rows x unit_columns units, which its `lanes` threads take in turn: thread l units l, l + lanes ...
// The order of sums follows from it; it depends on the sizes of a plane alone. A block has the same tile of `planes`
// planes: more of them where they are small, or where neighbouring channels are neighbours in memory.
struct PlaneTiles {
  int unit_rows, unit_columns, tiles_y, tiles_x, lanes, planes;
  int window_h, window_w;  // rows and columns of the kernel in shared memory, whole pieces
  int region_rows, region_pitch;
  int next_row, next_column;  // from a unit of a thread to its next: rows and columns, of which one more may be a row's end

  __host__ __device__ int units() const { return unit_rows * unit_columns; }
  __host__ __device__ int region() const { return region_rows * region_pitch; }
  __host__ __device__ int taps() const { return window_h * window_w; }
  int64_t tiles() const { return static_cast<int64_t>(tiles_y) * tiles_x; }
  __host__ __device__ int threads() const { return planes * lanes; }
};

struct TileWish {
  int64_t rows, columns;      // of results
  int64_t kernel_h, kernel_w;
  int size;                   // compiled: 7, 5, 3; or 0
  int planes;                 // at least so many planes of a block, if they fit
  int units, units_of_lane;   // at most so many units of a tile, and of a thread
  int max_threads;
};

// `bytes(tiles)` is the shared memory that a block needs; it gets at most `limit`.
template <typename Bytes>
PlaneTiles divide_planes(const TileWish& wish, int64_t limit, Bytes&& bytes) {
  constexpr int kMostColumns = 24, kUsualColumns = 16;  // units across a tile
  const int64_t across = std::max<int64_t>(1, ceil_div(wish.columns, kUnit));
  const int64_t down = std::max<int64_t>(1, ceil_div(wish.rows, kUnit));
  PlaneTiles t = {};
  for (int64_t most = std::min<int64_t>(tuned("plane_units", wish.units), wish.units);; most /= 2) {
    t.tiles_x = static_cast<int>(across <= std::min<int64_t>(kMostColumns, most)
                                     ? 1 : ceil_div(across, std::min<int64_t>(kUsualColumns, most)));
    t.unit_columns = static_cast<int>(ceil_div(across, t.tiles_x));
    t.tiles_y = static_cast<int>(ceil_div(down, std::max<int64_t>(1, most / t.unit_columns)));
    t.unit_rows = static_cast<int>(ceil_div(down, t.tiles_y));
    const int wanted = ceil_div(t.units(), wish.units_of_lane);
    t.lanes = wanted > 16 ? static_cast<int>(round_up(wanted, 32)) : wanted > 8 ? 16 : wanted > 4 ? 8 : 4;
    if (wish.size == 0) {
      t.window_h = static_cast<int>(round_up(std::min<int64_t>(wish.kernel_h, kWindow), kPiece));
      t.window_w = static_cast<int>(round_up(std::min<int64_t>(wish.kernel_w, kWindow), kPiece));
    } else {
      t.window_h = wish.size;
      t.window_w = static_cast<int>(round_up(wish.size, 4));
    }
    t.region_rows = t.unit_rows * kUnit + t.window_h - 1;
    t.region_pitch = t.unit_columns * kUnit + (wish.size == 0 ? t.window_w : 8);
    if (t.unit_columns == 4 && t.region_pitch % 8 == 0) t.region_pitch += 4;  // rows of units in other banks
    const int least = std::max(1, 32 / t.lanes);
    t.next_row = t.lanes / t.unit_columns * kUnit;
    t.next_column = t.lanes % t.unit_columns * kUnit;
    t.planes = std::min(std::max({least, 128 / t.lanes, wish.planes}), wish.max_threads / t.lanes);
    while (t.planes > least && bytes(t) > limit) t.planes = std::max(least, t.planes / 2);
    if (bytes(t) <= limit || most == 1) return t;
  }
}

// --- Copies into shared memory ---

// Calls f(z, y, x) for all of [depth][height][width], shared out among the block's threads: neighbours have neighbouring
// x, in rows of a power of two of them, so that it takes no division and what depends on x alone is done once.
template <typename Function>
__device__ inline void for_block(int depth, int height, int width, Function&& f) {
  const int shift = width > 16 ? 5 : width > 8 ? 4 : width > 4 ? 3 : width > 2 ? 2 : width > 1 ? 1 : 0;
  const int thread = threadIdx.x, rows_at_once = static_cast<int>(blockDim.x) >> shift;
  for (int x = thread & ((1 << shift) - 1); x < width; x += 1 << shift) {
    int y = thread >> shift, z = 0;
    for (;; y += rows_at_once) {
      while (y >= height) y -= height, ++z;
      if (z >= depth) break;
      f(z, y, x);
    }
  }
}

// Where planes first, first + 1 ... lie; plane p is channel p % C of sample p / C.
struct PlaneOffsets {
  int64_t sample, channel, first_offset;
  int first_channel, channels;

  __device__ PlaneOffsets(const PlaneView& view, int64_t first)
      : sample(view.sample), channel(view.channel), first_offset(first * view.channel), first_channel(0),
        channels(0x7fffffff) {
    if (sample == channel * view.channels) return;  // one row of planes
    const auto plane = static_cast<uint32_t>(first), in_sample = static_cast<uint32_t>(view.channels);
    channels = view.channels;
    first_channel = static_cast<int>(plane % in_sample);
    first_offset = plane / in_sample * sample;
  }
  __device__ int64_t operator()(int s) const {
    int c = first_channel + s;
    int64_t offset = first_offset;
    while (c >= channels) c -= channels, offset += sample;
    return offset + c * channel;
  }
};

// A thread's way down one column of quads through regions [planes][rows][quads], as many rows at a step as the block has
// threads for: all but a few of them have a quad whatever the length of a row, what depends on the column is known once,
// and a step takes a few additions. quads: at most as many as threads.
template <typename scalar_t>
struct QuadWalk {
  const PlaneView& view;
  PlaneOffsets offsets;
  int planes, rows, last_y, x, down, row, y, height;  // row: of all; height: of the plane, 0 where there is no quad
  int s = 0;
  int64_t step_offset;
  const scalar_t* source;

  __device__ QuadWalk(
      const PlaneView& view, int64_t first, int planes, int all_planes, int top, int left, int rows, int quads)
      : view(view), offsets(view, first), planes(planes), rows(rows), last_y(top + rows),
        down(static_cast<int>(blockDim.x / static_cast<unsigned>(quads))), step_offset(down * view.row) {
    row = static_cast<int>(threadIdx.x / static_cast<unsigned>(quads));
    x = left + 4 * (static_cast<int>(threadIdx.x) - row * quads);
    y = top + row;
    if (row >= down) row = all_planes * rows;
    enter_plane();
  }
  __device__ bool present() const { return static_cast<unsigned>(y) < static_cast<unsigned>(height); }
  // Whether the step stays in the plane; if not, enter_plane() before the next.
  __device__ bool step_in_plane() {
    row += down;
    y += down;
    source += step_offset;
    return y < last_y;
  }
  __device__ void enter_plane() {
    for (; y >= last_y; ++s) y -= rows;
    const bool exists = s < planes && static_cast<unsigned>(x) < static_cast<unsigned>(view.width);
    height = exists ? view.height : 0;
    source = static_cast<const scalar_t*>(view.data) + (exists ? offsets(s) + y * view.row + x : 0);
  }
};

// Quads of any type, several on their way at once.
template <typename scalar_t>
__device__ inline void load_quads(QuadWalk<scalar_t> at, int end, int pitch, float* region) {
  constexpr int kAtOnce = 4;
  while (at.row < end) {
    const int first = at.row;
    FourInWords<scalar_t> four[kAtOnce];
#pragma unroll
    for (int n = 0; n < kAtOnce; ++n) {
      four[n] = {};
      if (at.present()) {  // no row beyond the last is
        four[n] = load_vector<sizeof(scalar_t)>(reinterpret_cast<const uint32_t*>(at.source));
      }
      if (!at.step_in_plane()) at.enter_plane();
    }
#pragma unroll
    for (int n = 0; n < kAtOnce; ++n) {
      Vector<float, 4> values;
      words_to_acc<scalar_t>(four[n], values.at);
      if (first + n * at.down < end) store_vector(region + (first + n * at.down) * pitch, values);
    }
  }
}

// Fills region [all_planes][rows][pitch] from planes first ... of the view, `planes` of which exist, with the pixels
// from (top, left) on; zeros elsewhere. Copies may be on their way until copies_ready().
template <typename acc_t>
__device__ inline void load_region(
    const PlaneView& view, int64_t first, int planes, int all_planes, int top, int left, int rows, int pitch, bool async,
    acc_t* region) {
  if constexpr (std::is_same_v<acc_t, float>) {
    if (view.quads && left % 4 == 0) {
      const int end = all_planes * rows;
      const auto walk = [&](auto zero) {
        return QuadWalk<decltype(zero)>(view, first, planes, all_planes, top, left, rows, pitch / 4);
      };
      const auto column_of = [&](const auto& at) { return region + (at.x - left); };
      if (!async || view.dtype != Dtype::kFloat32) {
        const auto load = [&](auto zero) {
          const auto at = walk(zero);
          load_quads(at, end, pitch, column_of(at));
        };
        if (view.dtype == Dtype::kFloat16) load(__half());
        else if (view.dtype == Dtype::kBFloat16) load(__nv_bfloat16());
        else load(float());
        return;
      }
      auto at = walk(float());
      float* target = column_of(at) + at.row * pitch;
      const int step = at.down * pitch;
      for (; at.row < end; at.enter_plane()) {
#pragma unroll 1
        do {
          copy_async_16(target, at.source, at.present());
          target += step;
        } while (at.step_in_plane());
      }
      return;
    }
  }
  const PlaneOffsets offsets(view, first);
  const auto copy = [&](int s, int r, int c) {
    const int y = top + r, x = left + c;
    const bool present = s < planes && y >= 0 && y < view.height && x >= 0 && x < view.width;
    region[(s * rows + r) * pitch + c] =
        present ? load_element<acc_t>(view, offsets(s) + y * view.row + x * view.column) : acc_t(0);
  };
  if (view.channels_last()) for_block(rows, pitch, all_planes, [&](int r, int c, int s) { copy(s, r, c); });
  else for_block(all_planes, rows, pitch, copy);
}

// Fills weights [all_planes][rows][pitch] with rows and columns from (top, left) on of planes' kernels, turned by 180
// degrees if `flipped`.
template <typename acc_t>
__device__ inline void load_taps(
    const PlaneView& kernels, int64_t first, int planes, int all_planes, bool flipped, int top, int left, int rows,
    int pitch, acc_t* weights) {
  const PlaneOffsets offsets(kernels, first);
  for_block(all_planes, rows, pitch, [&](int s, int r, int c) {
    const int i = top + r, j = left + c;
    acc_t value = 0;
    if (s < planes && i < kernels.height && j < kernels.width) {
      value = load_element<acc_t>(kernels, offsets(s) + (flipped ? kernels.height - 1 - i : i) * kernels.row +
                                               (flipped ? kernels.width - 1 - j : j) * kernels.column);
    }
    weights[(s * rows + r) * pitch + c] = value;
  });
}

// All threads: waits for the block's copies.
__device__ inline void copies_ready(bool async) {
  if (async) {
    copy_async_commit();
    copy_async_wait<0>();
  }
  __syncthreads();
}

// --- Arithmetic on units ---

// Row and column of a unit's first result in its tile, and of the thread's next one, which needs no division.
struct UnitPlace {
  int row, column;

  __device__ void next(const PlaneTiles& tiles) {
    row += tiles.next_row;
    column += tiles.next_column;
    if (column >= tiles.unit_columns * kUnit) {
      column -= tiles.unit_columns * kUnit;
      row += kUnit;
    }
  }

  __device__ UnitPlace(int unit, int unit_columns) {
    const auto down = static_cast<unsigned>(unit) / static_cast<unsigned>(unit_columns);
    row = static_cast<int>(down) * kUnit;
    column = (unit - static_cast<int>(down) * unit_columns) * kUnit;
  }
};

template <typename acc_t>
__device__ inline void read_four(const acc_t* shared, acc_t* values) {
  constexpr int kAtOnce = 16 / sizeof(acc_t);
#pragma unroll
  for (int part = 0; part < 4 / kAtOnce; ++part) {
    const auto vector = load_vector<kAtOnce>(shared + part * kAtOnce);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) values[part * kAtOnce + i] = vector.at[i];
  }
}

// sums[y][x] += sum_ij weights[i][j] * region[y + i][x + j + kShift]
template <int kSize, typename acc_t>
__device__ inline void correlate(
    const acc_t* region, int pitch, const acc_t* weights, acc_t (&sums)[kUnit][kUnit]) {
  acc_t taps[kSize][kTapPitch<kSize>];
#pragma unroll
  for (int r = 0; r < kSize + kUnit - 1; ++r) {
    acc_t pixels[12];
#pragma unroll
    for (int quad = 0; quad < 3; ++quad) read_four(region + r * pitch + 4 * quad, pixels + 4 * quad);
    if (r < kSize) {
#pragma unroll
      for (int quad = 0; quad < kTapPitch<kSize> / 4; ++quad) {
        read_four(weights + r * kTapPitch<kSize> + 4 * quad, taps[r < kSize ? r : 0] + 4 * quad);
      }
    }
#pragma unroll
    for (int y = 0; y < kUnit; ++y) {
      if (r - y < 0 || r - y >= kSize) continue;
#pragma unroll
      for (int j = 0; j < kSize; ++j) {
#pragma unroll
        for (int x = 0; x < kUnit; ++x) sums[y][x] += taps[r - y][j] * pixels[x + j + kShift<kSize>];
      }
    }
  }
}

// The same for a piece of a kernel, of which only rows x columns taps count: a tap that does not is not multiplied by
// zero, because the pixel may be infinite.
template <typename acc_t>
__device__ inline void correlate_piece(
    const acc_t* region, int pitch, const acc_t* weights, int weights_pitch, int rows, int columns,
    acc_t (&sums)[kUnit][kUnit]) {
  constexpr int kReach = kUnit + kPiece - 1;
  acc_t pixels[kReach][kUnit + kPiece];
#pragma unroll
  for (int r = 0; r < kReach; ++r) {
    read_four(region + r * pitch, pixels[r]);
    read_four(region + r * pitch + 4, pixels[r] + 4);
  }
#pragma unroll
  for (int i = 0; i < kPiece; ++i) {
    if (i >= rows) continue;
    acc_t taps[kPiece];
    read_four(weights + i * weights_pitch, taps);
#pragma unroll
    for (int j = 0; j < kPiece; ++j) {
      if (j >= columns) continue;
#pragma unroll
      for (int y = 0; y < kUnit; ++y) {
#pragma unroll
        for (int x = 0; x < kUnit; ++x) sums[y][x] += taps[j] * pixels[y + i][x + j];
      }
    }
  }
}

// sums[i][j] += sum_yx grad[y][x] * region[y + i][x + j + kColumn]
template <int kSize, int kColumn, typename acc_t>
__device__ inline void kernel_gradient(
    const acc_t* region, int pitch, const acc_t (&grad)[kUnit][kUnit], acc_t (&sums)[kSize * kSize]) {
  constexpr int kQuads = (kSize + kUnit - 1 + kColumn + 3) / 4;
#pragma unroll
  for (int r = 0; r < kSize + kUnit - 1; ++r) {
    acc_t pixels[4 * kQuads];
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) read_four(region + r * pitch + 4 * quad, pixels + 4 * quad);
#pragma unroll
    for (int y = 0; y < kUnit; ++y) {
      if (r - y < 0 || r - y >= kSize) continue;
#pragma unroll
      for (int x = 0; x < kUnit; ++x) {
#pragma unroll
        for (int j = 0; j < kSize; ++j) sums[(r - y) * kSize + j] += grad[y][x] * pixels[x + j + kColumn];
      }
    }
  }
}

// Pixels of a plane, from memory.
template <typename acc_t>
struct PixelsOf {
  const PlaneView& view;
  int64_t plane;

  __device__ acc_t operator()(int y, int x) const {
    return load_element<acc_t>(view, PlaneOffsets(view, plane)(0) + y * view.row + x * view.column);
  }
};

// The gradient of tap (i, j) of a plane's kernel: `sum` if it is finite; else the sum over the pairs of a gradient and a
// feature that exist, by one thread, slowly: the zeros around the planes, which the quick sums multiply as well, hand a
// NaN to taps that never meet it. grad(y, x) is the gradient of a result.
template <typename acc_t, typename Grad>
__device__ inline acc_t finite_or_existing(
    acc_t sum, const DynamicConv2dShape& shape, const PlaneView& features, int64_t plane, int i, int j, Grad&& grad) {
  if (sum - sum == acc_t(0)) return sum;
  const int up = i - static_cast<int>(shape.pad_top), left = j - static_cast<int>(shape.pad_left);
  const int last_y = min(static_cast<int>(shape.out_height), features.height - up);
  const int last_x = min(static_cast<int>(shape.out_width), features.width - left);
  const PixelsOf<acc_t> feature{features, plane};
  sum = 0;
  for (int y = max(0, -up); y < last_y; ++y) {
    acc_t of_row = 0;
    for (int x = max(0, -left); x < last_x; ++x) of_row += grad(y, x) * feature(y + up, x + left);
    sum += of_row;
  }
  return sum;
}

// 4 x 4 pixels of a region; `together` where its first is at a multiple of 4.
template <typename acc_t>
__device__ inline void read_unit(const acc_t* region, int pitch, bool together, acc_t (&values)[kUnit][kUnit]) {
#pragma unroll
  for (int y = 0; y < kUnit; ++y) {
    if (together) {
      read_four(region + y * pitch, values[y]);
    } else {
#pragma unroll
      for (int x = 0; x < kUnit; ++x) values[y][x] = region[y * pitch + x];
    }
  }
}

// Stores rows x columns of a unit, or fewer where it has fewer; target: its first, in rows of `width`.
template <typename scalar_t, typename acc_t>
__device__ inline void store_rows(
    scalar_t* target, int width, int rows, int columns, const acc_t (&sums)[kUnit][kUnit]) {
  if constexpr (std::is_same_v<acc_t, float>) {
    if (width % kUnit == 0) {
#pragma unroll
      for (int y = 0; y < kUnit; ++y, target += width) {
        if (y < rows) store_four<scalar_t>(target, 0, sums[y]);
      }
      return;
    }
  }
#pragma unroll
  for (int y = 0; y < kUnit; ++y, target += width) {
#pragma unroll
    for (int x = 0; x < kUnit; ++x) {
      if (y < rows && x < columns) target[x] = from_acc<scalar_t>(sums[y][x]);
    }
  }
}

// Stores the unit whose first result is (y, x) of the plane [height, width] at `plane`; x < width.
template <typename acc_t>
__device__ inline void store_unit(
    void* plane, Dtype dtype, int height, int width, int y, int x, const acc_t (&sums)[kUnit][kUnit]) {
  const int64_t first = static_cast<int64_t>(y) * width + x;
  const auto store = [&](auto zero) {
    store_rows(static_cast<decltype(zero)*>(plane) + first, width, height - y, width - x, sums);
  };
  if constexpr (std::is_same_v<acc_t, double>) {
    store(double());
  } else {
    switch (dtype) {
      case Dtype::kFloat32: return store(float());
      case Dtype::kFloat16: return store(__half());
      default: return store(__nv_bfloat16());
    }
  }
}

// --- Sums over threads ---

// Adds each value over groups of `lanes` threads of a warp, a power of two from 4 to 32. With every step a thread keeps
// half of the values and gives the other half to its partner, so 49 values of 32 threads cost 51 exchanges, not 245.
// write(index, sum) is called once in each group for each index.
template <int kDistance = 1, int kCount, typename acc_t, typename Write>
__device__ inline void sum_lanes(acc_t (&values)[kCount], int lanes, int first, int end, Write&& write) {
  if constexpr (kDistance < 32) {
    if (kDistance < lanes) {
      constexpr int kHalf = (kCount + 1) / 2;
      const bool upper = (threadIdx.x & kDistance) != 0;
      acc_t kept[kHalf];
#pragma unroll
      for (int n = 0; n < kHalf; ++n) {
        const acc_t high = n + kHalf < kCount ? values[n + kHalf < kCount ? n + kHalf : 0] : acc_t(0);
        kept[n] = (upper ? high : values[n]) + __shfl_xor_sync(0xffffffffu, upper ? values[n] : high, kDistance);
      }
      sum_lanes<2 * kDistance>(kept, lanes, upper ? first + kHalf : first, upper ? end : min(end, first + kHalf), write);
      return;
    }
  }
#pragma unroll
  for (int n = 0; n < kCount; ++n) {
    if (first + n < end) write(first + n, values[n]);
  }
}

// Adds the sums [threads' groups][kCount] of each plane's groups in order, and calls f(plane, index, sum).
template <typename acc_t, typename Function>
__device__ inline void add_groups(const PlaneTiles& tiles, int planes, int count, const acc_t* groups, Function&& f) {
  const int of_plane = tiles.lanes > 32 ? tiles.lanes / 32 : 1;
  for (int n = threadIdx.x; n < planes * count; n += blockDim.x) {
    const int s = n / count, index = n % count;
    acc_t sum = 0;
    for (int g = 0; g < of_plane; ++g) sum += groups[(s * of_plane + g) * count + index];
    f(s, index, sum);
  }
}

}  // namespace rpstn
