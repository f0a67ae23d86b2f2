#pragma once

// Parameters and their gradients in the types that they have outside: read where a kernel stages them, written once by
// the kernel that adds them up. Nothing is copied before a launch or after it.

#include <cstdint>

#include "cuda/numbers.cuh"

namespace rpstn {

// Numbers one after the other, of a type that is told at run time.
struct Parameter {
  const void* data;
  Dtype dtype;

  template <typename acc_t>
  __device__ acc_t at(int64_t i) const {
    switch (dtype) {
      case Dtype::kFloat64: return static_cast<acc_t>(static_cast<const double*>(data)[i]);
      case Dtype::kFloat32: return static_cast<const float*>(data)[i];
      case Dtype::kFloat16: return to_acc(static_cast<const __half*>(data)[i]);
      default: return to_acc(static_cast<const __nv_bfloat16*>(data)[i]);
    }
  }
};

// The same to be written; data may be null.
struct Target {
  void* data;
  Dtype dtype;

  __device__ void store(int64_t i, double value) const {
    switch (dtype) {
      case Dtype::kFloat64: static_cast<double*>(data)[i] = value; break;
      case Dtype::kFloat32: static_cast<float*>(data)[i] = static_cast<float>(value); break;
      case Dtype::kFloat16: static_cast<__half*>(data)[i] = from_acc<__half>(static_cast<float>(value)); break;
      default: static_cast<__nv_bfloat16*>(data)[i] = from_acc<__nv_bfloat16>(static_cast<float>(value));
    }
  }
};

}  // namespace rpstn
