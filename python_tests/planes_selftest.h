#pragma once

// What the self-tests of the loops over planes share: memory as the SIMD files ask for it, and comparing.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cpu/memory.h"

namespace rpstn {

void* allocate_lines(int64_t bytes) { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }
void release_lines(void* memory) { std::free(memory); }

}  // namespace rpstn

namespace {

struct Random {
  std::mt19937 engine{1};

  int64_t pick(int64_t least, int64_t most) { return std::uniform_int_distribution<int64_t>(least, most)(engine); }
  std::vector<float> numbers(int64_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(engine);
    return values;
  }
};

bool close(double actual, double exact) {
  if (!std::isfinite(exact)) return !std::isfinite(actual);
  return std::abs(actual - exact) <= 1e-3;  // NaN is not
}

// Ends where a value is not close to the exact one.
void check(const char* what, int trial, const std::vector<float>& values, const std::vector<double>& exact) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (close(values[i], exact[i])) continue;
    std::printf("trial %d: %s[%zu] is %g, expected %g\n", trial, what, i, values[i], exact[i]);
    std::exit(1);
  }
}

}  // namespace
