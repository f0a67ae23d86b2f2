#pragma once

namespace rpstn {

// Of one instruction set, in float: what the tiles of cpu/tiles.h and cpu/planes.h hold in registers.
struct SimdFacts {
  int vector_bytes, registers;
  int relation_tile;              // rows and columns of a matrix product
  int plane_rows, plane_vectors;  // results of a plane: rows, and vectors of each
};

namespace baseline {
SimdFacts simd_facts();
}
namespace avx2 {
SimdFacts simd_facts();
}
namespace avx512 {
SimdFacts simd_facts();
}

}  // namespace rpstn
