#include "cpu/memory.h"

#include <c10/core/alignment.h>
#include <c10/core/impl/alloc_cpu.h>

namespace rpstn {

static_assert(c10::gAlignment >= 64);

void* allocate_lines(int64_t bytes) { return c10::alloc_cpu(static_cast<size_t>(bytes)); }

void release_lines(void* memory) { c10::free_cpu(memory); }

}  // namespace rpstn
