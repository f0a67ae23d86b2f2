#pragma once

// Memory that the SIMD files, which know no torch types, work in.

#include <cstdint>

namespace rpstn {

// Begins at a line of the caches, so that aligned vectors do not cross one. As PyTorch allocates, which throws what
// Python sees as a RuntimeError where so much cannot be had.
void* allocate_lines(int64_t bytes);
void release_lines(void* memory);

}  // namespace rpstn
