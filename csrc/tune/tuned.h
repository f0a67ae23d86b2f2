#pragma once

// csrc/tuned.h, where Python chooses.

#include <cstdint>

namespace rpstn {

int64_t tuned_number(const char* name, int64_t usual);

template <typename Value>
Value tuned(const char* name, Value usual) {
  return static_cast<Value>(tuned_number(name, static_cast<int64_t>(usual)));
}

void launched(
    const char* name, const void* kernel, int64_t blocks, int64_t threads, int64_t shared_bytes, int64_t cluster);

}  // namespace rpstn
