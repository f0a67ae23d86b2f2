// The loops over planes under the address and undefined-behaviour sanitizers, whole and in bands of any height, against
// sums in double: test_planes.py compiles and runs it. Every third trial holds a NaN and an infinity, which may reach
// only what depends on them.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cpu/dynamic_conv2d_simd.cpp"

namespace rpstn {

void* allocate_lines(int64_t bytes) { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }
void release_lines(void* memory) { std::free(memory); }

}  // namespace rpstn

namespace {

using rpstn::DynamicConv2dShape;

bool close(double actual, double exact) {
  if (!std::isfinite(exact)) return !std::isfinite(actual);
  return std::abs(actual - exact) <= 1e-3;  // NaN is not
}

// Compares each of values [count] with exact(index).
template <typename Exact>
void check(const char* what, int trial, int64_t count, const std::vector<float>& values, Exact exact) {
  for (int64_t i = 0; i < count; ++i) {
    if (close(values[i], exact(i))) continue;
    std::printf("trial %d: %s[%ld] is %g, expected %g\n", trial, what, static_cast<long>(i), values[i], exact(i));
    std::exit(1);
  }
}

void run(int trial, std::mt19937& random) {
  const auto pick = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  const int64_t planes = pick(1, 2), height = pick(1, 40), width = pick(1, 70), kernel_h = pick(1, 9),
                kernel_w = pick(1, 9), top = pick(0, 12), left = pick(0, 12), out_height = height + top + pick(0, 12) - kernel_h + 1,
                out_width = width + left + pick(0, 12) - kernel_w + 1;
  if (out_height < 1 || out_width < 1) return;
  const DynamicConv2dShape s{planes, height, width, kernel_h, kernel_w, top, left, out_height, out_width};
  const int64_t size = height * width, out_size = out_height * out_width, taps = kernel_h * kernel_w;
  std::uniform_real_distribution<float> number(-1, 1);
  const auto numbers = [&](int64_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = number(random);
    return values;
  };
  auto features = numbers(planes * size), kernels = numbers(planes * taps), grad = numbers(planes * out_size);
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
  const auto of = [](const std::vector<double>& exact) { return [&exact](int64_t i) { return exact[i]; }; };
  const auto simd = rpstn::baseline::dynamic_conv2d_simd<float>();
  std::vector<float> found(planes * out_size, NAN), of_features(planes * size, NAN), of_kernels(planes * taps, NAN);

  simd.forward(s, features.data(), kernels.data(), found.data(), 0, planes);
  check("output", trial, planes * out_size, found, of(out));
  simd.backward(s, grad.data(), features.data(), kernels.data(), of_features.data(), of_kernels.data(), 0, planes);
  check("gradient of the features", trial, planes * size, of_features, of(grad_features));
  check("gradient of the kernels", trial, planes * taps, of_kernels, of(grad_kernels));

  const int64_t rows = pick(1, 24), bands = (out_height + rows - 1) / rows, feature_rows = pick(1, 24),
                feature_bands = (height + feature_rows - 1) / feature_rows;
  std::vector<float> parts(planes * bands * taps, NAN);
  simd.forward_bands(s, rows, features.data(), kernels.data(), found.data(), 0, planes * bands);
  check("output in bands", trial, planes * out_size, found, of(out));
  simd.features_bands(s, feature_rows, grad.data(), kernels.data(), of_features.data(), 0, planes * feature_bands);
  check("gradient of the features in bands", trial, planes * size, of_features, of(grad_features));
  simd.kernels_bands(s, rows, grad.data(), features.data(), parts.data(), 0, planes * bands);
  for (int64_t p = 0; p < planes; ++p) {
    for (int64_t t = 0; t < taps; ++t) {
      of_kernels[p * taps + t] = 0;
      for (int64_t b = 0; b < bands; ++b) of_kernels[p * taps + t] += parts[(p * bands + b) * taps + t];
    }
  }
  check("gradient of the kernels in bands", trial, planes * taps, of_kernels, of(grad_kernels));
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (int trial = 0; trial < 600; ++trial) run(trial, random);
  std::puts("right");
}
