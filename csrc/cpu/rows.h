#pragma once

// Half types as the SIMD files see them, without torch headers, and rows of any element type to and from the type
// sums are kept in. Included by files that are compiled once per instruction set, into that set's namespace: nothing
// here may be emitted outside of it, or the linker could keep another machine's instructions.

#include <cstdint>
#include <cstring>

#ifdef __F16C__
#include <immintrin.h>
#endif

namespace rpstn {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

template <typename scalar_t>
struct Accumulate {
  using type = scalar_t;
};
template <>
struct Accumulate<Half> {
  using type = float;
};
template <>
struct Accumulate<BFloat16> {
  using type = float;
};

#ifdef RPSTN_ISA
namespace RPSTN_ISA {
namespace {

#ifdef __aarch64__
typedef __fp16 Binary16;  // g++ knows _Float16 there from 13 on
#else
typedef _Float16 Binary16;
#endif

template <typename scalar_t>
inline void load_row(const scalar_t* source, scalar_t* target, int64_t count) {
  std::memcpy(target, source, count * sizeof(scalar_t));
}

template <typename scalar_t>
inline void store_row(const scalar_t* source, scalar_t* target, int64_t count) {
  std::memcpy(target, source, count * sizeof(scalar_t));
}

inline void load_row(const BFloat16* source, float* target, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = static_cast<uint32_t>(source[i].bits) << 16;
    std::memcpy(target + i, &bits, sizeof(float));
  }
}

// Rounds to nearest, ties to even; NaN stays NaN.
inline void store_row(const float* source, BFloat16* target, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, source + i, sizeof(float));
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    target[i].bits = static_cast<uint16_t>(source[i] == source[i] ? rounded : 0x7fc0);
  }
}

inline void load_row(const Half* source, float* target, int64_t count) {
  int64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i));
    _mm256_storeu_ps(target + i, _mm256_cvtph_ps(packed));
  }
#endif
  for (; i < count; ++i) {
    Binary16 value;
    std::memcpy(&value, source + i, sizeof(value));
    target[i] = static_cast<float>(value);
  }
}

inline void store_row(const float* source, Half* target, int64_t count) {
  int64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8) {
    const __m128i packed = _mm256_cvtps_ph(_mm256_loadu_ps(source + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + i), packed);
  }
#endif
  for (; i < count; ++i) {
    const Binary16 value = static_cast<Binary16>(source[i]);
    std::memcpy(target + i, &value, sizeof(value));
  }
}

}  // namespace
}  // namespace RPSTN_ISA
#endif

}  // namespace rpstn
