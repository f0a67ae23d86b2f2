#pragma once

// What dynamic_conv2d and dynamic_match do to one plane, output[y,x] = sum_ij kernel[i,j] * plane[y + i - pad_top,
// x + j - pad_left] and its gradients. A plane is copied once into a buffer with the zeros around it that its taps
// reach, so that no tap asks where it is; 64x64 with 7x7 stays in the first cache. The gradient of the features is the
// same sum over the gradient of the output with the kernel turned by 180 degrees. Loops are written for registers: see
// correlate_tile and correlate_taps. Everything has internal linkage, see rows.h.

#include <type_traits>

#include "cpu/memory.h"
#include "cpu/rows.h"
#include "cpu/tiles.h"
#include "cpu/vectors.h"
#include "dynamic_conv2d.h"

namespace rpstn::RPSTN_ISA {
namespace {

// Rows and vectors of output that one pass keeps in registers; with 16 registers two vectors across leave room.
constexpr int kRows = 4;
constexpr int kAcross = kRegisters == 32 ? 4 : 2;

inline int64_t at_least_zero(int64_t value) { return value > 0 ? value : 0; }

// Where one plane lies in a buffer with zeros around it.
template <typename scalar_t>
struct Padded {
  int64_t height, width, top, left, bottom, right;

  // The zeros behind a row are those before the next one.
  int64_t stride() const { return whole_vectors<scalar_t>(width + larger(left, right)); }
  // Tiles may read whole vectors beyond the last row, for outputs that are then not stored.
  int64_t elements() const { return (top + height + bottom) * stride() + right + kAcross * kLanes<scalar_t>; }
  scalar_t* origin(scalar_t* buffer) const { return buffer + top * stride() + left; }

  // Copies `count` rows in, zeros before them and after them.
  template <typename source_t>
  void fill_part(scalar_t* buffer, int64_t before, int64_t count, const source_t* rows) const {
    const auto zero = [&](int64_t y) { std::memset(origin(buffer) + y * stride(), 0, width * sizeof(scalar_t)); };
    for (int64_t y = 0; y < before; ++y) zero(y);
    Padded part = *this;
    part.height = count;
    part.top = top + before;
    part.fill(buffer, rows);
    for (int64_t y = before + count; y < height; ++y) zero(y);
  }

  // Copies the plane in, in the type of the sums; the margins were zeroed with the buffer and stay so.
  template <typename source_t>
  void fill(scalar_t* buffer, const source_t* plane) const {
    scalar_t* to = origin(buffer);
    // In locals, which stores cannot change (gradient of the features, 4x256x64x64: 3x3 0.79 -> 0.71 ms, 5x5 1.52 -> 1.34).
    const int64_t rows = height, columns = width, step = stride();
    for (int64_t y = 0; y < rows; ++y, plane += columns, to += step) {
      int64_t x = 0;
      if constexpr (std::is_same_v<scalar_t, source_t>) {  // without a call for each short row
        for (; x + kLanes<scalar_t> <= columns; x += kLanes<scalar_t>) store(to + x, load(plane + x));
      }
      if (x < columns) load_row(plane + x, to + x, columns - x);
    }
  }
};

// The margins that the taps of out_height x out_width outputs reach, when the first output's first tap lies before_y
// rows and before_x columns before the plane's first element (after it where negative).
template <typename scalar_t>
Padded<scalar_t> padded_for_taps(
    int64_t height, int64_t width, int64_t before_y, int64_t before_x, int64_t out_height, int64_t out_width,
    int64_t kernel_h, int64_t kernel_w) {
  return {height,
          width,
          at_least_zero(before_y),
          whole_vectors<scalar_t>(at_least_zero(before_x)),  // so that its rows begin at whole vectors
          at_least_zero(out_height + kernel_h - 1 - before_y - height),
          at_least_zero(whole_vectors<scalar_t>(out_width) + kernel_w - 1 - before_x - width)};
}

// Zeroed scratch; freed on every way out.
template <typename scalar_t>
struct Scratch {
  scalar_t* data;
  explicit Scratch(int64_t elements) {
    const int64_t bytes = (elements > 0 ? elements : 1) * static_cast<int64_t>(sizeof(scalar_t));
    data = static_cast<scalar_t*>(allocate_lines(bytes));
    std::memset(data, 0, bytes);
  }
  ~Scratch() { release_lines(data); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

// Adds kTaps rows of the kernel to kOutRows x kVectors vectors of output: every vector of input is loaded once per
// column of the kernel and serves all output rows that reach it.
template <typename scalar_t, int kTaps, int kOutRows, int kVectors>
inline __attribute__((always_inline)) void add_tap_rows(
    Vector<scalar_t> (&total)[kOutRows][kVectors], const scalar_t* input, int64_t stride,
    const scalar_t* kernel,  // [kTaps, kernel_w]
    int64_t kernel_w) {
  for (int64_t j = 0; j < kernel_w; ++j) {
#pragma GCC unroll 16
    for (int row = 0; row < kOutRows + kTaps - 1; ++row) {
      Vector<scalar_t> values[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        values[v] = load(input + row * stride + j + v * kLanes<scalar_t>);
        in_register(values[v]);
      }
#pragma GCC unroll 4
      for (int out = 0; out < kOutRows; ++out) {
        const int tap = row - out;
        if (tap < 0 || tap >= kTaps) continue;
        const scalar_t weight = kernel[tap * kernel_w + j];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) total[out][v] += weight * values[v];
      }
    }
  }
}

// kOutRows rows and kVectors vectors of output; past the caches they are whole and aligned. Rows of the kernel go in groups
// whose size the compiler knows.
template <typename scalar_t, int kOutRows, int kVectors, bool kPastCaches>
void correlate_tile(
    const scalar_t* input,  // first tap of the tile's first output
    int64_t stride, const scalar_t* kernel, int64_t kernel_h, int64_t kernel_w, scalar_t* output, int64_t out_width,
    int64_t columns) {  // at most kVectors vectors wide
  Vector<scalar_t> total[kOutRows][kVectors] = {};
  for (int64_t i = 0; i < kernel_h;) {
    const auto add = [&](auto rows) {
      add_tap_rows<scalar_t, rows>(total, input + i * stride, stride, kernel + i * kernel_w, kernel_w);
      return static_cast<int64_t>(rows);
    };
    const int64_t left = kernel_h - i;
    if (left >= 7)
      i += add(std::integral_constant<int, 7>{});
    else if (left >= 5)
      i += add(std::integral_constant<int, 5>{});
    else if (left >= 3)
      i += add(std::integral_constant<int, 3>{});
    else if (left == 2)
      i += add(std::integral_constant<int, 2>{});
    else
      i += add(std::integral_constant<int, 1>{});
  }
  if constexpr (kPastCaches) {  // all vectors are whole
#pragma GCC unroll 4
    for (int out = 0; out < kOutRows; ++out) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        store_past_caches(output + out * out_width + v * kLanes<scalar_t>, total[out][v]);
    }
    return;
  }
#pragma GCC unroll 4
  for (int out = 0; out < kOutRows; ++out) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      scalar_t* target = output + out * out_width + v * kLanes<scalar_t>;
      const int64_t left = columns - v * kLanes<scalar_t>;
      if (left >= kLanes<scalar_t>) {
        store(target, total[out][v]);
      } else if (left > 0) {  // through memory: store_part's mask slowed whole tiles, too (7x7: 4.7 -> 5.1 ms)
        scalar_t tail[kLanes<scalar_t>];
        store(tail, total[out][v]);
        std::memcpy(target, tail, left * sizeof(scalar_t));
      }
    }
  }
}

template <typename scalar_t, int kOutRows, bool kPastCaches>
inline void correlate_rows(
    const scalar_t* input, int64_t stride, const scalar_t* kernel, int64_t kernel_h, int64_t kernel_w,
    scalar_t* output, int64_t out_width) {
  constexpr int64_t kLane = kLanes<scalar_t>;
  const auto tile = [&](auto vectors, int64_t x) {
    correlate_tile<scalar_t, kOutRows, vectors, kPastCaches>(
        input + x, stride, kernel, kernel_h, kernel_w, output + x, out_width, out_width - x);
    return x + vectors * kLane;
  };
  int64_t x = 0;
  while (out_width - x > (kAcross - 1) * kLane) x = tile(std::integral_constant<int, kAcross>{}, x);
  const int64_t left = out_width - x;  // fewer vectors than a whole tile: one narrower tile, chosen once
  if (kAcross > 3 && left > 2 * kLane)
    tile(std::integral_constant<int, 3>{}, x);
  else if (kAcross > 2 && left > kLane)
    tile(std::integral_constant<int, 2>{}, x);
  else if (left > 0)
    tile(std::integral_constant<int, 1>{}, x);
}

// A whole plane of output [out_height, out_width]. Past the caches it lies at whole vectors, and finish_stores follows.
template <bool kPastCaches, typename scalar_t>
void correlate(
    const scalar_t* input,  // first tap of the first output, in a padded buffer
    int64_t stride, const scalar_t* kernel, int64_t kernel_h, int64_t kernel_w, scalar_t* output, int64_t out_height,
    int64_t out_width, bool into_second_level, const Ahead& ahead) {
  const int64_t tile_bytes = kRows * out_width * static_cast<int64_t>(sizeof(scalar_t));
  int64_t y = 0;
  for (; y + kRows <= out_height; y += kRows) {
    into_second_level ? ahead.ask<Lines::kReadSecondLevel>(y / kRows, out_height / kRows)
                      : ahead.ask<Lines::kReadFirstLevel>(y / kRows, out_height / kRows);
    if (!kPastCaches && y + 2 * kRows <= out_height)
      ask_for<Lines::kWrite>(output + (y + kRows) * out_width, 0, tile_bytes);
    correlate_rows<scalar_t, kRows, kPastCaches>(
        input + y * stride, stride, kernel, kernel_h, kernel_w, output + y * out_width, out_width);
  }
  for (; y < out_height; ++y)
    correlate_rows<scalar_t, 1, kPastCaches>(
        input + y * stride, stride, kernel, kernel_h, kernel_w, output + y * out_width, out_width);
}

// The same past the caches where that may be and the output lies at whole vectors.
template <typename scalar_t>
void correlate(
    bool past_caches, const scalar_t* input, int64_t stride, const scalar_t* kernel, int64_t kernel_h, int64_t kernel_w,
    scalar_t* output, int64_t out_height, int64_t out_width, bool into_second_level, const Ahead& ahead) {
  const bool whole = reinterpret_cast<uintptr_t>(output) % kVectorBytes == 0 && out_width % kLanes<scalar_t> == 0;
  (past_caches && whole ? &correlate<true, scalar_t> : &correlate<false, scalar_t>)(
      input, stride, kernel, kernel_h, kernel_w, output, out_height, out_width, into_second_level, ahead);
}

// Rows and columns of taps whose totals, with a vector of grad per row and one of input, fit into the registers.
constexpr int kMostTapRows = kRegisters == 32 ? 5 : 3;
constexpr int most_tap_columns(int rows) {
  const int fitting = (kRegisters - 1 - rows) / rows - (kRegisters == 32 ? 0 : 1);
  return fitting < 7 ? fitting : 7;
}

// kTapRows x kTapColumns taps of the kernel's gradient, grad_kernel[i,j] = sum_yx grad[y,x] * input[y + i, x + j]: one
// vector total per tap. A row of input meets tap row i with row - i of grad: going down the rows, every vector of grad
// is loaded once and handed from tap row to tap row, every vector of input serves all of them. Columns of `grad` beyond
// its width are zeros. Totals are added up in fixed order, in blocks of rows so that rounding grows with the block, not
// with the plane. What is read next is asked for every kStepRows rows: all of it at once held up the sums until it had
// come (4x256x64x64, both gradients, on an EPYC: 3x3 2.7 -> 2.3 ms, 7x7 5.2 -> 4.7).
constexpr int64_t kStepRows = 8;

template <typename scalar_t, int kTapRows, int kTapColumns>
void correlate_taps(
    const scalar_t* grad, int64_t grad_stride, const scalar_t* input, int64_t stride,
    int64_t begin, int64_t end,  // rows of input that are not all zeros, within those that grad's rows meet
    int64_t width, scalar_t* grad_kernel, int64_t kernel_w, AheadInSteps& ahead) {
  constexpr int64_t kBlock = 512;  // vectors
  const int64_t rows = larger(1, kBlock * kLanes<scalar_t> / whole_vectors<scalar_t>(width));
  double sums[kTapRows][kTapColumns] = {};
  for (int64_t first = begin; first < end; first += rows) {
    const int64_t last = first + rows < end ? first + rows : end;
    Vector<scalar_t> total[kTapRows][kTapColumns] = {};
    for (int64_t x = 0; x < width; x += kLanes<scalar_t>) {
      const scalar_t* newest = grad + first * grad_stride + x;
      const scalar_t* below = input + first * stride + x;
      Vector<scalar_t> outer[kTapRows];
#pragma GCC unroll 8
      for (int i = 1; i < kTapRows; ++i) outer[i - 1] = load(newest - i * grad_stride);
      for (int64_t row = first; row < last;) {
        ahead.step();
        for (const int64_t until = row + kStepRows < last ? row + kStepRows : last; row < until; ++row) {
#pragma GCC unroll 8
          for (int i = kTapRows - 1; i > 0; --i) outer[i] = outer[i - 1];
          outer[0] = load(newest);
          in_register(outer[0]);
#pragma GCC unroll 8
          for (int j = 0; j < kTapColumns; ++j) {
            Vector<scalar_t> values = load(below + j);
            in_register(values);
#pragma GCC unroll 8
            for (int i = 0; i < kTapRows; ++i) total[i][j] += outer[i] * values;
          }
          newest += grad_stride;
          below += stride;
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kTapRows; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < kTapColumns; ++j) sums[i][j] += sum_lanes<scalar_t>(total[i][j]);
    }
  }
  for (int i = 0; i < kTapRows; ++i) {
    for (int j = 0; j < kTapColumns; ++j) grad_kernel[i * kernel_w + j] = static_cast<scalar_t>(sums[i][j]);
  }
}

template <typename scalar_t>
void correlate_all_taps(
    const scalar_t* grad, int64_t grad_stride, const scalar_t* input, int64_t stride, const DynamicConv2dShape& s,
    scalar_t* grad_kernel, const Ahead& ahead) {
  const int64_t tiles = (s.kernel_h + kMostTapRows - 1) / kMostTapRows;
  const int64_t columns_of_tile = most_tap_columns(static_cast<int>((s.kernel_h + tiles - 1) / tiles));
  const int64_t vectors = tiles * ((s.kernel_w + columns_of_tile - 1) / columns_of_tile) *
                          (whole_vectors<scalar_t>(s.out_width) / kLanes<scalar_t>);
  AheadInSteps in_steps(ahead, vectors * (s.out_height / kStepRows));
  for_tiles<kMostTapRows>(s.kernel_h, [&](int64_t i, int rows) {
    const int64_t met = s.out_height + rows - 1;  // rows of input from tap row i on that grad's rows meet
    const int64_t begin = at_least_zero(s.pad_top - i), below = s.pad_top + s.height - i;
    const int64_t end = below < met ? below : met;
    with_constant<kMostTapRows>(rows, [&]<int kTapRows>() {
      for_tiles<most_tap_columns(kTapRows)>(s.kernel_w, [&](int64_t j, int columns) {
        with_constant<most_tap_columns(kTapRows)>(columns, [&]<int kTapColumns>() {
          correlate_taps<scalar_t, kTapRows, kTapColumns>(
              grad, grad_stride, input + i * stride + j, stride, begin, end, s.out_width,
              grad_kernel + i * s.kernel_w + j, s.kernel_w, in_steps);
        });
      });
    });
  });
}

// The sum of a kernel's gradient in which something is not finite, over the pairs of a gradient and a feature that exist:
// the zeros around the planes, which the quick sums multiply as well, would hand a NaN to taps that never meet it.
template <typename scalar_t>
void correlate_existing_taps(
    const scalar_t* grad, int64_t grad_stride, const scalar_t* input, int64_t stride, const DynamicConv2dShape& s,
    scalar_t* grad_kernel) {
  for (int64_t i = 0; i < s.kernel_h; ++i) {
    for (int64_t j = 0; j < s.kernel_w; ++j) {
      const int64_t top = at_least_zero(s.pad_top - i), bottom = smaller(s.out_height, s.pad_top - i + s.height);
      const int64_t left = at_least_zero(s.pad_left - j), right = smaller(s.out_width, s.pad_left - j + s.width);
      double sum = 0;
      for (int64_t y = top; y < bottom; ++y) {
        const scalar_t *of_grad = grad + y * grad_stride, *of_input = input + (y + i) * stride + j;
        for (int64_t x = left; x < right; ++x) sum += double(of_grad[x]) * of_input[x];
      }
      grad_kernel[i * s.kernel_w + j] = static_cast<scalar_t>(sum);
    }
  }
}

template <typename scalar_t>
bool all_finite(const scalar_t* values, int64_t count) {
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) finite &= values[i] - values[i] == 0;
  return finite;
}

// Rows [begin, end) of the output as a plane of their own: the rows of features that their taps reach.
struct Band {
  DynamicConv2dShape shape;
  int64_t first_row;  // of features
};

// A plane that holds any band of at most `rows` rows, with the rows of zeros beyond the features among its own.
inline DynamicConv2dShape largest_band(const DynamicConv2dShape& s, int64_t rows) {
  DynamicConv2dShape band = s;
  band.height = rows + s.kernel_h - 1;
  band.pad_top = 0;
  band.out_height = rows;
  return band;
}

inline Band band_of(const DynamicConv2dShape& s, int64_t begin, int64_t end) {
  const int64_t from = begin - s.pad_top, to = end - 1 - s.pad_top + s.kernel_h;  // rows of features, some outside
  const int64_t first = smaller(at_least_zero(from), s.height);
  const int64_t last = smaller(at_least_zero(to), s.height);
  DynamicConv2dShape band = s;
  band.height = at_least_zero(last - first);
  band.pad_top = first - from;
  band.out_height = end - begin;
  return {band, first};
}

// Calls body with memory for `count` results in the type of the sums: `target` itself, or `plane`, which is then
// rounded into `target`.
template <typename scalar_t, typename acc_t, typename Body>
inline void rounded_into(scalar_t* target, int64_t count, acc_t* plane, Body body) {
  if constexpr (std::is_same_v<scalar_t, acc_t>) {
    body(target);
  } else {
    body(plane);
    store_row(plane, target, count);
  }
}

// One plane at a time: its output and both gradients, with the buffers they share.
template <typename acc_t>
struct Plane {
  DynamicConv2dShape s;
  Padded<acc_t> inner;
  Scratch<acc_t> inner_buffer, taps;
  const acc_t* first_tap;

  explicit Plane(const DynamicConv2dShape& shape)
      : s(shape),
        inner(padded_for_taps<acc_t>(
            s.height, s.width, s.pad_top, s.pad_left, s.out_height, s.out_width, s.kernel_h, s.kernel_w)),
        inner_buffer(inner.elements()),
        taps(s.kernel_h * s.kernel_w),
        first_tap(inner.origin(inner_buffer.data) - s.pad_top * inner.stride() - s.pad_left) {}

  // Of largest_band: this band of a plane of features.
  template <typename scalar_t>
  void set_band(const Band& band, const scalar_t* features) {
    s = band.shape;
    const int64_t before = smaller(at_least_zero(s.pad_top), inner.height);
    inner.fill_part(inner_buffer.data, before, s.height, features + band.first_row * s.width);
  }

  template <typename scalar_t>
  void set_features(const scalar_t* features) {
    inner.fill(inner_buffer.data, features);
  }

  // As it is, or turned by 180 degrees.
  template <bool kTurned, typename scalar_t>
  void load_taps(const scalar_t* kernel) {
    const int64_t count = s.kernel_h * s.kernel_w;
    load_row(kernel, taps.data, count);
    for (int64_t i = 0; kTurned && i < count / 2; ++i) {
      const acc_t other = taps.data[i];
      taps.data[i] = taps.data[count - 1 - i];
      taps.data[count - 1 - i] = other;
    }
  }

  template <bool kTurned = false, typename scalar_t>
  void output(const scalar_t* kernel, acc_t* out, bool past_caches, const Ahead& ahead) {
    load_taps<kTurned>(kernel);
    correlate(past_caches, first_tap, inner.stride(), taps.data, s.kernel_h, s.kernel_w, out, s.out_height, s.out_width,
              /*into_second_level=*/false, ahead);
  }
};

// The gradient of the features as the output of a plane: that of the kernel turned, over the gradient of the output.
inline DynamicConv2dShape transposed(const DynamicConv2dShape& s) {
  return {s.planes,
          s.out_height,
          s.out_width,
          s.kernel_h,
          s.kernel_w,
          s.kernel_h - 1 - s.pad_top,  // negative where more was padded than the kernel reaches
          s.kernel_w - 1 - s.pad_left,
          s.height,
          s.width};
}

template <typename acc_t>
struct PlaneGradients : Plane<acc_t> {
  using Plane<acc_t>::s;
  DynamicConv2dShape t;
  Padded<acc_t> outer;
  Scratch<acc_t> outer_buffer;

  explicit PlaneGradients(const DynamicConv2dShape& shape)
      : Plane<acc_t>(shape), t(transposed(s)), outer(outer_of(t)), outer_buffer(outer.elements()) {}

  // The kernel's gradient reads the gradient in whole vectors, and rows of zeros above and below it.
  static Padded<acc_t> outer_of(const DynamicConv2dShape& t) {
    auto padded = padded_for_taps<acc_t>(
        t.height, t.width, t.pad_top, t.pad_left, t.out_height, t.out_width, t.kernel_h, t.kernel_w);
    padded.top = larger(padded.top, kMostTapRows - 1);
    padded.bottom = larger(padded.bottom, kMostTapRows - 1);
    padded.right = larger(padded.right, whole_vectors<acc_t>(t.width) - t.width);
    return padded;
  }

  template <typename scalar_t>
  void set_gradient(const scalar_t* grad_output) {
    outer.fill(outer_buffer.data, grad_output);
  }

  // Of largest_band: the rows of the output that set_band chose.
  template <typename scalar_t>
  void set_gradient_of_band(const scalar_t* rows) {
    outer.fill_part(outer_buffer.data, 0, s.out_height, rows);
  }

  template <typename scalar_t>
  void features_gradient(const scalar_t* kernel, acc_t* grad_features, bool past_caches, const Ahead& ahead) {
    constexpr int64_t kFirstLevelCache = 32 * 1024;  // which the buffer and what is asked for may outgrow
    const bool outgrown = outer.elements() * static_cast<int64_t>(sizeof(acc_t)) + ahead.bytes > kFirstLevelCache;
    this->template load_taps<true>(kernel);
    correlate(past_caches, outer.origin(outer_buffer.data) - t.pad_top * outer.stride() - t.pad_left, outer.stride(),
              this->taps.data, s.kernel_h, s.kernel_w, grad_features, s.height, s.width, outgrown, ahead);
  }

  void kernel_gradient(acc_t* grad_kernel, const Ahead& ahead) {
    const acc_t* grad = outer.origin(outer_buffer.data);
    correlate_all_taps(grad, outer.stride(), this->first_tap, this->inner.stride(), s, grad_kernel, ahead);
    if (all_finite(grad_kernel, s.kernel_h * s.kernel_w)) return;
    correlate_existing_taps(grad, outer.stride(), this->first_tap, this->inner.stride(), s, grad_kernel);
  }
};

}  // namespace
}  // namespace rpstn::RPSTN_ISA
