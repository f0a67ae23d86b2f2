#pragma once

#include "cpu/rows.h"
#include "dynamic_conv2d.h"

namespace rpstn {

#define RPSTN_DECLARE(isa)                                                                                        \
  namespace isa {                                                                                                 \
  template <typename scalar_t>                                                                                    \
  void dynamic_conv2d_planes(                                                                                     \
      const DynamicConv2dShape& shape, const scalar_t* features, const scalar_t* kernels, scalar_t* output,       \
      int64_t begin, int64_t end);                                                                                \
  template <typename scalar_t>                                                                                    \
  void dynamic_conv2d_backward_planes(                                                                            \
      const DynamicConv2dShape& shape, const scalar_t* grad_output, const scalar_t* features,                     \
      const scalar_t* kernels, scalar_t* grad_features, scalar_t* grad_kernels, int64_t begin, int64_t end);      \
  }
RPSTN_DECLARE(baseline)
RPSTN_DECLARE(avx2)
RPSTN_DECLARE(avx512)
#undef RPSTN_DECLARE

}  // namespace rpstn
