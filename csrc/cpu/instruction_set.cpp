#include "cpu/instruction_set.h"

#include <string>

#include <ATen/Version.h>

#include "tuned.h"

namespace rpstn {

InstructionSet instruction_set() {
  static const InstructionSet chosen = [] {
    const std::string capability = at::get_cpu_capability();
    if (capability == "AVX512") return InstructionSet::avx512;
    if (capability == "AVX2") return InstructionSet::avx2;
    return InstructionSet::baseline;
  }();
  return tuned("instruction_set", chosen);
}

}  // namespace rpstn
