#pragma once

// RPSTN_SELECT(f) is f of the namespace for this machine: rpstn::baseline, rpstn::avx2 or rpstn::avx512,
// each the same source compiled with that instruction set. ATEN_CPU_CAPABILITY=default|avx2 lowers the choice.

namespace rpstn {

enum class InstructionSet { baseline, avx2, avx512 };

InstructionSet instruction_set();  // asked of torch once

}  // namespace rpstn

#ifdef RPSTN_X86
#define RPSTN_SELECT(...)                                                                \
  (::rpstn::instruction_set() == ::rpstn::InstructionSet::avx512 ? &avx512::__VA_ARGS__  \
   : ::rpstn::instruction_set() == ::rpstn::InstructionSet::avx2 ? &avx2::__VA_ARGS__    \
                                                                 : &baseline::__VA_ARGS__)
#else
#define RPSTN_SELECT(...) (&baseline::__VA_ARGS__)
#endif
