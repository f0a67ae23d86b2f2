#pragma once

// Vectors of the instruction set a file is compiled for, by the compiler's vector extension: + and * work lane by lane
// and fuse. Everything has internal linkage, see rows.h.

#include <cstdint>
#include <cstring>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace rpstn::RPSTN_ISA {
namespace {

// std::max and std::min would be emitted outside of the instruction set's namespace.
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kRegisters = 32;
#else
constexpr int kVectorBytes = 16;  // SSE2 of every x86-64
constexpr int kRegisters = 16;
#endif

#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kFuses = true;  // a product and a sum
#else
constexpr bool kFuses = false;
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

#if defined(__AVX512F__)
// The first `count` lanes, 1 to all of them; zeros in the others. g++'s sanitizer does not see what masked intrinsics read
// and write, nor stores past the caches; it sees copies.
template <typename acc_t>
inline Vector<acc_t> load_part(const acc_t* source, int64_t count) {
#ifdef __SANITIZE_ADDRESS__
  Vector<acc_t> vector = {};
  std::memcpy(&vector, source, count * sizeof(acc_t));
  return vector;
#else
  const auto lanes = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(acc_t) == 4) return _mm512_maskz_loadu_ps(lanes, source);
  else return _mm512_maskz_loadu_pd(static_cast<__mmask8>(lanes), source);
#endif
}

template <typename acc_t>
inline void store_part(acc_t* target, Vector<acc_t> vector, int64_t count) {
#ifdef __SANITIZE_ADDRESS__
  std::memcpy(target, &vector, count * sizeof(acc_t));
#else
  const auto lanes = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(acc_t) == 4) _mm512_mask_storeu_ps(target, lanes, vector);
  else _mm512_mask_storeu_pd(target, static_cast<__mmask8>(lanes), vector);
#endif
}
#endif

// To an aligned target, past the caches; finish_stores before another thread may read it.
template <typename acc_t>
inline void store_past_caches(acc_t* target, Vector<acc_t> vector) {
#if defined(__SANITIZE_ADDRESS__)
  store(target, vector);
#elif defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(target), (__m512i)vector);
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(target), (__m256i)vector);
#else
  store(target, vector);
#endif
}

inline void finish_stores() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// `columns` rounded up to whole vectors.
template <typename acc_t>
inline int64_t whole_vectors(int64_t columns) {
  return (columns + kLanes<acc_t> - 1) / kLanes<acc_t> * kLanes<acc_t>;
}

// Asks for lines of the caches before they are needed: to be read, or written without waiting for what they held.
enum class Lines { kReadFirstLevel, kReadSecondLevel, kWrite };

template <Lines kFor>
inline void ask_for_line(const void* data) {
  constexpr int kLevel = kFor == Lines::kReadSecondLevel ? 2 : 3;  // of the builtin: 3 is the nearest cache
  __builtin_prefetch(data, kFor == Lines::kWrite, kLevel);
  __asm__ volatile("");  // or g++ takes a function that only asks for one without effect, and leaves out its calls
}

template <Lines kFor>
inline void ask_for(const void* data, int64_t begin, int64_t end) {
  constexpr int64_t kLine = 64;
  const char* first = static_cast<const char*>(data);
  for (int64_t at = begin / kLine * kLine; at < end; at += kLine) ask_for_line<kFor>(first + at);
}

// Memory that is read next, asked for part by part while other work goes on.
struct Ahead {
  const void* data = nullptr;
  int64_t bytes = 0;

  template <Lines kFor = Lines::kReadFirstLevel>
  void ask(int64_t part, int64_t of_parts, int64_t parts = 1) const {
    ask_for<kFor>(data, bytes * part / of_parts, bytes * (part + parts) / of_parts);
  }
};

// The same in as many steps, each of as many lines; none is asked for where there are no steps.
struct AheadInSteps {
  const char *at, *end;
  int64_t bytes_of_step;

  AheadInSteps(const Ahead& ahead, int64_t steps)
      : at(static_cast<const char*>(ahead.data)), end(at + (steps > 0 ? ahead.bytes : 0)), bytes_of_step(0) {
    constexpr int64_t kLine = 64;
    if (steps > 0) bytes_of_step = (ahead.bytes / kLine + steps) / steps * kLine;
  }

  void step() {
    const int64_t bytes = bytes_of_step < end - at ? bytes_of_step : end - at;
    ask_for<Lines::kReadSecondLevel>(at, 0, bytes);
    at += bytes;
  }
};

// Keeps a vector that several products share in a register: the compiler would rather repeat its load in each of them,
// and a load across two cache lines costs twice (kernel's gradient of 1x256x64x64, 7x7, AVX-512, one thread: 2.2 -> 1.4
// ms).
template <typename vector_t>
inline void in_register([[maybe_unused]] vector_t& vector) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(vector));
#elif defined(__AVX2__)
  __asm__("" : "+x"(vector));
#endif
}

// A vector's halves added. Intrinsics, as a pointer to a vector would keep it in memory wherever else it is used;
// masked, as gcc warns of the others' unset source.
#if defined(__AVX512F__)
inline Vector<double, 32> halves_added(Vector<double, 64> v) {
  return _mm512_maskz_extractf64x4_pd(0xf, v, 0) + _mm512_maskz_extractf64x4_pd(0xf, v, 1);
}
inline Vector<float, 32> halves_added(Vector<float, 64> v) {
  return _mm512_maskz_extractf32x8_ps(0xff, v, 0) + _mm512_maskz_extractf32x8_ps(0xff, v, 1);
}
#endif
#if defined(__AVX2__)
inline Vector<float, 16> halves_added(Vector<float, 32> v) {
  return _mm256_castps256_ps128(v) + _mm256_extractf128_ps(v, 1);
}
inline Vector<double, 16> halves_added(Vector<double, 32> v) {
  return _mm256_castpd256_pd128(v) + _mm256_extractf128_pd(v, 1);
}
#endif

// Sum of the lanes, halves first: the same order whenever it is called.
template <typename acc_t, int kBytes = kVectorBytes>
inline acc_t sum_lanes(Vector<acc_t, kBytes> vector) {
  if constexpr (kBytes > 16) {
    return sum_lanes<acc_t, kBytes / 2>(halves_added(vector));
  } else if constexpr (sizeof(acc_t) == 4) {
    return (vector[0] + vector[2]) + (vector[1] + vector[3]);
  } else {
    return vector[0] + vector[1];
  }
}

}  // namespace
}  // namespace rpstn::RPSTN_ISA
