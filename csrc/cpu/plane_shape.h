#pragma once

// How calls on planes are described and divided.

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include "cpu/memory.h"
#include "dynamic_conv2d.h"
#include "tuned.h"

namespace rpstn {

constexpr int64_t kWorthAThread = 300'000;  // multiply-adds: about 20 microseconds

// Padding at the bottom and right is what the size of the output says.
inline DynamicConv2dShape plane_shape(
    const at::Tensor& features, const at::Tensor& kernels, int64_t top, int64_t left, int64_t bottom,
    int64_t right) {
  return {features.size(0) * features.size(1),
          features.size(2),
          features.size(3),
          kernels.size(2),
          kernels.size(3),
          top,
          left,
          features.size(2) + top + bottom - kernels.size(2) + 1,
          features.size(3) + left + right - kernels.size(3) + 1};
}

// How planes of height x width results are cut: not at all where one buffer holds a plane, else into bands whose results
// and the rows that the kernel reaches beyond them stay in the second cache. It depends on the sizes alone.
struct Bands {
  int64_t rows, count;

  Bands(int64_t height, int64_t width, int64_t kernel_h) : rows(std::max<int64_t>(height, 1)), count(1) {
    constexpr int64_t kResults = 16 * 1024, kFewest = 16;
    if (height * width > 4 * kResults) rows = (std::max({kResults / width, kFewest, kernel_h}) + 3) / 4 * 4;
    rows = tuned("band_rows", rows);
    if (rows < height) count = (height + rows - 1) / rows;
  }
};

// The same for results whose bits do not depend on how they are cut: where there are fewer planes than threads, bands for
// all of them (1x1x256x256, 31x31, two threads of an EPYC: forward 1.16 -> 0.58 ms, both gradients 2.32 -> 1.77).
inline Bands bands_for_threads(const DynamicConv2dShape& s, int64_t height, int64_t width) {
  Bands bands(height, width, s.kernel_h);
  if (s.planes == 0 || at::in_parallel_region()) return bands;
  const int64_t work = s.planes * height * width * s.kernel_h * s.kernel_w;
  const int64_t wanted = std::min<int64_t>(at::get_num_threads(), work / kWorthAThread) / s.planes;
  if (wanted > bands.count) {
    bands.rows = ((height + wanted - 1) / wanted + 3) / 4 * 4;
    bands.count = (height + bands.rows - 1) / bands.rows;
  }
  return bands;
}

// Whether the planes of a result of so many bytes are stored past the caches. From 7x7 on a kernel is bound by its
// multiply-adds and gains nothing (4x256x64x64, a thread of an EPYC, forward: 3x3 2.3 -> 1.4 ms, 7x7 4.8 and 4.9).
inline bool stored_past_caches(const DynamicConv2dShape& s, int64_t bytes) {
  return s.kernel_h * s.kernel_w < 49 && outgrows_caches(bytes);
}

// Pieces of `work` multiply-adds that are worth a thread.
inline int64_t worth_a_thread(int64_t work) { return std::max<int64_t>(1, kWorthAThread / std::max<int64_t>(1, work)); }

}  // namespace rpstn
