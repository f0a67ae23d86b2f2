// Compiled once per instruction set, RPSTN_ISA naming its namespace.

#include "tune/facts_simd.h"

#include "cpu/planes.h"
#include "cpu/tiles.h"

namespace rpstn::RPSTN_ISA {

SimdFacts simd_facts() { return {kVectorBytes, kRegisters, kTile, kRows, kAcross}; }

}  // namespace rpstn::RPSTN_ISA
