#pragma once

namespace rpstn {

// Whether this copy of the library is the first in its process. A later one registers nothing, so that the first goes on
// serving: PyTorch refuses to define an operation twice by an exception, which nobody can catch while a library loads.
bool first_copy();

}  // namespace rpstn
