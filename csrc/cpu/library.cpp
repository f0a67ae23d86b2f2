#include "first_copy.h"
#include "serve.h"

namespace rpstn {

TORCH_LIBRARY_IMPL(rpstn_ext, CPU, m) {
  if (first_copy()) serve_all(m);
}

}  // namespace rpstn
