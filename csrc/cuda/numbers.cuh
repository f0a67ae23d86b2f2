#pragma once

// Element types of the kernels, the types of their sums, and vectors of elements as memory is read and written.

#include <cstdint>
#include <cstring>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace rpstn {

enum class Dtype { kFloat64, kFloat32, kFloat16, kBFloat16 };

// Sums: float for half types, double for double.
template <typename scalar_t>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};

__device__ inline float to_acc(float value) { return value; }
__device__ inline double to_acc(double value) { return value; }
__device__ inline float to_acc(__half value) { return __half2float(value); }
__device__ inline float to_acc(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename scalar_t>
__device__ inline scalar_t from_acc(typename Accumulate<scalar_t>::type value) {
  return value;
}
template <>
__device__ inline __half from_acc<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ inline __nv_bfloat16 from_acc<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// kCount elements that are read and written at once; its address is a multiple of its size, 16 bytes at most.
template <typename scalar_t, int kCount>
struct alignas(sizeof(scalar_t) * kCount) Vector {
  static_assert(sizeof(scalar_t) * kCount <= 16 && (kCount & (kCount - 1)) == 0);
  scalar_t at[kCount];
};

template <int kCount, typename scalar_t>
__device__ inline Vector<scalar_t, kCount> load_vector(const scalar_t* source) {
  return *reinterpret_cast<const Vector<scalar_t, kCount>*>(source);
}

template <typename scalar_t, int kCount>
__device__ inline void store_vector(scalar_t* target, const Vector<scalar_t, kCount>& values) {
  *reinterpret_cast<Vector<scalar_t, kCount>*>(target) = values;
}

// Four elements in the words that hold them: elements of half a word the compiler takes apart as soon as they arrive, and
// zeros that stand for them one by one.
template <typename scalar_t>
using FourInWords = Vector<uint32_t, sizeof(scalar_t)>;

template <typename scalar_t>
__device__ inline void words_to_acc(const FourInWords<scalar_t>& words, float (&values)[4]) {
  Vector<scalar_t, 4> four;
  memcpy(&four, &words, sizeof(four));
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = to_acc(four.at[i]);
}
template <>
__device__ inline void words_to_acc<__nv_bfloat16>(const FourInWords<__nv_bfloat16>& words, float (&values)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = words.at[i / 2], bits = i % 2 == 0 ? word << 16 : word & 0xffff0000u;
    memcpy(values + i, &bits, sizeof(bits));
  }
}

// Calls f(scalar_t()) for the type of `dtype`.
template <typename Function>
void with_type(Dtype dtype, Function&& f) {
  switch (dtype) {
    case Dtype::kFloat64: return f(double());
    case Dtype::kFloat32: return f(float());
    case Dtype::kFloat16: return f(__half());
    case Dtype::kBFloat16: return f(__nv_bfloat16());
  }
}

// Calls f(acc_t()) for the type of the sums of `dtype`.
template <typename Function>
void with_sums(Dtype dtype, Function&& f) {
  if (dtype == Dtype::kFloat64) return f(double());
  return f(float());
}

// Memory that a launcher was given without its type.
template <typename T>
T* as(void* pointer) {
  return static_cast<T*>(pointer);
}
template <typename T>
const T* as(const void* pointer) {
  return static_cast<const T*>(pointer);
}

}  // namespace rpstn
