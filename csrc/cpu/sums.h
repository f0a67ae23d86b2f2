#pragma once

#include <algorithm>
#include <cstdint>

namespace rpstn {

// Adds parts [count, size] in double, in order; some neighbours at a time, which share lines of the caches.
template <typename part_t, typename total_t>
void add_in_order(int64_t count, int64_t size, const part_t* parts, total_t* total) {
  constexpr int64_t kAtOnce = 32;
  for (int64_t first = 0; first < size; first += kAtOnce) {
    const int64_t numbers = std::min(kAtOnce, size - first);
    double sums[kAtOnce] = {};
    for (int64_t part = 0; part < count; ++part) {
      for (int64_t i = 0; i < numbers; ++i) sums[i] += parts[part * size + first + i];
    }
    for (int64_t i = 0; i < numbers; ++i) total[first + i] = static_cast<total_t>(sums[i]);
  }
}

}  // namespace rpstn
