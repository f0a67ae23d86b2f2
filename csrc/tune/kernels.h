#pragma once

#include <vector>

#include <pybind11/pybind11.h>

namespace rpstn {

// One dictionary for each. CPU: every instruction set. CUDA: what has been launched since the last call.
std::vector<pybind11::dict> kernels();

}  // namespace rpstn
