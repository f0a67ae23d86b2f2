#include "cpu/memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>

namespace rpstn {

static_assert(c10::gAlignment >= 64);

void* allocate_lines(int64_t bytes) { return c10::GetCPUAllocator()->raw_allocate(static_cast<size_t>(bytes)); }

void release_lines(void* memory) { c10::GetCPUAllocator()->raw_deallocate(memory); }

}  // namespace rpstn
