// What is known of the CPU's kernels: each instruction set, and what its files were compiled to.

#include "tune/kernels.h"

#include "cpu/dynamic_match_simd.h"
#include "cpu/instruction_set.h"
#include "cpu/joint_relation_simd.h"
#include "tune/facts_simd.h"
#include "tuned.h"

namespace rpstn {
namespace {

pybind11::dict facts_of(const char* name, InstructionSet set, bool runs_here, SimdFacts facts) {
  pybind11::dict of;
  of["instruction_set"] = name;
  of["choice"] = static_cast<int>(set);
  of["runs_here"] = runs_here;
  of["vector_bytes"] = facts.vector_bytes;
  of["registers"] = facts.registers;
  of["relation_tile"] = facts.relation_tile;
  of["relation_packed_columns"] = kPackedColumns;
  of["plane_rows"] = facts.plane_rows;
  of["plane_vectors"] = facts.plane_vectors;
  of["match_channels"] = kMatchChannels;
  return of;
}

}  // namespace

std::vector<pybind11::dict> kernels() {
  std::vector<pybind11::dict> all = {
      facts_of("baseline", InstructionSet::baseline, true, baseline::simd_facts())};
#ifdef RPSTN_X86
  all.push_back(facts_of("avx2", InstructionSet::avx2,
                         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), avx2::simd_facts()));
  all.push_back(facts_of("avx512", InstructionSet::avx512,
                         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"),
                         avx512::simd_facts()));
#endif
  return all;
}

void launched(const char*, const void*, int64_t, int64_t, int64_t, int64_t) {}  // a GPU's

}  // namespace rpstn
