#pragma once

// Vectors of the instruction set a file is compiled for, by the compiler's vector extension: + and * work lane by lane
// and fuse. Everything has internal linkage, see rows.h.

#include <cstdint>
#include <cstring>

namespace rpstn::RPSTN_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kRegisters = 16;
#else
constexpr int kVectorBytes = 16;  // SSE2 of every x86-64, NEON
constexpr int kRegisters = 16;
#endif

// Spelled out, as compilers differ over vector_size with a size or type that a template has yet to name.
template <typename acc_t, int kBytes>
struct VectorOf;
#define RPSTN_VECTOR(acc_t, bytes)                             \
  template <>                                                  \
  struct VectorOf<acc_t, bytes> {                              \
    typedef acc_t type __attribute__((vector_size(bytes)));    \
  };
RPSTN_VECTOR(float, 16)
RPSTN_VECTOR(float, 32)
RPSTN_VECTOR(float, 64)
RPSTN_VECTOR(double, 16)
RPSTN_VECTOR(double, 32)
RPSTN_VECTOR(double, 64)
#undef RPSTN_VECTOR

template <typename acc_t, int kBytes = kVectorBytes>
using Vector = typename VectorOf<acc_t, kBytes>::type;

template <typename acc_t>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(acc_t));

template <typename acc_t>
inline Vector<acc_t> load(const acc_t* source) {
  Vector<acc_t> vector;
  std::memcpy(&vector, source, sizeof(vector));
  return vector;
}

template <typename acc_t>
inline void store(acc_t* target, Vector<acc_t> vector) {
  std::memcpy(target, &vector, sizeof(vector));
}

// `columns` rounded up to whole vectors.
template <typename acc_t>
inline int64_t whole_vectors(int64_t columns) {
  return (columns + kLanes<acc_t> - 1) / kLanes<acc_t> * kLanes<acc_t>;
}

// Sum of the lanes, halves first: the same order whenever it is called. By subscripts, as a pointer to a vector would
// keep it in memory wherever else it is used.
template <typename acc_t>
inline acc_t sum_lanes(Vector<acc_t> vector) {
  constexpr int kCount = kLanes<acc_t>;
  acc_t lanes[kCount];
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) lanes[i] = vector[i];
#pragma GCC unroll 4
  for (int half = kCount / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

}  // namespace
}  // namespace rpstn::RPSTN_ISA
