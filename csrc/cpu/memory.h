#pragma once

// Memory that the SIMD files, which know no torch types, work in.

#include <cstdint>

namespace rpstn {

// Begins at a line of the caches, so that aligned vectors do not cross one. As PyTorch allocates, which throws what
// Python sees as a RuntimeError where so much cannot be had.
void* allocate_lines(int64_t bytes);
void release_lines(void* memory);

// Asks for huge pages for a large result that is about to be written: glibc takes 32 MiB and more from the system anew
// each time, and a fault for every page of 4 KiB cost as much as the copy itself (54 MB copied into fresh memory on a
// Xeon: 29.7 -> 14.4 ms of processor time). A system that has none goes on with small pages.
void prefer_huge_pages(void* memory, int64_t bytes);

}  // namespace rpstn
