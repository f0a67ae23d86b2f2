// Compiled once per instruction set, RPSTN_ISA naming its namespace; see dynamic_match.h for the equations.
//
// forward:  a band of rows of a few channels is convolved into a buffer that stays in the nearest caches, then added
//           to the band of every joint; what one group of channels adds is summed by itself first, so that rounding
//           grows with the groups, not with the channels.
// backward: the gradient of a few channels is mixed from the joints' into such a buffer; it and the channels,
//           convolved again, give all gradients. Of large planes a band of rows is done so, and the features' gradient,
//           which other rows reach, by itself.

#include "cpu/dynamic_match_simd.h"

#include "cpu/planes.h"
#include "cpu/tiles.h"

namespace rpstn::RPSTN_ISA {
namespace {

constexpr int kMixRows = kRegisters == 32 ? 5 : 6;  // kMixRows * kMixVectors + kMixVectors + 1 registers
constexpr int kMixVectors = kRegisters == 32 ? 4 : 2;
constexpr int64_t kColumns = 512;  // of the joints' gradients that are held in the type of the sums at a time

// out[r,n] += sum_j coefficients[r * row_step + j * column_step] * values[j,n] for kR rows and kV vectors.
template <int kR, int kV, typename acc_t>
void add_mixed_tile(
    const acc_t* coefficients, int64_t row_step, int64_t column_step, const acc_t* values, int64_t count,
    int64_t stride, acc_t* out, int64_t out_stride) {
  constexpr int kWidth = kLanes<acc_t>;
  Vector<acc_t> total[kR][kV] = {};
  for (int64_t j = 0; j < count; ++j) {
    Vector<acc_t> value[kV];
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) value[v] = load(values + j * stride + v * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      const acc_t coefficient = coefficients[r * row_step + j * column_step];
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) total[r][v] += coefficient * value[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      acc_t* target = out + r * out_stride + v * kWidth;
      store(target, load(target) + total[r][v]);
    }
  }
}

// The same for all rows and for columns that are whole vectors.
template <typename acc_t>
void add_mixed(
    int64_t rows, const acc_t* coefficients, int64_t row_step, int64_t column_step, const acc_t* values,
    int64_t count, int64_t stride, acc_t* out, int64_t out_stride, int64_t columns) {
  constexpr int64_t kWidth = kLanes<acc_t>;
  for_tiles<kMixRows>(rows, [&](int64_t row, int tile_rows) {
    with_constant<kMixRows>(tile_rows, [&]<int kR>() {
      const auto add = [&]<int kV>(int64_t n) {
        add_mixed_tile<kR, kV>(coefficients + row * row_step, row_step, column_step, values + n, count, stride,
                               out + row * out_stride + n, out_stride);
      };
      int64_t n = 0;
      for (; n + kMixVectors * kWidth <= columns; n += kMixVectors * kWidth) add.template operator()<kMixVectors>(n);
      for (; n < columns; n += kWidth) add.template operator()<1>(n);
    });
  });
}

template <typename scalar_t, typename acc_t>
void forward(
    const DynamicMatchShape& shape, int64_t begin, int64_t end, const scalar_t* features, const scalar_t* kernels,
    const acc_t* weight, const acc_t* bias, scalar_t* out) {
  const DynamicConv2dShape& s = shape.plane;
  const auto [band_shape, first_row] = band_of(s, begin, end);
  const int64_t size = (end - begin) * s.out_width, columns = whole_vectors<acc_t>(size);
  Plane<acc_t> plane(band_shape);
  const Scratch<acc_t> convolved(kMatchChannels * columns), sums(shape.joints * columns);
  for (int64_t c = 0; c < shape.channels; c += kMatchChannels) {
    const int64_t count = shape.channels - c < kMatchChannels ? shape.channels - c : kMatchChannels;
    for (int64_t i = 0; i < count; ++i) {
      const scalar_t* rows = features + ((c + i) * s.height + first_row) * s.width;
      const int64_t bytes = band_shape.height * s.width * static_cast<int64_t>(sizeof(scalar_t));
      const Ahead next_channel = c + i + 1 < shape.channels ? Ahead{rows + s.height * s.width, bytes} : Ahead{};
      plane.set_features(rows);
      plane.output(kernels + (c + i) * s.kernel_h * s.kernel_w, convolved.data + i * columns, false, next_channel);
    }
    add_mixed(shape.joints, weight + c, shape.channels, 1, convolved.data, count, columns, sums.data, columns,
              columns);
  }
  for (int64_t k = 0; k < shape.joints; ++k) {
    acc_t* row = sums.data + k * columns;
    for (int64_t n = 0; n < size; ++n) row[n] += bias[k];
    store_row(row, out + (k * s.out_height + begin) * s.out_width, size);
  }
}

// Calls body(columns [first, first + columns) of the rows of all joints' gradients that begin at grad_out), in the type of
// the sums and padded with zeros to whole vectors; `size` columns in all.
template <typename scalar_t, typename acc_t, typename Body>
void for_columns(
    const DynamicMatchShape& shape, const scalar_t* grad_out, int64_t size, const Scratch<acc_t>& grads, Body body) {
  const int64_t plane = shape.plane.out_height * shape.plane.out_width;
  for (int64_t first = 0; first < size; first += kColumns) {
    const int64_t columns = size - first < kColumns ? size - first : kColumns, whole = whole_vectors<acc_t>(columns);
    for (int64_t k = 0; k < shape.joints; ++k) {
      acc_t* row = grads.data + k * kColumns;
      load_row(grad_out + k * plane + first, row, columns);
      for (int64_t n = columns; n < whole; ++n) row[n] = 0;
    }
    body(first, whole);
  }
}

// mixed[c,n] += sum_k weight[k,c] * grad_out[k,n] for `count` channels and `size` columns; rows of `stride` elements.
template <typename scalar_t, typename acc_t>
void mix_gradients(
    const DynamicMatchShape& shape, int64_t count, const scalar_t* grad_out, int64_t size, const acc_t* weight,
    const Scratch<acc_t>& grads, acc_t* mixed, int64_t stride) {
  for_columns(shape, grad_out, size, grads, [&](int64_t first, int64_t columns) {
    add_mixed(count, weight, 1, shape.channels, grads.data, shape.joints, kColumns, mixed + first, stride, columns);
  });
}

template <typename scalar_t, typename acc_t>
void backward(
    const DynamicMatchShape& shape, int64_t begin, int64_t end, int64_t first_row, int64_t last_row,
    const scalar_t* grad_out, const scalar_t* features, const scalar_t* kernels, const acc_t* weight,
    scalar_t* grad_features, acc_t* grad_kernels, acc_t* grad_weight, bool past_caches) {
  const DynamicConv2dShape& s = shape.plane;
  const bool whole = first_row == 0 && last_row == s.out_height;
  const Band band = whole ? Band{s, 0} : band_of(s, first_row, last_row);
  const int64_t size = s.height * s.width, taps = s.kernel_h * s.kernel_w, count = end - begin;
  const int64_t out_size = (last_row - first_row) * s.out_width, stride = whole_vectors<acc_t>(out_size);
  const int64_t band_bytes = band.shape.height * s.width * static_cast<int64_t>(sizeof(scalar_t));
  const scalar_t* grad_rows = grad_out + first_row * s.out_width;
  const bool streams = past_caches && std::is_same_v<scalar_t, acc_t>;
  const bool of_planes = grad_features != nullptr || grad_kernels != nullptr;
  PlaneGradients<acc_t> plane(whole ? s : largest_band(s, last_row - first_row));
  const Scratch<acc_t> grads(shape.joints * kColumns), mixed(of_planes ? count * stride : 0),
      convolved(grad_weight != nullptr ? count * stride : 0),
      unrounded(std::is_same_v<scalar_t, acc_t> || grad_features == nullptr ? 0 : size);

  if (of_planes) mix_gradients(shape, count, grad_rows, out_size, weight + begin, grads, mixed.data, stride);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t c = begin + i;
    const scalar_t* kernel = kernels + c * taps;
    if (whole) {
      plane.set_features(features + c * size);
      if (of_planes) plane.set_gradient(mixed.data + i * stride);
    } else {
      plane.set_band(band, features + c * size);
      if (of_planes) plane.set_gradient_of_band(mixed.data + i * stride);
    }
    const Ahead next_channel =
        i + 1 < count ? Ahead{features + (c + 1) * size + band.first_row * s.width, band_bytes} : Ahead{};
    if (grad_weight != nullptr) plane.output(kernel, convolved.data + i * stride, false, next_channel);
    if (grad_kernels != nullptr) plane.kernel_gradient(grad_kernels + c * taps, {});
    if (grad_features != nullptr) {
      rounded_into(grad_features + c * size, size, unrounded.data,
                   [&](acc_t* out) { plane.features_gradient(kernel, out, streams, {}); });
    }
  }
  if (streams) finish_stores();
  if (grad_weight == nullptr) return;
  const Scratch<double> totals(shape.joints * kMatchChannels);
  for_columns(shape, grad_rows, out_size, grads, [&](int64_t first, int64_t columns) {
    for_tiles<kTile>(shape.joints, [&](int64_t k, int joints) {
      for_tiles<kTile>(count, [&](int64_t i, int channels) {
        acc_t part[kTile * kTile] = {};
        with_constant<kTile>(joints, [&]<int kI>() {
          with_constant<kTile>(channels, [&]<int kJ>() {
            product_tile<kI, kJ>(grads.data + k * kColumns, kColumns, convolved.data + i * stride + first, stride,
                                 columns, part, kTile);
          });
        });
        for (int a = 0; a < joints; ++a) {
          for (int b = 0; b < channels; ++b) totals.data[(k + a) * kMatchChannels + i + b] += part[a * kTile + b];
        }
      });
    });
  });
  for (int64_t k = 0; k < shape.joints; ++k) {
    for (int64_t i = 0; i < count; ++i)
      grad_weight[k * shape.channels + begin + i] = static_cast<acc_t>(totals.data[k * kMatchChannels + i]);
  }
}

template <typename scalar_t, typename acc_t>
void features_band(
    const DynamicMatchShape& shape, int64_t begin, int64_t end, int64_t first_row, int64_t last_row,
    const scalar_t* grad_out, const scalar_t* kernels, const acc_t* weight, scalar_t* grad_features, bool past_caches) {
  const bool streams = past_caches && std::is_same_v<scalar_t, acc_t>;
  const DynamicConv2dShape& s = shape.plane;
  const DynamicConv2dShape t = transposed(s);
  const Band band = band_of(t, first_row, last_row);  // of grad_out
  const int64_t count = end - begin, size = band.shape.height * t.width, stride = whole_vectors<acc_t>(size);
  const int64_t results = (last_row - first_row) * s.width, taps = s.kernel_h * s.kernel_w;
  Plane<acc_t> plane(largest_band(t, last_row - first_row));
  const Scratch<acc_t> grads(shape.joints * kColumns), mixed(count * stride),
      unrounded(std::is_same_v<scalar_t, acc_t> ? 0 : results);
  mix_gradients(
      shape, count, grad_out + band.first_row * t.width, size, weight + begin, grads, mixed.data, stride);
  for (int64_t i = 0; i < count; ++i) {
    plane.set_band({band.shape, 0}, mixed.data + i * stride);
    rounded_into(grad_features + ((begin + i) * s.height + first_row) * s.width, results, unrounded.data,
                 [&](acc_t* out) { plane.template output<true>(kernels + (begin + i) * taps, out, streams, {}); });
  }
  if (streams) finish_stores();
}

template <typename scalar_t, typename acc_t>
void sum_planes(int64_t planes, int64_t size, const scalar_t* values, acc_t* sums) {
  for (int64_t plane = 0; plane < planes; ++plane) {
    double total = 0;
    for (int64_t first = 0; first < size; first += kColumns) {
      acc_t block[kColumns] = {};
      load_row(values + plane * size + first, block, size - first < kColumns ? size - first : kColumns);
      Vector<acc_t> sum = {};
      for (int64_t n = 0; n < kColumns; n += kLanes<acc_t>) sum += load(block + n);
      total += sum_lanes<acc_t>(sum);
    }
    sums[plane] = static_cast<acc_t>(total);
  }
}

}  // namespace

template <typename scalar_t>
DynamicMatchSimd<scalar_t> dynamic_match_simd() {
  using acc_t = typename Accumulate<scalar_t>::type;
  return {&forward<scalar_t, acc_t>, &backward<scalar_t, acc_t>, &features_band<scalar_t, acc_t>,
          &sum_planes<scalar_t, acc_t>};
}

template DynamicMatchSimd<double> dynamic_match_simd<double>();
template DynamicMatchSimd<float> dynamic_match_simd<float>();
template DynamicMatchSimd<Half> dynamic_match_simd<Half>();
template DynamicMatchSimd<BFloat16> dynamic_match_simd<BFloat16>();

}  // namespace rpstn::RPSTN_ISA
