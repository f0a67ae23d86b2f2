// Faults that the sanitizers must see in vectors of AVX-512 and AVX2 (test_planes.py), one by the name that is given.

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cpu/vectors.h"

int main(int, char** arguments) {
  using namespace rpstn::RPSTN_ISA;
  const char* name = arguments[1];
  const auto is = [=](const char* other) { return std::strcmp(name, other) == 0; };
#if defined(__AVX512F__)
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl")) return std::puts("left out"), 0;
#else
  if (!__builtin_cpu_supports("avx2")) return std::puts("left out"), 0;
#endif
  constexpr int kLane = kLanes<float>;
  float* memory = static_cast<float*>(std::aligned_alloc(64, 4 * kLane * sizeof(float)));
  for (int i = 0; i < 4 * kLane; ++i) memory[i] = 1;
  volatile int beyond = 4 * kLane;
  Vector<float> vector = load(memory);
  if (is("load")) vector += load(memory + beyond - 1);
  if (is("store")) store(memory + beyond - 1, vector);
  if (is("past caches")) store_past_caches(memory + beyond, vector);
#if defined(__AVX512F__)
  if (is("part loaded")) vector += load_part(memory + beyond - 2, 3);
  if (is("part stored")) store_part(memory + beyond - 2, vector, 3);
  if (is("no fault")) store_part(memory + beyond - 2, load_part(memory + beyond - 3, 2), 2);
#endif
  if (is("undefined")) beyond = beyond + (0x7fffffff - beyond) + static_cast<int>(vector[0]);
  std::printf("%g %d\n", double(sum_lanes<float>(vector)), beyond);
  std::free(memory);
}
