#pragma once

// Products and mixtures of maps, K rows of a tile's columns. A chunk of kChunk columns belongs to one warp, which adds its products in one order: sums of chunks in their order do not depend on how a sample is cut
// into tiles. Rows lie 16 bytes further apart than a multiple of 128, so that what eight lanes read together, 16 bytes
// each, falls into different banks.
//
// RelationTile<float, kJoints>: K <= kJoints rows, a thread for whole columns and fused multiply-adds on all of them.
// RelationTile<half type, 16 or 32>: matrix instructions, whose products of half types are exact and whose sums are
// float; coefficients enter as a sum of two numbers of the half type, scaled by a power of two per row, which keeps 16
// and more of their digits.

#include <cmath>
#include <cstring>
#include <type_traits>

#include "cuda/numbers.cuh"
#include "cuda/ptx.cuh"
#include "cuda/relation_sums.cuh"

namespace rpstn {

// Where a tile's rows lie: in shared memory or, to be mixed, in the tensor.
template <typename scalar_t>
struct TileRows {
  const scalar_t* data;  // [joints, stride], whole vectors of 16 bytes
  int joints, stride, columns;

  // Rows beyond the last repeat it: what they give is not kept, or multiplied by a zero.
  __device__ const scalar_t* row(int k) const { return data + min(k, joints - 1) * stride; }
};

constexpr int kLoadsAtOnce = 4;  // of elements that are copied one by one, by a thread

// keep(k, n, load(k * joint + n * column)) for rows k < joints of columns n < columns, shared out among the block's threads
// as channels_last maps lie: neighbours read neighbours. kAtOnce loads are on their way at once, and after the first a
// place takes additions alone.
template <int kAtOnce, typename Load, typename Keep>
__device__ inline void for_channels_last(
    int joints, int columns, int64_t joint, int64_t column, Load&& load, Keep&& keep) {
  const unsigned rows = joints, threads = blockDim.x;
  const int along = static_cast<int>(threads % rows), down = static_cast<int>(threads / rows);
  int k = static_cast<int>(threadIdx.x % rows), n = static_cast<int>(threadIdx.x / rows);
  int64_t place = k * joint + n * column;
  const int64_t step = along * joint + down * column, carry = column - joints * joint;
#pragma unroll 1
  while (n < columns) {
    decltype(load(place)) values[kAtOnce] = {};  // without, they keep their registers from one call to the next
    int of_joint[kAtOnce], of_column[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      of_joint[i] = k;
      of_column[i] = n;
      if (n < columns) values[i] = load(place);
      const bool next = k + along >= joints;
      k += next ? along - joints : along;
      n += next ? down + 1 : down;
      place += next ? step + carry : step;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (of_column[i] < columns) keep(of_joint[i], of_column[i], values[i]);
    }
  }
}

// Where a tile's results go: out[k, begin + n] for n < columns, rows `stride` apart; `whole` if 16 bytes may be written
// at once.
template <typename scalar_t>
struct TileOutput {
  scalar_t* data;
  int64_t stride;
  int columns;
  bool whole;

  template <int kCount>
  __device__ void store(int k, int n, const Vector<scalar_t, kCount>& values) const {
    scalar_t* target = data + k * stride + n;
    if (whole && n + kCount <= columns) {
      static_assert(sizeof(values) == sizeof(uint4));
      uint4 bits;
      memcpy(&bits, &values, sizeof(bits));
      store_global_16(target, bits);
      return;
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (n + i < columns) target[i] = values.at[i];
    }
  }
};

// out = gain * x + first x + second y + offset, matrices as prepared, in shared memory; second, offset and gain, then 1,
// may be null.
struct TileMixture {
  const float *first, *second, *offset, *gain;
};

// Products of the same rows are kept once: i <= j, row after row.
constexpr int triangle_size(int joints) { return joints * (joints + 1) / 2; }
__device__ inline int triangle_index(int joints, int i, int j) {
  const int low = min(i, j), high = max(i, j);
  return low * joints - low * (low - 1) / 2 + high - low;
}

template <typename scalar_t, int kJoints>
struct RelationTile;

template <int kJoints>
struct RelationTile<float, kJoints> {
  static constexpr int kChunk = 256;
  static constexpr int kVector = 4;
  static constexpr int kHalfJoints = (kJoints + 1) / 2;
  static constexpr int kTriangle = triangle_size(kJoints);
  static constexpr int kRectangle = kHalfJoints * kJoints + kHalfJoints;
  static constexpr int kSamePart = kTriangle;
  static constexpr int kCrossPart = 2 * kRectangle;
  // Coefficients' rows are as long as whole vectors.
  static constexpr int kRow = (kJoints + 3) / 4 * 4;
  static constexpr int kPrepared = kJoints * kRow;  // numbers per matrix

  __device__ static int same_index(int i, int j) { return triangle_index(kJoints, i, j); }
  __device__ static int cross_index(int i, int j) {
    return i / kHalfJoints * kRectangle + i % kHalfJoints * kJoints + j;
  }
  __device__ static int sum_index(int i) {
    return i / kHalfJoints * kRectangle + kHalfJoints * kJoints + i % kHalfJoints;
  }

  // part = the upper triangle of x x^T over the chunk at `column`.
  __device__ static void same(TileRows<float> x, int column, float* part) {
    float total[kTriangle] = {};
#pragma unroll 1
    for (int n = column + threadIdx.x % 32 * kVector; n < column + kChunk; n += 32 * kVector) {
      Vector<float, kVector> value[kJoints];
#pragma unroll
      for (int k = 0; k < kJoints; ++k) value[k] = load_vector<kVector>(x.row(k) + n);
      int at = 0;
#pragma unroll
      for (int i = 0; i < kJoints; ++i) {
#pragma unroll
        for (int j = i; j < kJoints; ++j, ++at) {
#pragma unroll
          for (int v = 0; v < kVector; ++v) total[at] += value[i].at[v] * value[j].at[v];
        }
      }
    }
    keep<kTriangle>(total, part);
  }

  // part = d x^T and the sums of d over the chunk, for one half of d's rows; the other half is another warp's.
  static constexpr int kCrossTasks = 2;
  __device__ static void cross(TileRows<float> d, TileRows<float> x, int column, int half, float* part) {
    constexpr int kPair = 2;
    float total[kRectangle] = {};
#pragma unroll 1
    for (int n = column + threadIdx.x % 32 * kPair; n < column + kChunk; n += 32 * kPair) {
      Vector<float, kPair> left[kHalfJoints], right[kJoints];
#pragma unroll
      for (int k = 0; k < kHalfJoints; ++k) left[k] = load_vector<kPair>(d.row(half * kHalfJoints + k) + n);
#pragma unroll
      for (int k = 0; k < kJoints; ++k) right[k] = load_vector<kPair>(x.row(k) + n);
#pragma unroll
      for (int i = 0; i < kHalfJoints; ++i) {
#pragma unroll
        for (int v = 0; v < kPair; ++v) {
          total[kHalfJoints * kJoints + i] += left[i].at[v];
#pragma unroll
          for (int j = 0; j < kJoints; ++j) total[i * kJoints + j] += left[i].at[v] * right[j].at[v];
        }
      }
    }
    keep<kRectangle>(total, part + half * kRectangle);
  }

  // The matrix of entry(k, j) with rows of whole vectors; mix adds the diagonal, its gain, by itself. By the block; seen
  // after __syncthreads().
  template <typename Entry, typename Diagonal>
  __device__ static void prepare(int joints, Entry&& entry, Diagonal&&, float* prepared) {
    for (int i = threadIdx.x; i < joints * kRow; i += blockDim.x) {
      prepared[i] = i % kRow < joints ? entry(i / kRow, i % kRow) : 0.0f;
    }
  }

  // Of prepared matrices; by the block, kVector columns a thread. x itself is added: that keeps the digits of first.
  template <bool kTwo>
  __device__ static void mix(TileRows<float> x, TileRows<float> y, TileMixture mixture, TileOutput<float> out) {
    for (int n = threadIdx.x * kVector; n < out.columns; n += blockDim.x * kVector) {
      Vector<float, kVector> of_x[kJoints], of_y[kTwo ? kJoints : 1];
#pragma unroll
      for (int j = 0; j < kJoints; ++j) {
        of_x[j] = load_vector<kVector>(x.row(j) + n);
        if constexpr (kTwo) of_y[j] = load_vector<kVector>(y.row(j) + n);
      }
#pragma unroll (kTwo ? 1 : 2)
      for (int k = 0; k < x.joints; ++k) {
        Vector<float, kVector> result = {};
        add(mixture.first + k * kRow, of_x, result);
        if constexpr (kTwo) add(mixture.second + k * kRow, of_y, result);
        const Vector<float, kVector> own = load_vector<kVector>(x.row(k) + n);
        const float offset = mixture.offset != nullptr ? mixture.offset[k] : 0.0f;
        const float gain = mixture.gain != nullptr ? mixture.gain[k] : 1.0f;
#pragma unroll
        for (int v = 0; v < kVector; ++v) result.at[v] = gain * own.at[v] + (result.at[v] + offset);
        out.store(k, n, result);
      }
    }
  }

 private:
  template <int kCount>
  __device__ static void keep(float (&total)[kCount], float* part) {
    int first, kept;
    add_over_warp<kCount>(total, first, kept);
#pragma unroll
    for (int i = 0; i < (kCount + 31) / 32; ++i) {
      if (i < kept) part[first + i] = total[i];
    }
  }

  __device__ static void add(
      const float* coefficients, const Vector<float, kVector> (&values)[kJoints], Vector<float, kVector>& result) {
#pragma unroll
    for (int first = 0; first < kJoints; first += 4) {
      const Vector<float, 4> four = load_vector<4>(coefficients + first);
#pragma unroll
      for (int j = first; j < first + 4 && j < kJoints; ++j) {
#pragma unroll
        for (int v = 0; v < kVector; ++v) result.at[v] += four.at[j - first] * values[j].at[v];
      }
    }
  }
};

// kJoints: 16 or 32. Lane = 4 g + t as ptx.cuh's multiply_16x8x16 has them.
template <typename half_t, int kJoints>
struct RelationTileOfHalves {
  // Twice as many columns as of float: a warp has them by matrix instructions soon, and half as many parts leave room
  // for a whole sample of 13 x 64 x 64 in a block of which two share a multiprocessor.
  static constexpr int kChunk = 512;
  static constexpr int kTiles = kJoints / 16;
  static constexpr int kSamePart = triangle_size(kJoints);
  static constexpr int kCrossPart = kJoints * kJoints + kJoints;
  static constexpr int kPrepared = kJoints * kJoints + 2 * kJoints;  // a matrix, scales up and down

  __device__ static int same_index(int i, int j) { return triangle_index(kJoints, i, j); }
  __device__ static int cross_index(int i, int j) { return i * kJoints + j; }
  __device__ static int sum_index(int i) { return kJoints * kJoints + i; }

  __device__ static void same(TileRows<half_t> x, int column, float* part) { products<true>(x, x, column, part); }
  static constexpr int kCrossTasks = 1;
  __device__ static void cross(TileRows<half_t> d, TileRows<half_t> x, int column, int, float* part) {
    products<false>(d, x, column, part);
  }

  // The matrix of entry(k, j), diagonal(k) added, zeros beyond, its rows scaled to where the half type has all its
  // digits. By the block; seen after __syncthreads().
  template <typename Entry, typename Diagonal>
  __device__ static void prepare(int joints, Entry&& entry, Diagonal&& diagonal, float* prepared) {
    float* scales = prepared + kJoints * kJoints;
    const auto value = [&](int k, int j) { return entry(k, j) + (k == j ? diagonal(k) : 0.0f); };
    for (int k = threadIdx.x; k < kJoints; k += blockDim.x) {
      float largest = 0;
      for (int j = 0; k < joints && j < joints; ++j) largest = fmaxf(largest, fabsf(value(k, j)));
      const int exponent = largest > 0 && largest < INFINITY ? max(ilogbf(largest), -100) - 13 : 0;
      scales[k] = ldexpf(1.0f, -exponent);
      scales[kJoints + k] = ldexpf(1.0f, exponent);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kJoints * kJoints; i += blockDim.x) {
      const int k = i / kJoints, j = i % kJoints;
      prepared[i] = k < joints && j < joints ? value(k, j) * scales[k] : 0.0f;
    }
  }

  // Of prepared matrices; by the block, 64 columns a warp. Joints t, t + 4, t + 8, t + 12 of a tile are this lane's in
  // the order in which matrix instructions take them, eight columns of each, and the result's columns come out whole.
  template <bool kTwo>
  __device__ static void mix(TileRows<half_t> x, TileRows<half_t> y, TileMixture mixture, TileOutput<half_t> out) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int block = (g % 2 == 0 ? g / 2 : 4 + g / 2) * 8;
#pragma unroll 1
    for (int row = 0; row < x.joints; row += 16) {
      uint32_t of_first[kTiles][2][4], of_second[kTwo ? kTiles : 1][2][4];
      split(mixture.first, row + g, t, of_first);
      if constexpr (kTwo) split(mixture.second, row + g, t, of_second);
#pragma unroll 1
      for (int n = warp_of_block() * 64; n < out.columns; n += blockDim.x / 32 * 64) {
        float total[8][4] = {}, other[kTwo ? 8 : 1][4] = {};
        const int column = min(n + block, x.columns - 8);  // what columns beyond the last give is not kept
        multiply(of_first, x, column, t, total);
        if constexpr (kTwo) multiply(of_second, y, column, t, other);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int k = row + g + 8 * half;
          if (k >= x.joints) continue;
          const float of_x = mixture.first[kJoints * kJoints + kJoints + k];
          const float of_y = kTwo ? mixture.second[kJoints * kJoints + kJoints + k] : 0.0f;
          const float offset = mixture.offset != nullptr ? mixture.offset[k] : 0.0f;
#pragma unroll
          for (int side = 0; side < 2; ++side) {
            Vector<half_t, 8> result;
#pragma unroll
            for (int m = 0; m < 8; ++m) {
              float value = total[m][2 * half + side] * of_x + offset;
              if constexpr (kTwo) value += other[m][2 * half + side] * of_y;
              result.at[m] = from_acc<half_t>(value);
            }
            out.store(k, n + 8 * t + 32 * side, result);
          }
        }
      }
    }
  }

 private:
  __device__ static uint32_t bits_of(float low, float high) {
    const Vector<half_t, 2> pair = {from_acc<half_t>(low), from_acc<half_t>(high)};
    uint32_t bits;
    memcpy(&bits, &pair, sizeof(bits));
    return bits;
  }

  // Sixteen rows from row 0's `row`, as high and low halves: [columns' tile][high, low].
  __device__ static void split(const float* matrix, int row, int t, uint32_t (&out)[kTiles][2][4]) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* at = matrix + (row + i % 2 * 8) * kJoints + 16 * tile + i / 2 * 8 + t;
        const float low = at[0], high = at[4];
        out[tile][0][i] = bits_of(low, high);
        out[tile][1][i] = bits_of(low - to_acc(from_acc<half_t>(low)), high - to_acc(from_acc<half_t>(high)));
      }
    }
  }

  // total[m] += the sixteen rows times column m of each lane's eight.
  __device__ static void multiply(
      const uint32_t (&rows)[kTiles][2][4], TileRows<half_t> x, int n, int t, float (&total)[8][4]) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      Vector<uint32_t, 4> in[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        in[i] = load_vector<4>(reinterpret_cast<const uint32_t*>(x.row(16 * tile + t + 4 * i) + n));
      }
#pragma unroll
      for (int m = 0; m < 8; ++m) {
        uint32_t b[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const uint32_t low = in[2 * i].at[m / 2], high = in[2 * i + 1].at[m / 2];
          b[i] = m % 2 == 0 ? (low & 0xffffu) | high << 16 : low >> 16 | (high & 0xffff0000u);
        }
        multiply_16x8x16<half_t>(total[m], rows[tile][0], b);
        multiply_16x8x16<half_t>(total[m], rows[tile][1], b);
      }
    }
  }

  // Sixteen columns of a row at a time, in the lanes' order, which is the same on both sides: their sum is all that
  // matters. The sums of left are its products with ones.
  template <bool kSame>
  __device__ static void products(TileRows<half_t> left, TileRows<half_t> right, int column, float* part) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const uint32_t ones[2] = {bits_of(1.0f, 1.0f), bits_of(1.0f, 1.0f)};
    float total[kTiles][2 * kTiles][4] = {}, sums[kTiles][4] = {};
#pragma unroll 1
    for (int n = column + 16 * t; n < column + kChunk; n += 64) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Vector<uint32_t, 4> a[kTiles][2], b[kTiles][2];
#pragma unroll
        for (int i = 0; i < 2 * kTiles; ++i) {
          a[i / 2][i % 2] = load_vector<4>(reinterpret_cast<const uint32_t*>(left.row(8 * i + g) + n + 8 * half));
          if constexpr (!kSame) {
            b[i / 2][i % 2] = load_vector<4>(reinterpret_cast<const uint32_t*>(right.row(8 * i + g) + n + 8 * half));
          } else {
            b[i / 2][i % 2] = a[i / 2][i % 2];
          }
        }
#pragma unroll
        for (int step = 0; step < 4; step += 2) {
#pragma unroll
          for (int i = 0; i < kTiles; ++i) {
            const uint32_t rows[4] = {a[i][0].at[step], a[i][1].at[step], a[i][0].at[step + 1], a[i][1].at[step + 1]};
#pragma unroll
            for (int j = kSame ? 2 * i : 0; j < 2 * kTiles; ++j) {  // of the same rows those from the diagonal on
              const uint32_t columns[2] = {b[j / 2][j % 2].at[step], b[j / 2][j % 2].at[step + 1]};
              multiply_16x8x16<half_t>(total[i][j], rows, columns);
            }
            if constexpr (!kSame) multiply_16x8x16<half_t>(sums[i], rows, ones);
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int j = 0; j < 2 * kTiles; ++j) {
#pragma unroll
        for (int d = 0; d < 4; ++d) {
          const int row = 16 * i + 8 * (d / 2) + g, at = 8 * j + 2 * t + d % 2;
          if constexpr (kSame) {
            if (row <= at) part[same_index(row, at)] = total[i][j][d];
          } else {
            part[cross_index(row, at)] = total[i][j][d];
          }
        }
      }
      if (!kSame && t == 0) {
        part[kJoints * kJoints + 16 * i + g] = sums[i][0];
        part[kJoints * kJoints + 16 * i + g + 8] = sums[i][2];
      }
    }
  }
};

template <int kJoints>
struct RelationTile<__half, kJoints> : RelationTileOfHalves<__half, kJoints> {};
template <int kJoints>
struct RelationTile<__nv_bfloat16, kJoints> : RelationTileOfHalves<__nv_bfloat16, kJoints> {};

// Calls f(scalar_t(), std::integral_constant<int, K that a tile is compiled for>()) where there is one: of float32 8, 13,
// 14, 15, 16, 17, of half types 16 and 32. What f returns, or else false.
template <typename Function>
bool with_float_tile(int64_t joints, Function&& f) {
  if (joints <= 8) return f(float(), std::integral_constant<int, 8>());
  if (joints <= 13) return f(float(), std::integral_constant<int, 13>());
  if (joints == 14) return f(float(), std::integral_constant<int, 14>());
  if (joints == 15) return f(float(), std::integral_constant<int, 15>());
  if (joints == 16) return f(float(), std::integral_constant<int, 16>());
  if (joints == 17) return f(float(), std::integral_constant<int, 17>());
  return false;
}
template <typename Function>
bool with_tile(Dtype dtype, int64_t joints, Function&& f) {
  const auto of_halves = [&](auto zero) {
    if (joints <= 16) return f(zero, std::integral_constant<int, 16>());
    if (joints <= 32) return f(zero, std::integral_constant<int, 32>());
    return false;
  };
  switch (dtype) {
    case Dtype::kFloat32: return with_float_tile(joints, f);
    case Dtype::kFloat16: return of_halves(__half());
    case Dtype::kBFloat16: return of_halves(__nv_bfloat16());
    default: return false;
  }
}

}  // namespace rpstn
