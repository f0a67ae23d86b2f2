#include "cpu/memory.h"

#include <sys/mman.h>

#include <c10/core/alignment.h>
#include <c10/core/impl/alloc_cpu.h>

#include "tuned.h"

namespace rpstn {

static_assert(c10::gAlignment >= 64);

void* allocate_lines(int64_t bytes) { return c10::alloc_cpu(static_cast<size_t>(bytes)); }

void release_lines(void* memory) { c10::free_cpu(memory); }

void prefer_huge_pages([[maybe_unused]] void* memory, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr int64_t kFresh = 32 * 1024 * 1024, kHugePage = 2 * 1024 * 1024;
  if (bytes < kFresh) return;
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const auto first = (address + kHugePage - 1) / kHugePage * kHugePage, last = (address + bytes) / kHugePage * kHugePage;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

bool outgrows_caches(int64_t bytes) {
  constexpr int64_t kBytes = 12 * 1024 * 1024;
  return tuned("past_caches", bytes > kBytes);
}

}  // namespace rpstn
