// The loops over planes under the address and undefined-behaviour sanitizers, whole and in bands of any height, against
// sums in double: test_planes.py compiles and runs it. Every third trial holds a NaN and an infinity, which may reach
// only what depends on them.

#include <algorithm>

#include "cpu/dynamic_conv2d_simd.cpp"
#include "planes_selftest.h"

namespace {

using rpstn::DynamicConv2dShape;

void run(int trial, Random& random) {
  const auto pick = [&](int64_t least, int64_t most) { return random.pick(least, most); };
  const int64_t planes = pick(1, 2), height = pick(1, 40), width = pick(1, 70), kernel_h = pick(1, 9),
                kernel_w = pick(1, 9), top = pick(0, 12), left = pick(0, 12), out_height = height + top + pick(0, 12) - kernel_h + 1,
                out_width = width + left + pick(0, 12) - kernel_w + 1;
  const bool past_caches = trial % 2 == 0;
  if (out_height < 1 || out_width < 1) return;
  const DynamicConv2dShape s{planes, height, width, kernel_h, kernel_w, top, left, out_height, out_width};
  const int64_t size = height * width, out_size = out_height * out_width, taps = kernel_h * kernel_w;
  auto features = random.numbers(planes * size), kernels = random.numbers(planes * taps),
       grad = random.numbers(planes * out_size);
  if (trial % 3 == 0) {
    features[pick(0, planes * size - 1)] = NAN;
    grad[pick(0, planes * out_size - 1)] = INFINITY;
  }
  // What each result depends on: for each pair of an output and a feature that some tap joins, body(output, feature, tap).
  std::vector<double> out(planes * out_size), grad_features(planes * size), grad_kernels(planes * taps);
  for (int64_t p = 0; p < planes; ++p) {
    for (int64_t y = 0; y < out_height; ++y) {
      for (int64_t x = 0; x < out_width; ++x) {
        for (int64_t i = std::max<int64_t>(0, top - y); i < std::min(kernel_h, top - y + height); ++i) {
          for (int64_t j = std::max<int64_t>(0, left - x); j < std::min(kernel_w, left - x + width); ++j) {
            const int64_t o = (p * out_height + y) * out_width + x, t = (p * kernel_h + i) * kernel_w + j,
                          f = (p * height + y + i - top) * width + x + j - left;
            out[o] += double(features[f]) * kernels[t];
            grad_features[f] += double(grad[o]) * kernels[t];
            grad_kernels[t] += double(grad[o]) * features[f];
          }
        }
      }
    }
  }
  const auto simd = rpstn::baseline::dynamic_conv2d_simd<float>();
  std::vector<float> found(planes * out_size, NAN), of_features(planes * size, NAN), of_kernels(planes * taps, NAN);

  simd.forward(s, features.data(), kernels.data(), found.data(), past_caches, 0, planes);
  check("output", trial, found, out);
  simd.backward(
      s, grad.data(), features.data(), kernels.data(), of_features.data(), of_kernels.data(), past_caches, 0, planes);
  check("gradient of the features", trial, of_features, grad_features);
  check("gradient of the kernels", trial, of_kernels, grad_kernels);

  const int64_t rows = pick(1, 24), bands = (out_height + rows - 1) / rows, feature_rows = pick(1, 24),
                feature_bands = (height + feature_rows - 1) / feature_rows;
  std::vector<float> parts(planes * bands * taps, NAN);
  simd.forward_bands(s, rows, features.data(), kernels.data(), found.data(), past_caches, 0, planes * bands);
  check("output in bands", trial, found, out);
  simd.features_bands(
      s, feature_rows, grad.data(), kernels.data(), of_features.data(), past_caches, 0, planes * feature_bands);
  check("gradient of the features in bands", trial, of_features, grad_features);
  simd.kernels_bands(s, rows, grad.data(), features.data(), parts.data(), 0, planes * bands);
  for (int64_t p = 0; p < planes; ++p) {
    for (int64_t t = 0; t < taps; ++t) {
      of_kernels[p * taps + t] = 0;
      for (int64_t b = 0; b < bands; ++b) of_kernels[p * taps + t] += parts[(p * bands + b) * taps + t];
    }
  }
  check("gradient of the kernels in bands", trial, of_kernels, grad_kernels);
}

}  // namespace

int main() {
  Random random;
  for (int trial = 0; trial < 600; ++trial) run(trial, random);
  std::puts("right");
}
