#pragma once

// Both gradients of one plane in one pass over its features. With the kernel turned by 180 degrees, which is written k~,
// a row and a column of taps meet the same numbers in both:
//   grad_features[y,x]  = sum_ij k~[i,j] * grad[y + i - top, x + j - left]
//   grad_kernel~[i,j]   = sum_yx features[y,x] * grad[y + i - top, x + j - left]
// so that every vector of the padded gradient that is loaded serves both, and features are read where they lie. The padded
// gradient is filled a few rows before they are met: reads, sums and stores go on together all the time (4x256x64x64, two
// threads of an EPYC, against one pass for each gradient: AVX-512 3x3 1.60 -> 1.34 ms, 5x5 2.86 -> 2.83; AVX2 7x7 5.3 -> 4.4;
// with what the loops read in locals, as no store can change those, and square kernels unrolled: 3x3 1.19 -> 1.09 ms, 5x5
// 2.77 -> 2.61; AVX2 7x7 5.06 -> 4.90; AVX2 on a Zen 3, against two passes, 3x3 3.80 -> 2.90, 5x5 5.74 -> 4.52).
// Everything has internal linkage, see rows.h.

#include <type_traits>

#include "cpu/planes.h"

namespace rpstn::RPSTN_ISA {
namespace {

// Results and features of a tile stay in registers, 2 * kTileRows * kTileVectors of them, beside a column of taps' totals.
constexpr int kTileRows = kRegisters == 32 ? 4 : 2;
constexpr int kTileVectors = 2;

// Kernels and planes that are done so, whatever is wanted of them, as bits must not depend on that: rows of taps the loops
// are unrolled for, and whole vectors. With 32 registers 7x7 is no quicker; where a product is a register of its own, there
// are too few for 5x5.
template <typename scalar_t>
bool in_one_pass(const DynamicConv2dShape& s) {
  using acc_t = typename Accumulate<scalar_t>::type;
  const bool rows = s.kernel_h == 3 || (s.kernel_h == 5 && kFuses) || (s.kernel_h == 7 && kRegisters == 16);
  return rows && std::is_same_v<scalar_t, acc_t> && s.width % kLanes<acc_t> == 0;
}

// Column j of taps over kR rows and kV vectors of features: added to the taps' totals and, with kFeatures, to those of the
// features' gradient.
template <typename acc_t, int kTaps, bool kFeatures, int kR, int kV>
inline __attribute__((always_inline)) void add_column(
    [[maybe_unused]] Vector<acc_t> (&total)[kR][kV], const Vector<acc_t> (&feature)[kR][kV], const acc_t* grad,
    int64_t stride, [[maybe_unused]] const acc_t* turned, [[maybe_unused]] int64_t kernel_w, int64_t j,
    Vector<acc_t> (&of_tap)[kTaps]) {
#pragma GCC unroll 16
  for (int row = 0; row < kR + kTaps - 1; ++row) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      Vector<acc_t> value = load(grad + row * stride + j + v * kLanes<acc_t>);
      in_register(value);
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r) {
        const int i = row - r;
        if (i < 0 || i >= kTaps) continue;
        if constexpr (kFeatures) total[r][v] += turned[i * kernel_w + j] * value;
        of_tap[i] += feature[r][v] * value;
      }
    }
  }
}

// The totals of kTaps taps.
template <typename acc_t, int kTaps>
inline __attribute__((always_inline)) void load_column(Vector<acc_t> (&of_tap)[kTaps], const acc_t* totals) {
#pragma GCC unroll 8
  for (int i = 0; i < kTaps; ++i) of_tap[i] = load(totals + i * kLanes<acc_t>);
}
template <typename acc_t, int kTaps>
inline __attribute__((always_inline)) void store_column(const Vector<acc_t> (&of_tap)[kTaps], acc_t* totals) {
#pragma GCC unroll 8
  for (int i = 0; i < kTaps; ++i) store(totals + i * kLanes<acc_t>, of_tap[i]);
}

template <typename acc_t, int kR, int kV>
inline __attribute__((always_inline)) void load_tile(
    Vector<acc_t> (&feature)[kR][kV], const acc_t* features, int64_t width) {
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) feature[r][v] = load(features + r * width + v * kLanes<acc_t>);
  }
}

// kR rows and kV vectors of features, and, with kFeatures, of their gradient. The kernel's columns are unrolled where their
// number is known, kColumns instead of 0.
template <typename acc_t, int kTaps, int kColumns, bool kFeatures, int kR, int kV>
inline __attribute__((always_inline)) void gradients_of_tile(
    const acc_t* grad, int64_t stride,           // what the first feature meets first, in a padded buffer
    const acc_t* turned, int64_t kernel_w,       // [kTaps, kernel_w]
    const acc_t* features, int64_t width,        // rows of `width`, as those of their gradient
    acc_t* tap_totals,                           // [kernel_w, kTaps, lanes], added to
    acc_t* grad_features, bool past_caches) {
  constexpr int kWidth = kLanes<acc_t>;
  Vector<acc_t> total[kR][kV] = {}, feature[kR][kV];
  load_tile<acc_t>(feature, features, width);
  const auto column = [&](int64_t j) __attribute__((always_inline)) {
    Vector<acc_t> of_tap[kTaps];
    load_column<acc_t>(of_tap, tap_totals + j * kTaps * kWidth);
    add_column<acc_t, kTaps, kFeatures>(
        total, feature, grad, stride, turned, kColumns > 0 ? kColumns : kernel_w, j, of_tap);
    store_column<acc_t>(of_tap, tap_totals + j * kTaps * kWidth);
  };
  if constexpr (kColumns > 0) {
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) column(j);
  } else {
    for (int64_t j = 0; j < kernel_w; ++j) column(j);
  }
  if constexpr (!kFeatures) return;
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      acc_t* target = grad_features + r * width + v * kWidth;
      past_caches ? store_past_caches(target, total[r][v]) : store(target, total[r][v]);
    }
  }
}

// Columns of taps whose totals stay in 16 registers beside the features of a tile, a vector of the gradient and a product.
constexpr int held_columns(int taps) { return taps <= 5 ? 10 / taps : 1; }

// The taps' totals alone, of kColumns columns of taps: added to in the order of gradients_of_tile, and in registers from tile
// to tile over all rows, a multiple of kR.
template <typename acc_t, int kTaps, int kColumns, int kR>
void add_columns_of_band(
    const acc_t* grad, int64_t stride, const acc_t* features, int64_t width, int64_t rows, acc_t* tap_totals) {
  constexpr int kWidth = kLanes<acc_t>;
  Vector<acc_t> of_tap[kColumns][kTaps];
#pragma GCC unroll 8
  for (int j = 0; j < kColumns; ++j) load_column<acc_t>(of_tap[j], tap_totals + j * kTaps * kWidth);
  const auto add_tile = [&]<int kV>(const acc_t* met, const acc_t* of_tile) __attribute__((always_inline)) {
    Vector<acc_t> none[kR][kV], feature[kR][kV];
    load_tile<acc_t>(feature, of_tile, width);
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j)
      add_column<acc_t, kTaps, false>(none, feature, met, stride, nullptr, 0, j, of_tap[j]);
  };
  for (int64_t y = 0; y < rows; y += kR) {
    const acc_t *met = grad + y * stride, *of_rows = features + y * width;
    int64_t x = 0;
    for (; x + kTileVectors * kWidth <= width; x += kTileVectors * kWidth)
      add_tile.template operator()<kTileVectors>(met + x, of_rows + x);
    for (; x < width; x += kWidth) add_tile.template operator()<1>(met + x, of_rows + x);
  }
#pragma GCC unroll 8
  for (int j = 0; j < kColumns; ++j) store_column<acc_t>(of_tap[j], tap_totals + j * kTaps * kWidth);
}

// Of planes in_one_pass.
template <typename acc_t>
struct BothGradients : PlaneGradients<acc_t> {
  using PlaneGradients<acc_t>::s;
  using PlaneGradients<acc_t>::t;
  using PlaneGradients<acc_t>::outer;
  Scratch<acc_t> tap_totals;  // zeros between planes, as `exact`: filling them took 13 % of a small plane's time
  Scratch<double> exact;

  explicit BothGradients(const DynamicConv2dShape& shape)
      : PlaneGradients<acc_t>(shape),
        tap_totals(s.kernel_h * s.kernel_w * kLanes<acc_t>),
        exact(s.kernel_h * s.kernel_w) {}

  // grad_features may be null.
  void compute(
      const acc_t* grad_output, const acc_t* features, const acc_t* kernel, acc_t* grad_features, acc_t* grad_kernel,
      bool past_caches) {
    if (grad_features != nullptr) this->template load_taps<true>(kernel);
    const auto with_taps = [&]<int kTaps, int kColumns>() {
      grad_features != nullptr ? pass<kTaps, kColumns, true>(grad_output, features, grad_features, past_caches)
                               : pass<kTaps, kColumns, false>(grad_output, features, nullptr, false);
    };
    const auto with_rows = [&]<int kTaps>() {
      s.kernel_w == kTaps ? with_taps.template operator()<kTaps, kTaps>() : with_taps.template operator()<kTaps, 0>();
    };
    if (s.kernel_h == 3) {
      with_rows.template operator()<3>();
    } else if (s.kernel_h == 5) {
      with_rows.template operator()<5>();
    } else if constexpr (kRegisters == 16) {  // unrolled, 7x7 is no quicker
      with_taps.template operator()<7, 0>();
    }
    const int64_t taps = s.kernel_h * s.kernel_w;
    for (int64_t i = 0; i < s.kernel_h; ++i) {
      for (int64_t j = 0; j < s.kernel_w; ++j) {
        double& sum = exact.data[j * s.kernel_h + i];
        grad_kernel[taps - 1 - (i * s.kernel_w + j)] = static_cast<acc_t>(sum);
        sum = 0;
      }
    }
    if (all_finite(grad_kernel, taps)) return;
    this->set_gradient(grad_output);
    this->set_features(features);
    correlate_existing_taps(outer.origin(this->outer_buffer.data), outer.stride(), this->first_tap,
                            this->inner.stride(), s, grad_kernel);
  }

 private:
  // Leaves the gradient of the kernel, turned, in `exact` [kernel_w, kTaps].
  template <int kTaps, int kColumns, bool kFeatures>
  void pass(const acc_t* grad_output, const acc_t* features, acc_t* grad_features, bool past_caches) {
    // What both inputs are asked for ahead; planes follow one another. From 4 KiB on it did not matter.
    constexpr int64_t kAhead = 8 * 1024;
    constexpr int64_t kBlock = 512;  // vectors of features whose sums stay in the type of the sums
    constexpr int64_t kBand = 32;    // of which a column's totals are taken at once: 64 is slower from memory
    const int64_t stride = outer.stride(), width = s.width, kernel_w = s.kernel_w;
    const int64_t row_bytes = s.out_width * static_cast<int64_t>(sizeof(acc_t));
    const acc_t* turned = this->taps.data;
    acc_t* totals = tap_totals.data;
    acc_t* origin = outer.origin(this->outer_buffer.data);
    const acc_t* met = origin - t.pad_top * stride - t.pad_left;
    const bool streams = past_caches && reinterpret_cast<uintptr_t>(grad_features) % kVectorBytes == 0;

    Padded<acc_t> part = outer;
    int64_t filled = 0;
    const auto fill = [&](int64_t until) {
      part.height = (until < s.out_height ? until : s.out_height) - filled;
      if (part.height <= 0) return;
      const acc_t* rows = grad_output + filled * s.out_width;
      ask_for<Lines::kReadSecondLevel>(rows, kAhead, kAhead + part.height * row_bytes);
      part.top = outer.top + filled;
      part.fill(this->outer_buffer.data, rows);
      filled += part.height;
    };
    int64_t y = 0, added = 0;  // vectors, since sums were last moved to `exact`
    const auto finish_rows = [&](int64_t rows) {
      y += rows;
      added += rows * width / kLanes<acc_t>;
      if (added < kBlock && y < s.height) return;
      move_totals(kTaps * kernel_w);
      added = 0;
    };
    const auto add_rows = [&]<int kR>() {
      const acc_t* of_rows = features + y * width;
      fill(y + 2 * kTileRows + kTaps - 1 - t.pad_top);  // a tile earlier than met: stores are read back whole
      const auto tile = [&]<int kV>(int64_t x) {
        const int64_t next = kAhead + kR * x * static_cast<int64_t>(sizeof(acc_t));  // the tile's share of as many rows
        ask_for<Lines::kReadSecondLevel>(of_rows, next, next + kR * kV * kVectorBytes);
        gradients_of_tile<acc_t, kTaps, kColumns, kFeatures, kR, kV>(
            met + y * stride + x, stride, turned, kernel_w, of_rows + x, width, totals,
            kFeatures ? grad_features + y * width + x : nullptr, streams);
        return x + kV * kLanes<acc_t>;
      };
      int64_t x = 0;
      while (x + kTileVectors * kLanes<acc_t> <= width) x = tile.template operator()<kTileVectors>(x);
      while (x < width) x = tile.template operator()<1>(x);
      finish_rows(kR);
    };
    const auto add_band = [&]<int kR>(int64_t rows) {
      const acc_t* of_rows = features + y * width;
      fill(y + rows + kTaps - 1 - t.pad_top);
      ask_for<Lines::kReadSecondLevel>(of_rows, kAhead, kAhead + rows * width * static_cast<int64_t>(sizeof(acc_t)));
      const auto columns = [&]<int kCount>(int64_t j) {
        add_columns_of_band<acc_t, kTaps, kCount, kR>(
            met + y * stride + j, stride, of_rows, width, rows, totals + j * kTaps * kLanes<acc_t>);
        return j + kCount;
      };
      int64_t j = 0;
      while (j + held_columns(kTaps) <= kernel_w) j = columns.template operator()<held_columns(kTaps)>(j);
      while (j < kernel_w) j = columns.template operator()<1>(j);
      finish_rows(rows);
    };
    if constexpr (kFeatures || kRegisters == 32) {
      fill(kTileRows + kTaps - 1 - t.pad_top);
      while (y + kTileRows <= s.height) add_rows.template operator()<kTileRows>();
      while (y < s.height) add_rows.template operator()<1>();
    } else {  // with 16 registers taps' totals come and go with every tile, which products alone do not hide
      const int64_t of_tiles = kTileRows * width / kLanes<acc_t>;  // vectors
      while (y + kTileRows <= s.height) {
        const int64_t band = smaller(kBand, kBlock - added);  // sums move where they would tile by tile
        const int64_t tiles = smaller((band + of_tiles - 1) / of_tiles, (s.height - y) / kTileRows);
        add_band.template operator()<kTileRows>(tiles * kTileRows);
      }
      while (y < s.height) add_band.template operator()<1>(1);
    }
  }

  void move_totals(int64_t taps) {
    for (int64_t i = 0; i < taps; ++i) {
      acc_t* total = tap_totals.data + i * kLanes<acc_t>;
      exact.data[i] += sum_lanes<acc_t>(load(total));
      store(total, Vector<acc_t>{});
    }
  }
};

}  // namespace
}  // namespace rpstn::RPSTN_ISA
