#pragma once

// What serves the operations on one kind of device: cpu/<op>.cpp or cuda/<op>.cpp.

#include <torch/library.h>

namespace rpstn {

void serve_joint_relation(torch::Library& m);
void serve_joint_relation_norm(torch::Library& m);
void serve_dynamic_conv2d(torch::Library& m);
void serve_dynamic_match(torch::Library& m);

inline void serve_all(torch::Library& m) {
  serve_joint_relation(m);
  serve_joint_relation_norm(m);
  serve_dynamic_conv2d(m);
  serve_dynamic_match(m);
}

}  // namespace rpstn
