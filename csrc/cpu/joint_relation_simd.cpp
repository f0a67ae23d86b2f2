// Compiled once per instruction set, RPSTN_ISA naming its namespace; see joint_relation.h for the equations.
//
// product: a tile of kTile x kTile results in registers while the columns of the chunk pass by.
//          Whole vectors of float and double are read where they lie; the columns that are left over, and half
//          types, pass through scratch padded with zeros.
// mix:     blocks of kPackedColumns columns are packed, in the type of the sums and padded with zeros: rows that lie
//          a power of two apart share few places of the nearest cache and would drive each other out (64 x 64, 13
//          joints, AVX2: 44 -> 17 microseconds a sample). kRows result rows times kColumns vectors in registers;
//          each x is loaded once per tile, each coefficient broadcast.

#include "cpu/joint_relation_simd.h"

#include <math.h>

#include "cpu/tiles.h"

namespace rpstn::RPSTN_ISA {
namespace {

constexpr int kRows = kRegisters == 32 ? 7 : 6;     // kRows * kColumns + kColumns + 1 registers
constexpr int kColumns = 2;

inline float exponential(float x) { return expf(x); }
inline double exponential(double x) { return exp(x); }

// Rows of whole vectors: in place or in scratch.
template <typename acc_t>
struct Panel {
  const acc_t* data;
  int64_t stride, columns;
};

// The chunk's columns [begin, end) of `rows` rows in scratch, padded with zeros to whole vectors.
template <typename scalar_t, typename acc_t>
Panel<acc_t> copied(const scalar_t* x, int64_t rows, int64_t stride, int64_t begin, int64_t end, acc_t* scratch) {
  constexpr int kWidth = kLanes<acc_t>;
  const int64_t columns = (end - begin + kWidth - 1) / kWidth * kWidth;
  for (int64_t row = 0; row < rows; ++row) {
    load_row(x + row * stride + begin, scratch + row * columns, end - begin);
    for (int64_t n = end - begin; n < columns; ++n) scratch[row * columns + n] = 0;
  }
  return {scratch, columns, columns};
}

// Where whole vectors end and the columns that pass through scratch begin.
template <typename scalar_t>
int64_t in_place_end(int64_t begin, int64_t end) {
  using acc_t = typename Accumulate<scalar_t>::type;
  if constexpr (sizeof(scalar_t) != sizeof(acc_t)) return begin;
  return end - (end - begin) % kLanes<acc_t>;
}

template <typename acc_t>
void add_products(Panel<acc_t> left, Panel<acc_t> right, int64_t joints, acc_t* products) {
  const bool symmetric = left.data == right.data;
  for_tiles<kTile>(joints, [&](int64_t first_i, int rows_i) {
    for_tiles<kTile>(joints, [&](int64_t first_j, int rows_j) {
      if (symmetric && first_j < first_i) return;
      with_constant<kTile>(rows_i, [&]<int kI>() {
        with_constant<kTile>(rows_j, [&]<int kJ>() {
          product_tile<kI, kJ>(
              left.data + first_i * left.stride, left.stride, right.data + first_j * right.stride, right.stride,
              left.columns, products + first_i * joints + first_j, joints);
        });
      });
    });
  });
}

template <typename acc_t>
void add_sums(Panel<acc_t> panel, int64_t joints, acc_t* sums) {
  for (int64_t k = 0; k < joints; ++k) {
    Vector<acc_t> total = {};
    for (int64_t n = 0; n < panel.columns; n += kLanes<acc_t>) total += load(panel.data + k * panel.stride + n);
    sums[k] += sum_lanes<acc_t>(total);
  }
}

template <typename scalar_t, typename acc_t>
void product(
    JointRelationShape shape, int64_t begin, int64_t end, const scalar_t* left, const scalar_t* right,
    acc_t* scratch, acc_t* products, acc_t* sums) {
  const auto [joints, columns] = shape;
  for (int64_t i = 0; i < joints * joints; ++i) products[i] = 0;
  for (int64_t i = 0; sums != nullptr && i < joints; ++i) sums[i] = 0;
  const int64_t middle = in_place_end<scalar_t>(begin, end);
  const auto add = [&](Panel<acc_t> left_panel, Panel<acc_t> right_panel) {
    add_products(left_panel, right_panel, joints, products);
    if (sums != nullptr) add_sums(left_panel, joints, sums);
  };
  if constexpr (sizeof(scalar_t) == sizeof(acc_t)) {
    if (middle > begin) add({left + begin, columns, middle - begin}, {right + begin, columns, middle - begin});
  }
  if (end > middle) {
    const auto left_panel = copied(left, joints, columns, middle, end, scratch);
    const auto right_panel =
        left == right ? left_panel
                      : copied(right, joints, columns, middle, end, scratch + joints * left_panel.columns);
    add(left_panel, right_panel);
  }
  for (int64_t i = 0; left == right && i < joints; ++i) {
    for (int64_t j = 0; j < i; ++j) products[i * joints + j] = products[j * joints + i];
  }
}

template <int kR, int kV, typename acc_t>
void mix_tile(
    const acc_t* first, const acc_t* x, const acc_t* second, const acc_t* y, const acc_t* offset,
    const acc_t* x_rows, int64_t joints, acc_t* out, int64_t out_stride) {
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
    const acc_t shift = offset != nullptr ? offset[r] : acc_t(0);
#pragma GCC unroll 16
    for (int v = 0; v < kV; ++v) {
      store(out + r * out_stride + v * kWidth,
            load(x_rows + r * kPackedColumns + v * kWidth) + (total[r][v] + shift));
    }
  }
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

template <typename scalar_t, typename acc_t>
void mix(
    JointRelationShape shape, int64_t begin, int64_t end, const acc_t* first, const scalar_t* x,
    const acc_t* second, const scalar_t* y, const acc_t* offset, acc_t* scratch, scalar_t* out) {
  constexpr int64_t kWidth = kLanes<acc_t>;
  const auto [joints, stride] = shape;
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
      in_place = columns % kWidth == 0;
      if (in_place) {
        result = out + block;
        result_stride = stride;
      }
    }
    for_tiles<kRows>(joints, [&](int64_t row, int rows) {
      for (int64_t n = 0; n < columns;) {
        const int vectors = n + kWidth < columns ? kColumns : 1;
        with_constant<kColumns>(vectors, [&]<int kV>() {
          with_constant<kRows>(rows, [&]<int kR>() {
            mix_tile<kR, kV>(
                first + row * joints, packed_x + n, second != nullptr ? second + row * joints : nullptr,
                packed_y + n, offset != nullptr ? offset + row : nullptr, packed_x + row * kPackedColumns + n,
                joints, result + row * result_stride + n, result_stride);
          });
        });
        n += vectors * kWidth;
      }
    });
    for (int64_t row = 0; !in_place && row < joints; ++row) {
      store_row(packed_out + row * kPackedColumns, out + row * stride + block, columns);
    }
  }
}

// --- K x K algebra ---

// out = a b, or a^T b.
template <bool kTransposed = false, typename acc_t>
void multiply(int64_t joints, const acc_t* a, const acc_t* b, acc_t* __restrict__ out) {
  for (int64_t i = 0; i < joints; ++i) {
    acc_t* __restrict__ row = out + i * joints;
    for (int64_t j = 0; j < joints; ++j) row[j] = 0;
    for (int64_t k = 0; k < joints; ++k) {
      const acc_t factor = kTransposed ? a[k * joints + i] : a[i * joints + k];
      for (int64_t j = 0; j < joints; ++j) row[j] += factor * b[k * joints + j];
    }
  }
}

template <typename acc_t>
void transpose(int64_t joints, const acc_t* a, acc_t* __restrict__ out) {
  for (int64_t i = 0; i < joints; ++i) {
    for (int64_t j = 0; j < joints; ++j) out[j * joints + i] = a[i * joints + j];
  }
}

// out = a v + shift, or a v.
template <typename acc_t>
void apply(int64_t joints, const acc_t* a, const acc_t* v, const acc_t* shift, acc_t* __restrict__ out) {
  for (int64_t i = 0; i < joints; ++i) {
    double total = shift != nullptr ? shift[i] : acc_t(0);
    for (int64_t j = 0; j < joints; ++j) total += double(a[i * joints + j]) * v[j];
    out[i] = static_cast<acc_t>(total);
  }
}

template <typename acc_t>
void softmax_rows(int64_t joints, const acc_t* relation, acc_t* __restrict__ weights) {
  for (int64_t i = 0; i < joints; ++i) {
    const acc_t* row = relation + i * joints;
    acc_t* __restrict__ out = weights + i * joints;
    acc_t largest = row[0];
    for (int64_t j = 1; j < joints; ++j) largest = row[j] > largest ? row[j] : largest;
    double total = 0;
    for (int64_t j = 0; j < joints; ++j) total += out[j] = exponential(row[j] - largest);
    for (int64_t j = 0; j < joints; ++j) out[j] = static_cast<acc_t>(out[j] / total);
  }
}

template <typename acc_t>
void fold(
    int64_t joints, const acc_t* relation, const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o,
    const acc_t* bias_o, acc_t* scratch, acc_t* mixing, acc_t* offset) {
  acc_t* weights = scratch;
  acc_t* product = scratch + joints * joints;
  softmax_rows(joints, relation, weights);
  multiply(joints, weight_o, weights, product);
  multiply(joints, product, weight_g, mixing);
  apply(joints, product, bias_g, bias_o, offset);
}

template <typename acc_t>
void fold_backward(
    int64_t joints, acc_t scale, const acc_t* relation, const acc_t* products, const acc_t* sums,
    const acc_t* weight_g, const acc_t* bias_g, const acc_t* weight_o, acc_t* scratch, acc_t* mixing_t,
    acc_t* through_relation, acc_t* grad_weight_g, acc_t* grad_bias_g, acc_t* grad_weight_o, acc_t* grad_bias_o) {
  const int64_t size = joints * joints;
  acc_t *weights = scratch, *turned = scratch + size, *e = scratch + 2 * size, *dp = scratch + 3 * size;
  softmax_rows(joints, relation, weights);

  // turned = P^T Wo^T; A^T - I = Wg^T turned
  transpose(joints, weight_o, e);
  multiply<true>(joints, weights, e, turned);
  multiply<true>(joints, weight_g, turned, mixing_t);
  multiply(joints, turned, products, grad_weight_g);
  apply<acc_t>(joints, turned, sums, nullptr, grad_bias_g);

  // E = C Wg^T + r bg^T; dWo = E P^T
  transpose(joints, weight_g, dp);
  multiply(joints, products, dp, e);
  for (int64_t i = 0; i < joints; ++i) {
    for (int64_t j = 0; j < joints; ++j) e[i * joints + j] += sums[i] * bias_g[j];
    grad_bias_o[i] = sums[i];
  }
  transpose(joints, weights, dp);
  multiply(joints, e, dp, grad_weight_o);

  // dS = P * (dP - rowsum(dP * P)) in the place of P; Q = scale * (dS + dS^T)
  multiply<true>(joints, weight_o, e, dp);
  for (int64_t i = 0; i < joints; ++i) {
    acc_t* row = weights + i * joints;
    const acc_t* grad = dp + i * joints;
    acc_t total = 0;
    for (int64_t j = 0; j < joints; ++j) total += grad[j] * row[j];
    for (int64_t j = 0; j < joints; ++j) row[j] *= grad[j] - total;
  }
  for (int64_t i = 0; i < joints; ++i) {
    for (int64_t j = 0; j < joints; ++j) {
      through_relation[i * joints + j] = scale * (weights[i * joints + j] + weights[j * joints + i]);
    }
  }
}

}  // namespace

template <typename scalar_t>
JointRelationSimd<scalar_t> joint_relation_simd() {
  using acc_t = typename Accumulate<scalar_t>::type;
  return {&product<scalar_t, acc_t>, &mix<scalar_t, acc_t>, &fold<acc_t>, &fold_backward<acc_t>};
}

template JointRelationSimd<double> joint_relation_simd<double>();
template JointRelationSimd<float> joint_relation_simd<float>();
template JointRelationSimd<Half> joint_relation_simd<Half>();
template JointRelationSimd<BFloat16> joint_relation_simd<BFloat16>();

}  // namespace rpstn::RPSTN_ISA
