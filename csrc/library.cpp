// Every schema of the package. Each operation's backend registers itself: autograd/<op>.cpp (autograd, shape
// inference, autocast), cpu/library.cpp. Those that end in _forward and _backward
// are steps of derivatives, registered so that compilers can trace them.

#include "first_copy.h"

#include <memory>

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace rpstn {

bool first_copy() {
  static const bool first = !c10::Dispatcher::singleton().findSchema({"rpstn_ext::joint_relation", ""}).has_value();
  return first;
}

namespace {

void define(torch::Library& m) {
  // scale_tensor, one number that may have a gradient, stands in the place of scale where it is given; here and below.
  m.def("joint_relation(Tensor heatmaps, Tensor weight_g, Tensor bias_g, Tensor weight_o, Tensor bias_o, "
        "float scale=1.0, Tensor? scale_tensor=None) -> Tensor");
  // The result and G = X X^T [B, K, K], in float32 or float64.
  m.def("joint_relation_forward(Tensor heatmaps, Tensor weight_g, Tensor bias_g, Tensor weight_o, Tensor bias_o, "
        "float scale, Tensor? scale_tensor) -> (Tensor, Tensor)");
  // Gradients of heatmaps, weight_g, bias_g, weight_o, bias_o and scale_tensor; those that are not needed, and that of a
  // scale_tensor which is not there, come back with shape [0]. All but the first are parameters. `gram` must be G of
  // these heat maps.
  m.def("joint_relation_backward(Tensor grad_out, Tensor heatmaps, Tensor gram, Tensor weight_g, Tensor bias_g, "
        "Tensor weight_o, float scale, Tensor? scale_tensor, bool need_heatmaps, bool need_parameters) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");

  // The result and the statistics it was normalised by: the batch's mean and biased variance in training, else the
  // running ones. Nothing is changed in place.
  m.def("joint_relation_norm(Tensor heatmaps, Tensor weight_g, Tensor bias_g, Tensor weight_o, Tensor bias_o, "
        "Tensor norm_weight, Tensor norm_bias, Tensor running_mean, Tensor running_var, bool training, float eps, "
        "float scale, Tensor? scale_tensor=None) -> (Tensor, Tensor, Tensor)");
  // The same with the samples' moments [B, K, K + 2], in float32 or float64, before the statistics.
  m.def("joint_relation_norm_forward(Tensor heatmaps, Tensor weight_g, Tensor bias_g, Tensor weight_o, "
        "Tensor bias_o, Tensor norm_weight, Tensor norm_bias, Tensor running_mean, Tensor running_var, "
        "bool training, float eps, float scale, Tensor? scale_tensor) -> (Tensor, Tensor, Tensor, Tensor)");
  // The same in training, which also moves the running statistics in place, where there are values: by `momentum` towards
  // those of the batch, the variance with Bessel's correction.
  m.def("joint_relation_norm_training(Tensor heatmaps, Tensor weight_g, Tensor bias_g, Tensor weight_o, "
        "Tensor bias_o, Tensor norm_weight, Tensor norm_bias, Tensor(a!) running_mean, Tensor(b!) running_var, "
        "float eps, float momentum, float scale, Tensor? scale_tensor=None) -> (Tensor, Tensor, Tensor, Tensor)");
  // The samples' moments, and mean and biased variance [2, K] of these samples alone, in float64: what several processes
  // that share a batch tell each other before they normalise.
  m.def("joint_relation_norm_sums(Tensor heatmaps, Tensor weight_g, Tensor bias_g, Tensor weight_o, Tensor bias_o, "
        "float scale, Tensor? scale_tensor) -> (Tensor, Tensor)");
  // t and r of each sample [B, 2, K], in float64: what they tell each other before the gradients. `mean` is the batch's.
  m.def("joint_relation_norm_gradient_sums(Tensor grad_out, Tensor heatmaps, Tensor moments, Tensor mean, "
        "Tensor weight_g, Tensor bias_g, Tensor weight_o, Tensor bias_o, float scale, Tensor? scale_tensor) -> Tensor");
  // Gradients of heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias and scale_tensor, as those of
  // joint_relation_backward. `moments`, `mean` and `var` must be those of the forward call. `totals`, float64 [2K + 1]:
  // t, R and the number of values per joint of a batch of which these samples are a part; gradients of parameters are
  // then this part's. Without it these samples are the batch.
  m.def("joint_relation_norm_backward(Tensor grad_out, Tensor heatmaps, Tensor moments, Tensor mean, Tensor var, "
        "Tensor weight_g, Tensor bias_g, Tensor weight_o, Tensor bias_o, Tensor norm_weight, bool training, "
        "float eps, float scale, Tensor? scale_tensor, bool need_heatmaps, bool need_parameters, "
        "Tensor? totals=None) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");

  // Rows and columns of zeros at each side.
  m.def("dynamic_conv2d(Tensor features, Tensor kernels, SymInt top, SymInt left, SymInt bottom, SymInt right) "
        "-> Tensor");
  // Gradients of features and kernels; one that is not needed comes back with shape [0].
  m.def("dynamic_conv2d_backward(Tensor grad_out, Tensor features, Tensor kernels, SymInt top, SymInt left, "
        "SymInt bottom, SymInt right, bool need_features, bool need_kernels) -> (Tensor, Tensor)");

  m.def("dynamic_match(Tensor features, Tensor kernels, Tensor weight, Tensor bias, SymInt top, SymInt left, "
        "SymInt bottom, SymInt right) -> Tensor");
  // Gradients of features, kernels, weight and bias; one that is not needed comes back with shape [0].
  m.def("dynamic_match_backward(Tensor grad_out, Tensor features, Tensor kernels, Tensor weight, SymInt top, "
        "SymInt left, SymInt bottom, SymInt right, bool need_features, bool need_kernels, bool need_weight, "
        "bool need_bias) -> (Tensor, Tensor, Tensor, Tensor)");
}

// As TORCH_LIBRARY(rpstn_ext, m), which would end the process where another copy has been loaded.
const auto definitions = [] {
  std::unique_ptr<torch::Library> library;
  if (first_copy()) {
    library = std::make_unique<torch::Library>(MAKE_TORCH_LIBRARY(rpstn_ext));
    define(*library);
  }
  return library;
}();

}  // namespace
}  // namespace rpstn
