#include "serve.h"

namespace rpstn {

TORCH_LIBRARY_IMPL(rpstn_ext, RPSTN_CUDA_KEY, m) { serve_all(m); }

}  // namespace rpstn
