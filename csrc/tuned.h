#pragma once

// Where a call could as well do otherwise, with the same result up to rounding, it says what it would choose and what the
// choice is called. The tuning module (csrc/tune) is compiled with its own header in this one's place, which can be told,
// and remembers the kernels that were launched.

#include <cstdint>

namespace rpstn {

template <typename Value>
constexpr Value tuned(const char*, Value usual) {
  return usual;
}

inline void launched(
    const char* /*name*/, const void* /*kernel*/, int64_t /*blocks*/, int64_t /*threads*/, int64_t /*shared_bytes*/,
    int64_t /*cluster*/) {}

}  // namespace rpstn
