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
// are too few for 5x5. With 16, taps' totals come and go more often, which the kernel's gradient alone pays for (AVX2, one
// thread of a Zen 3, 3x3 and 5x5: 1 and 4 % at 64x64, 6 % at 32x32, 24 and 34 % at 16x16).
template <typename scalar_t>
bool in_one_pass(const DynamicConv2dShape& s) {
  using acc_t = typename Accumulate<scalar_t>::type;
  const bool rows = s.kernel_h == 3 || (s.kernel_h == 5 && kFuses) || (s.kernel_h == 7 && kRegisters == 16);
  return rows && std::is_same_v<scalar_t, acc_t> && s.width % kLanes<acc_t> == 0;
}

// Column j of the taps over kR rows and kV vectors of features: added to the taps' totals and, with kFeatures, to those of
// the features' gradient.
template <typename acc_t, int kTaps, bool kFeatures, int kR, int kV>
inline __attribute__((always_inline)) void add_column(
    Vector<acc_t> (&total)[kR][kV], const Vector<acc_t> (&feature)[kR][kV], const acc_t* grad, int64_t stride,
    const acc_t* turned, int64_t kernel_w, acc_t* tap_totals, int64_t j) {
  constexpr int kWidth = kLanes<acc_t>;
  acc_t* totals_of_column = tap_totals + j * kTaps * kWidth;
  Vector<acc_t> of_tap[kTaps];
#pragma GCC unroll 8
  for (int i = 0; i < kTaps; ++i) of_tap[i] = load(totals_of_column + i * kWidth);
#pragma GCC unroll 16
  for (int row = 0; row < kR + kTaps - 1; ++row) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      Vector<acc_t> value = load(grad + row * stride + j + v * kWidth);
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
#pragma GCC unroll 8
  for (int i = 0; i < kTaps; ++i) store(totals_of_column + i * kWidth, of_tap[i]);
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
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) feature[r][v] = load(features + r * width + v * kWidth);
  }
  if constexpr (kColumns > 0) {
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j)
      add_column<acc_t, kTaps, kFeatures>(total, feature, grad, stride, turned, kColumns, tap_totals, j);
  } else {
    for (int64_t j = 0; j < kernel_w; ++j)
      add_column<acc_t, kTaps, kFeatures>(total, feature, grad, stride, turned, kernel_w, tap_totals, j);
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

// Of planes in_one_pass.
template <typename acc_t>
struct BothGradients : PlaneGradients<acc_t> {
  using PlaneGradients<acc_t>::s;
  using PlaneGradients<acc_t>::t;
  using PlaneGradients<acc_t>::outer;
  Scratch<acc_t> tap_totals;
  Scratch<double> exact;

  explicit BothGradients(const DynamicConv2dShape& shape)
      : PlaneGradients<acc_t>(shape),
        tap_totals(s.kernel_h * s.kernel_w * kLanes<acc_t>),
        exact(s.kernel_h * s.kernel_w) {}

  // grad_features may be null.
  void compute(
      const acc_t* grad_output, const acc_t* features, const acc_t* kernel, acc_t* grad_features, acc_t* grad_kernel,
      bool past_caches) {
    this->template load_taps<true>(kernel);
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
    } else if constexpr (kRegisters == 16) {  // unrolled, 7x7 is no quicker, and 8 % slower where only its gradient is wanted
      with_taps.template operator()<7, 0>();
    }
    const int64_t taps = s.kernel_h * s.kernel_w;
    for (int64_t i = 0; i < s.kernel_h; ++i) {
      for (int64_t j = 0; j < s.kernel_w; ++j)
        grad_kernel[taps - 1 - (i * s.kernel_w + j)] = static_cast<acc_t>(exact.data[j * s.kernel_h + i]);
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
    constexpr int64_t kAhead = 8 * 1024, kBlock = 512;  // vectors of features whose sums stay in the type of the sums
    const int64_t stride = outer.stride(), width = s.width, kernel_w = s.kernel_w;
    const int64_t row_bytes = s.out_width * static_cast<int64_t>(sizeof(acc_t));
    const acc_t* turned = this->taps.data;
    acc_t* totals = tap_totals.data;
    acc_t* origin = outer.origin(this->outer_buffer.data);
    const acc_t* met = origin - t.pad_top * stride - t.pad_left;
    const bool streams = past_caches && reinterpret_cast<uintptr_t>(grad_features) % kVectorBytes == 0;
    std::memset(exact.data, 0, kTaps * kernel_w * sizeof(double));
    std::memset(tap_totals.data, 0, kTaps * kernel_w * kVectorBytes);

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
    int64_t added = 0;  // vectors, since sums were last moved to `exact`
    const auto add_rows = [&]<int kR>(int64_t y) {
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
      added += kR * width / kLanes<acc_t>;
      if (added < kBlock && y + kR < s.height) return;
      move_totals(kTaps * kernel_w);
      added = 0;
    };
    fill(kTileRows + kTaps - 1 - t.pad_top);
    int64_t y = 0;
    for (; y + kTileRows <= s.height; y += kTileRows) add_rows.template operator()<kTileRows>(y);
    for (; y < s.height; ++y) add_rows.template operator()<1>(y);
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
