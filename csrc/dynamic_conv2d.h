#pragma once

// Per-sample, per-channel correlation; planes are the B * C pairs of a sample and a channel:
//   output[p,y,x] = sum_ij kernels[p,i,j] * features[p, y + i - pad_top, x + j - pad_left], zeros outside.

#include <cstdint>

namespace rpstn {

// Planes are contiguous: features [planes, height, width], kernels [planes, kernel_h, kernel_w],
// output [planes, out_height, out_width].
struct DynamicConv2dShape {
  int64_t planes, height, width, kernel_h, kernel_w, pad_top, pad_left, out_height, out_width;
};

}  // namespace rpstn
