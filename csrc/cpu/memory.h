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

// Whether a result of so many bytes is stored past the caches, which then keep the inputs and are not asked for the lines
// that are about to be written. Whoever reads it next misses it there: with a relu behind it, a call on an EPYC with 32 MiB
// of cache took 1.1 to 1.3 times as long for 4 MiB, 1.0 to 1.15 for 8, 0.95 to 1.05 for 12 to 16 and 0.75 to 0.95 for 24.
bool outgrows_caches(int64_t bytes);

}  // namespace rpstn
