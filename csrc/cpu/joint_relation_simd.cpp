// Compiled once per instruction set, RPSTN_ISA naming its namespace; see joint_relation.h for the equations.
//
// product: a tile of results (tiles.h) in registers while the columns of the chunk pass by.
//          Whole vectors of float and double are read where they lie, and shifted in registers; the columns that are
//          left over, and half types, pass through scratch padded with zeros.
// mix:     blocks of kPackedColumns columns are packed, in the type of the sums and padded with zeros: rows that lie
//          a power of two apart share few places of the nearest cache and would drive each other out (64 x 64, 13
//          joints, AVX2: 44 -> 17 microseconds a sample). kRows result rows times kColumns vectors in registers;
//          each x is loaded once per tile, each coefficient broadcast.

#include "cpu/joint_relation_simd.h"

#include <type_traits>

#include "cpu/matrices.h"
#include "cpu/tiles.h"

namespace rpstn::RPSTN_ISA {
namespace {

constexpr int kRows = kRegisters == 32 ? 7 : 6;     // kRows * kColumns + kColumns + 1 registers
constexpr int kColumns = 2;

// Rows of whole vectors: in place or in scratch.
template <typename acc_t>
struct Panel {
  const acc_t* data;
  int64_t stride, columns;
};

// The chunk's columns [begin, end) of `rows` rows in scratch, less `shift`, padded with zeros to whole vectors. Rows
// lie kScratchPadding further apart than they are long, or a power of two would bring them into the same places of
// the nearest cache.
template <typename scalar_t, typename acc_t>
Panel<acc_t> copied(
    const scalar_t* x, int64_t rows, int64_t stride, int64_t begin, int64_t end, const acc_t* shift,
    acc_t* scratch) {
  const int64_t columns = whole_vectors<acc_t>(end - begin), row_stride = columns + kScratchPadding;
  for (int64_t row = 0; row < rows; ++row) {
    acc_t* target = scratch + row * row_stride;
    load_row(x + row * stride + begin, target, end - begin);
    if (shift != nullptr) {
      for (int64_t n = 0; n < end - begin; ++n) target[n] -= shift[row];
    }
    for (int64_t n = end - begin; n < columns; ++n) target[n] = 0;
  }
  return {scratch, row_stride, columns};
}

// Where whole vectors end and the columns that pass through scratch begin.
template <typename scalar_t>
int64_t in_place_end(int64_t begin, int64_t end) {
  using acc_t = typename Accumulate<scalar_t>::type;
  if constexpr (sizeof(scalar_t) != sizeof(acc_t)) return begin;
  return end - (end - begin) % kLanes<acc_t>;
}

// The rows that are read next. Each tile asks for its share of them while its columns pass by: all at once they would hold
// up the sums until they had come (norm, first pass over 256x13x64x64, two threads of an EPYC: 5.6 ms, 5.8 with every
// tile's share asked for at once, 4.5 like this).
struct NextRows {
  struct Share {
    static constexpr int kRows = 3;  // of a larger share the rest is not asked for
    const char* row[kRows];
    int64_t bytes;

    void operator()(int64_t column) const {
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) ask_for_line<Lines::kReadSecondLevel>(row[i] + column * bytes);  // see ask_ahead
    }
  };

  const char *left, *right;
  int64_t joints, rows, stride, bytes;  // K; K, or 2 K with right's; from row to row, and of a number, in bytes

  template <typename scalar_t>
  NextRows(const scalar_t* left, const scalar_t* right, JointRelationShape shape)
      : left(reinterpret_cast<const char*>(left)), right(reinterpret_cast<const char*>(right)), joints(shape.joints),
        rows(left == right ? joints : 2 * joints), stride(shape.columns * sizeof(scalar_t)), bytes(sizeof(scalar_t)) {}

  Share share(int64_t tile, int64_t tiles) const {
    const int64_t first = tile * rows / tiles, last = larger(first, (tile + 1) * rows / tiles - 1);
    Share of_tile{.row = {}, .bytes = bytes};
    for (int i = 0; i < Share::kRows; ++i) {
      const int64_t row = smaller(first + i, last);
      of_tile.row[i] = row < joints ? left + row * stride : right + (row - joints) * stride;
    }
    return of_tile;
  }
};

struct NoRows {
  AskNothing share(int64_t, int64_t) const { return {}; }
};

// `shift` [K], or null, is taken off the rows of `right`.
template <typename acc_t, typename Next>
void add_products(
    Panel<acc_t> left, Panel<acc_t> right, const acc_t* shift, const Next& next, int64_t joints, acc_t* products) {
  const int64_t strips = count_tiles<kLargestTile, kTile>(joints), tiles = strips * strips;
  int64_t index = 0;
  for_tiles<kLargestTile, kTile>(joints, [&](int64_t first_i, int rows_i) {
    for_tiles<kLargestTile, kTile>(joints, [&](int64_t first_j, int rows_j) {
      const auto ask = next.share(index++, tiles);
      with_constant<kLargestTile>(rows_i, [&]<int kI>() {
        with_constant<kLargestTile>(rows_j, [&]<int kJ>() {
          const auto tile = [&](auto right_shift) {
            product_tile<kI, kJ>(
                left.data + first_i * left.stride, left.stride, right.data + first_j * right.stride, right.stride,
                left.columns, products + first_i * joints + first_j, joints, NoShift{}, right_shift, ask);
          };
          shift == nullptr ? tile(NoShift{}) : tile(Shift<acc_t>{shift + first_j});
        });
      });
    });
  });
}

// Of a panel, less `shift`, with itself: the upper triangle, and with kSums the sums of its rows.
template <bool kSums, typename acc_t, typename Next>
void add_symmetric_products(
    Panel<acc_t> panel, const acc_t* shift, const Next& next, int64_t joints, acc_t* products, acc_t* sums) {
  const int64_t strips = count_tiles<kLargestTile, kTile>(joints), tiles = strips * (strips + 1) / 2;
  int64_t index = 0;
  for_tiles<kLargestTile, kTile>(joints, [&](int64_t first_i, int rows_i) {
    for_tiles<kLargestTile, kTile>(joints, [&](int64_t first_j, int rows_j) {
      if (first_j < first_i) return;
      const auto ask = next.share(index++, tiles);
      const acc_t *of_i = panel.data + first_i * panel.stride, *of_j = panel.data + first_j * panel.stride;
      acc_t* place = products + first_i * joints + first_j;
      with_constant<kLargestTile>(rows_i, [&]<int kI>() {
        if (first_j == first_i) {
          const auto tile = [&](auto row_shift) {
            symmetric_tile<kI, kSums>(of_i, panel.stride, panel.columns, place, joints, row_shift,
                                      kSums ? sums + first_i : nullptr, ask);
          };
          return shift == nullptr ? tile(NoShift{}) : tile(Shift<acc_t>{shift + first_i});
        }
        with_constant<kLargestTile>(rows_j, [&]<int kJ>() {
          const auto tile = [&](auto i_shift, auto j_shift) {
            product_tile<kI, kJ>(
                of_i, panel.stride, of_j, panel.stride, panel.columns, place, joints, i_shift, j_shift, ask);
          };
          shift == nullptr ? tile(NoShift{}, NoShift{}) : tile(Shift<acc_t>{shift + first_i}, Shift<acc_t>{shift + first_j});
        });
      });
    });
  });
}

// Of the rows of `panel`.
template <typename acc_t>
void add_sums(Panel<acc_t> panel, int64_t joints, acc_t* sums) {
  for (int64_t k = 0; k < joints; ++k) {
    Vector<acc_t> total[2] = {};
    int64_t n = 0;
    for (; n + 2 * kLanes<acc_t> <= panel.columns; n += 2 * kLanes<acc_t>) {
      total[0] += load(panel.data + k * panel.stride + n);
      total[1] += load(panel.data + k * panel.stride + n + kLanes<acc_t>);
    }
    for (; n < panel.columns; n += kLanes<acc_t>) total[0] += load(panel.data + k * panel.stride + n);
    sums[k] += sum_lanes<acc_t>(total[0] + total[1]);
  }
}

template <typename scalar_t, typename acc_t>
void product(
    JointRelationShape shape, int64_t begin, int64_t end, const scalar_t* left, const scalar_t* right,
    const acc_t* shift, int64_t ahead, acc_t* scratch, acc_t* products, acc_t* sums) {
  const auto [joints, columns] = shape;
  for (int64_t i = 0; i < joints * joints; ++i) products[i] = 0;
  for (int64_t i = 0; sums != nullptr && i < joints; ++i) sums[i] = 0;
  const int64_t middle = in_place_end<scalar_t>(begin, end);
  const auto add = [&](Panel<acc_t> left_panel, Panel<acc_t> right_panel, const acc_t* to_shift, int64_t first) {
    const auto with_next = [&](const auto& next) {
      if (left != right) {
        add_products(left_panel, right_panel, to_shift, next, joints, products);
        if (sums != nullptr) add_sums(left_panel, joints, sums);
      } else if (sums != nullptr) {
        add_symmetric_products<true>(left_panel, to_shift, next, joints, products, sums);
      } else {
        add_symmetric_products<false>(left_panel, to_shift, next, joints, products, sums);
      }
    };
    ahead == 0 ? with_next(NoRows{}) : with_next(NextRows(left + ahead + first, right + ahead + first, shape));
  };
  if constexpr (sizeof(scalar_t) == sizeof(acc_t)) {
    if (middle > begin) add({left + begin, columns, middle - begin}, {right + begin, columns, middle - begin}, shift, begin);
  }
  if (end > middle) {  // shifted before the zeros that fill its vectors
    const acc_t* left_shift = left == right ? shift : nullptr;
    const auto left_panel = copied(left, joints, columns, middle, end, left_shift, scratch);
    const auto right_panel =
        left == right ? left_panel
                      : copied(right, joints, columns, middle, end, shift, scratch + joints * left_panel.stride);
    add(left_panel, right_panel, nullptr, middle);
  }
  for (int64_t i = 0; left == right && i < joints; ++i) {
    for (int64_t j = 0; j < i; ++j) products[i * joints + j] = products[j * joints + i];
  }
}

// Sums of the rows over columns [begin, end).
template <typename scalar_t, typename acc_t>
void sum_rows(JointRelationShape shape, int64_t begin, int64_t end, const scalar_t* x, acc_t* scratch, acc_t* sums) {
  const auto [joints, columns] = shape;
  for (int64_t k = 0; k < joints; ++k) {
    const scalar_t* row = x + k * columns;
    const int64_t middle = in_place_end<scalar_t>(begin, end);
    Vector<acc_t> total = {};
    if constexpr (sizeof(scalar_t) == sizeof(acc_t)) {
      for (int64_t n = begin; n < middle; n += kLanes<acc_t>) total += load(row + n);
    }
    if (end > middle) {
      const auto rest = copied<scalar_t, acc_t>(row, 1, columns, middle, end, nullptr, scratch);
      for (int64_t n = 0; n < rest.columns; n += kLanes<acc_t>) total += load(rest.data + n);
    }
    sums[k] = sum_lanes<acc_t>(total);
  }
}

template <int kR, int kV, typename acc_t>
inline __attribute__((always_inline)) void mix_tile(
    const acc_t* gain, const acc_t* first, const acc_t* x, const acc_t* second, const acc_t* y, const acc_t* offset,
    const acc_t* x_rows, int64_t joints, bool past_caches, acc_t* out, int64_t out_stride) {
  constexpr int kWidth = kLanes<acc_t>;
  Vector<acc_t> total[kR][kV] = {};
  const auto add = [&](const acc_t* coefficients, const acc_t* values) {
    for (int64_t j = 0; j < joints; ++j) {
      Vector<acc_t> value[kV];
#pragma GCC unroll 16
      for (int v = 0; v < kV; ++v) value[v] = load(values + j * kPackedColumns + v * kWidth);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const acc_t coefficient = coefficients[r * joints + j];
#pragma GCC unroll 16
        for (int v = 0; v < kV; ++v) total[r][v] += coefficient * value[v];
      }
    }
  };
  add(first, x);
  if (second != nullptr) add(second, y);
#pragma GCC unroll 16
  for (int r = 0; r < kR; ++r) {
    const acc_t factor = gain != nullptr ? gain[r] : acc_t(1), shift = offset != nullptr ? offset[r] : acc_t(0);
#pragma GCC unroll 16
    for (int v = 0; v < kV; ++v) {
      const Vector<acc_t> result =
          factor * load(x_rows + r * kPackedColumns + v * kWidth) + (total[r][v] + shift);
      acc_t* target = out + r * out_stride + v * kWidth;
      if (past_caches) {
        store_past_caches(target, result);
      } else {
        store(target, result);
      }
    }
  }
}

// kR rows of a block; ask(column, vectors) may ask for what is read next. One call for all of a row's tiles: a call for each
// was a tenth of the time (64x64, 13 joints, AVX2 of a Zen 3: 27.6 -> 25.3 microseconds a sample).
template <int kR, typename acc_t, typename Ask>
__attribute__((noinline)) void mix_rows(
    const acc_t* gain, const acc_t* first, const acc_t* x, const acc_t* second, const acc_t* y, const acc_t* offset,
    const acc_t* x_rows, int64_t joints, int64_t columns, bool past_caches, acc_t* out, int64_t out_stride, const Ask& ask) {
  constexpr int kWidth = kLanes<acc_t>;
  const auto tile = [&]<int kV>(int64_t n) {
    ask(n, kV);
    mix_tile<kR, kV>(gain, first, x + n, second, y + n, offset, x_rows + n, joints, past_caches, out + n, out_stride);
  };
  int64_t n = 0;
  for (; n + kWidth < columns; n += kColumns * kWidth) tile.template operator()<kColumns>(n);
  if (n < columns) tile.template operator()<1>(n);
}

// Columns [n, n + columns) of x, rows kPackedColumns apart, padded with zeros to whole vectors.
template <typename scalar_t, typename acc_t>
void pack(const scalar_t* x, int64_t joints, int64_t stride, int64_t n, int64_t columns, acc_t* packed) {
  for (int64_t row = 0; row < joints; ++row) {
    const scalar_t* source = x + row * stride + n;
    acc_t* target = packed + row * kPackedColumns;
    if constexpr (sizeof(scalar_t) == sizeof(acc_t)) {
      if (columns == kPackedColumns) {
#pragma GCC unroll 4
        for (int64_t i = 0; i < kPackedColumns; i += kLanes<acc_t>) store(target + i, load(source + i));
        continue;
      }
    }
    load_row(source, target, columns);
    for (int64_t i = columns; i % kLanes<acc_t> != 0; ++i) target[i] = 0;
  }
}

// Asks for `columns` columns of some rows, while others are worked on. Into the second cache: rows that lie a power of two
// apart drive each other out of the nearest one before they are read (64 and 256x13x64x64, two threads of an EPYC, backward:
// 2.78 -> 2.45 and 10.6 -> 9.5 ms, with the norm 3.75 -> 3.0).
template <typename scalar_t>
void ask_ahead(const scalar_t* x, int64_t rows, int64_t stride, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row)
    ask_for<Lines::kReadSecondLevel>(x + row * stride, 0, columns * static_cast<int64_t>(sizeof(scalar_t)));
}

template <typename scalar_t, typename acc_t>
void mix(
    JointRelationShape shape, int64_t begin, int64_t end, const acc_t* gain, const acc_t* first, const scalar_t* x,
    const acc_t* second, const scalar_t* y, const acc_t* offset, int64_t ahead, Stores stores, acc_t* scratch,
    scalar_t* out) {
  constexpr int64_t kWidth = kLanes<acc_t>;
  const auto [joints, stride] = shape;
  const bool whole = std::is_same_v<scalar_t, acc_t> && reinterpret_cast<uintptr_t>(out) % kVectorBytes == 0 &&
                     stride % kWidth == 0;
  const bool by_tile = whole && stores == Stores::past_caches, by_row = whole && stores == Stores::past_caches_by_row;
  acc_t *packed_x = scratch, *packed_y = packed_x + joints * kPackedColumns,
        *packed_out = packed_y + joints * kPackedColumns;
  for (int64_t block = begin; block < end; block += kPackedColumns) {
    const int64_t columns = end - block < kPackedColumns ? end - block : kPackedColumns;
    pack(x, joints, stride, block, columns, packed_x);
    if (second != nullptr) pack(y, joints, stride, block, columns, packed_y);
    acc_t* result = packed_out;
    int64_t result_stride = kPackedColumns;
    bool in_place = false;
    if constexpr (sizeof(scalar_t) == sizeof(acc_t)) {
      in_place = columns % kWidth == 0 && !by_row;
      if (in_place) {
        result = out + block;
        result_stride = stride;
      }
    }
    for_tiles<kRows>(joints, [&](int64_t row, int rows) {
      const auto of_row = [&](const acc_t* of_all, int64_t size) { return of_all != nullptr ? of_all + row * size : nullptr; };
      with_constant<kRows>(rows, [&]<int kR>() {
        mix_rows<kR>(
            of_row(gain, 1), of_row(first, joints), packed_x, of_row(second, joints), packed_y, of_row(offset, 1),
            packed_x + row * kPackedColumns, joints, columns, in_place && by_tile, result + row * result_stride, result_stride,
            [&](int64_t n, int vectors) {
              if (ahead == 0) return;
              const int64_t next = ahead + row * stride + block + n;
              ask_ahead(x + next, kR, stride, vectors * kWidth);
              if (second != nullptr) ask_ahead(y + next, kR, stride, vectors * kWidth);
            });
      });
    });
    for (int64_t row = 0; !in_place && row < joints; ++row) {
      const acc_t* of_row = packed_out + row * kPackedColumns;
      scalar_t* target = out + row * stride + block;
      if constexpr (std::is_same_v<scalar_t, acc_t>) {
        for (int64_t i = 0; by_row && i < columns; i += kWidth) store_past_caches(target + i, load(of_row + i));
      }
      if (!by_row) store_row(of_row, target, columns);
    }
  }
  if (by_tile || by_row) finish_stores();
}

}  // namespace

template <typename scalar_t>
JointRelationSimd<scalar_t> joint_relation_simd() {
  using acc_t = typename Accumulate<scalar_t>::type;
  return {&product<scalar_t, acc_t>, &sum_rows<scalar_t, acc_t>, &mix<scalar_t, acc_t>, &fold<acc_t>, &fold_backward<acc_t>};
}

template JointRelationSimd<double> joint_relation_simd<double>();
template JointRelationSimd<float> joint_relation_simd<float>();
template JointRelationSimd<Half> joint_relation_simd<Half>();
template JointRelationSimd<BFloat16> joint_relation_simd<BFloat16>();

}  // namespace rpstn::RPSTN_ISA
