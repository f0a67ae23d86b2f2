#pragma once

#include <torch/csrc/autograd/custom_function.h>

namespace rpstn {

// Rows and columns of zeros at each side.
struct Padding {
  c10::SymInt top, left, bottom, right;

  void save(torch::autograd::AutogradContext* ctx) const {
    ctx->saved_data["top"] = top;
    ctx->saved_data["left"] = left;
    ctx->saved_data["bottom"] = bottom;
    ctx->saved_data["right"] = right;
  }

  static Padding saved(torch::autograd::AutogradContext* ctx) {
    return {ctx->saved_data["top"].toSymInt(), ctx->saved_data["left"].toSymInt(),
            ctx->saved_data["bottom"].toSymInt(), ctx->saved_data["right"].toSymInt()};
  }
};

}  // namespace rpstn
