#pragma once

#include <cstdint>

namespace rpstn {

// Adds parts [count, size] in double, in order.
template <typename part_t, typename total_t>
void add_in_order(int64_t count, int64_t size, const part_t* parts, total_t* total) {
  for (int64_t i = 0; i < size; ++i) {
    double sum = 0;
    for (int64_t part = 0; part < count; ++part) sum += parts[part * size + i];
    total[i] = static_cast<total_t>(sum);
  }
}

}  // namespace rpstn
