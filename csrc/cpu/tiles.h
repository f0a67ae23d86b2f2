#pragma once

// Matrix products cut into tiles that stay in registers. Everything has internal linkage, see rows.h.

#include "cpu/vectors.h"

namespace rpstn::RPSTN_ISA {
namespace {

constexpr int kTile = kRegisters == 32 ? 5 : 3;  // kTile^2 + kTile + 1 registers

// Calls body.operator()<n>() for a run-time n of 1 to kMax.
template <int kMax, typename Body>
inline void with_constant(int n, Body body) {
  if constexpr (kMax > 1) {
    if (n < kMax) return with_constant<kMax - 1>(n, body);
  }
  body.template operator()<kMax>();
}

// `total` rows in tiles as equal as can be of at most kMax; calls body(first row, rows).
template <int kMax, typename Body>
inline void for_tiles(int64_t total, Body body) {
  const int64_t tiles = (total + kMax - 1) / kMax;
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
};
template <typename acc_t>
struct Shift {
  const acc_t* shift;
  Vector<acc_t> operator()(Vector<acc_t> values, int row) const { return values - shift[row]; }
};

struct AskNothing {
  void operator()(int64_t) const {}
};

// products[i,j] += sum_n (left[i,n] - left_shift[i]) * (right[j,n] - right_shift[j]), all of it in registers while the
// columns, whole vectors, pass by. ask(n) may meanwhile ask for what is read next.
template <
    int kI, int kJ, typename acc_t, typename LeftShift = NoShift, typename RightShift = NoShift,
    typename Ask = AskNothing>
void product_tile(
    const acc_t* left, int64_t left_stride, const acc_t* right, int64_t right_stride, int64_t columns,
    acc_t* products, int64_t products_stride, LeftShift left_shift = {}, RightShift right_shift = {}, Ask ask = {}) {
  Vector<acc_t> total[kI][kJ] = {};
  for (int64_t n = 0; n < columns; n += kLanes<acc_t>) {
    ask(n);
    Vector<acc_t> a[kI];
#pragma GCC unroll 16
    for (int i = 0; i < kI; ++i) a[i] = left_shift(load(left + i * left_stride + n), i);
#pragma GCC unroll 16
    for (int j = 0; j < kJ; ++j) {
      Vector<acc_t> b = right_shift(load(right + j * right_stride + n), j);
      in_register(b);
#pragma GCC unroll 16
      for (int i = 0; i < kI; ++i) total[i][j] += a[i] * b;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kI; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kJ; ++j) products[i * products_stride + j] += sum_lanes<acc_t>(total[i][j]);
  }
}

// The same of rows with themselves, for j >= i only; with kSums also sums[i] += sum_n (rows[i,n] - shift[i]).
template <int kN, bool kSums, typename acc_t, typename RowShift, typename Ask>
void symmetric_tile(
    const acc_t* rows, int64_t stride, int64_t columns, acc_t* products, int64_t products_stride, RowShift shift,
    acc_t* sums, Ask ask) {
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

}  // namespace
}  // namespace rpstn::RPSTN_ISA
