#pragma once

// Matrix products cut into tiles that stay in registers. Everything has internal linkage, see rows.h.

#include "cpu/vectors.h"

namespace rpstn::RPSTN_ISA {
namespace {

// Results of a tile stay in registers, with the rows of its shorter side and one of the other: 5 x 5 or 3 x 3. 3 x 4 do as
// well where a product is no register of its own: 13 rows are 3, 3, 3 and 4, not 2, 3, 2, 3 and 3.
constexpr int kTile = kRegisters == 32 ? 5 : 3, kLargestTile = kRegisters == 16 && kFuses ? 4 : kTile;

// Calls body.operator()<n>() for a run-time n of 1 to kMax.
template <int kMax, typename Body>
inline void with_constant(int n, Body body) {
  if constexpr (kMax > 1) {
    if (n < kMax) return with_constant<kMax - 1>(n, body);
  }
  body.template operator()<kMax>();
}

// `total` rows in tiles as equal as can be of at most kUsual, or kMax if that takes fewer; calls body(first row, rows).
template <int kMax, int kUsual = kMax>
inline int64_t count_tiles(int64_t total) {
  return total > kMax ? (total - (kMax - kUsual) + kUsual - 1) / kUsual : total > 0;
}
template <int kMax, int kUsual = kMax, typename Body>
inline void for_tiles(int64_t total, Body body) {
  const int64_t tiles = count_tiles<kMax, kUsual>(total);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t first = tile * total / tiles;
    body(first, static_cast<int>((tile + 1) * total / tiles - first));
  }
}

// A shift is Shift or NoShift.
struct NoShift {
  template <typename vector_t>
  vector_t operator()(vector_t values, int) const {
    return values;
  }
  NoShift from(int) const { return {}; }
};
template <typename acc_t>
struct Shift {
  const acc_t* shift;
  Vector<acc_t> operator()(Vector<acc_t> values, int row) const { return values - shift[row]; }
  Shift from(int row) const { return {shift + row}; }
};

struct AskNothing {
  void operator()(int64_t) const {}
};

// products[i,j] += sum_n (left[i,n] - left_shift[i]) * (right[j,n] - right_shift[j]), all of it in registers while the
// columns, whole vectors, pass by, or in halves if there are too few. ask(n) may meanwhile ask for what is read next.
template <
    int kI, int kJ, typename acc_t, typename LeftShift = NoShift, typename RightShift = NoShift,
    typename Ask = AskNothing>
void product_tile(
    const acc_t* left, int64_t left_stride, const acc_t* right, int64_t right_stride, int64_t columns,
    acc_t* products, int64_t products_stride, LeftShift left_shift = {}, RightShift right_shift = {}, Ask ask = {}) {
  if constexpr (kI * kJ + (kI < kJ ? kI : kJ) + 1 > kRegisters) {
    constexpr int kHalf = kJ / 2;
    product_tile<kI, kHalf>(
        left, left_stride, right, right_stride, columns, products, products_stride, left_shift, right_shift, ask);
    product_tile<kI, kJ - kHalf>(
        left, left_stride, right + kHalf * right_stride, right_stride, columns, products + kHalf, products_stride, left_shift,
        right_shift.from(kHalf));
  } else {
    constexpr bool kHoldsLeft = kI <= kJ;
    constexpr int kHeld = kHoldsLeft ? kI : kJ, kOther = kHoldsLeft ? kJ : kI;
    const auto left_row = [&](int i, int64_t n) { return left_shift(load(left + i * left_stride + n), i); };
    const auto right_row = [&](int j, int64_t n) { return right_shift(load(right + j * right_stride + n), j); };
    Vector<acc_t> total[kHeld][kOther] = {};
    for (int64_t n = 0; n < columns; n += kLanes<acc_t>) {
      ask(n);
      Vector<acc_t> held[kHeld];
#pragma GCC unroll 16
      for (int i = 0; i < kHeld; ++i) held[i] = kHoldsLeft ? left_row(i, n) : right_row(i, n);
#pragma GCC unroll 16
      for (int j = 0; j < kOther; ++j) {
        Vector<acc_t> other = kHoldsLeft ? right_row(j, n) : left_row(j, n);
        in_register(other);
#pragma GCC unroll 16
        for (int i = 0; i < kHeld; ++i) total[i][j] += held[i] * other;
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kHeld; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kOther; ++j)
        (kHoldsLeft ? products[i * products_stride + j] : products[j * products_stride + i]) += sum_lanes<acc_t>(total[i][j]);
    }
  }
}

// The same of rows with themselves, for j >= i only; with kSums also sums[i] += sum_n (rows[i,n] - shift[i]).
template <int kN, bool kSums, typename acc_t, typename RowShift, typename Ask>
void symmetric_tile(
    const acc_t* rows, int64_t stride, int64_t columns, acc_t* products, int64_t products_stride, RowShift shift,
    acc_t* sums, Ask ask) {
  if constexpr (kN * (kN + 1) / 2 + (kSums ? 2 : 1) * kN > kRegisters) {
    constexpr int kHalf = kN / 2;
    const acc_t* rest = rows + kHalf * stride;
    acc_t* of_rest = products + kHalf * products_stride + kHalf;
    symmetric_tile<kHalf, kSums>(rows, stride, columns, products, products_stride, shift, sums, ask);
    product_tile<kHalf, kN - kHalf>(
        rows, stride, rest, stride, columns, products + kHalf, products_stride, shift, shift.from(kHalf));
    symmetric_tile<kN - kHalf, kSums>(
        rest, stride, columns, of_rest, products_stride, shift.from(kHalf), kSums ? sums + kHalf : nullptr, AskNothing{});
  } else {
    Vector<acc_t> total[kN][kN] = {}, of_row[kN] = {};
    for (int64_t n = 0; n < columns; n += kLanes<acc_t>) {
      ask(n);
      Vector<acc_t> a[kN];
#pragma GCC unroll 16
      for (int i = 0; i < kN; ++i) {
        a[i] = shift(load(rows + i * stride + n), i);
        in_register(a[i]);
        if constexpr (kSums) of_row[i] += a[i];
#pragma GCC unroll 16
        for (int j = 0; j <= i; ++j) total[j][i] += a[j] * a[i];
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) {
#pragma GCC unroll 16
      for (int j = i; j < kN; ++j) products[i * products_stride + j] += sum_lanes<acc_t>(total[i][j]);
      if constexpr (kSums) sums[i] += sum_lanes<acc_t>(of_row[i]);
    }
  }
}

}  // namespace
}  // namespace rpstn::RPSTN_ISA
