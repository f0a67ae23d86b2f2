// dynamic_match of one sample under the address and undefined-behaviour sanitizers, its backward whole and in bands of any
// height, against sums in double: test_planes.py compiles and runs it.

#include <algorithm>

#include "cpu/dynamic_match_simd.cpp"
#include "planes_selftest.h"

namespace {

// Sums of parts [count, size].
std::vector<float> added(int64_t count, int64_t size, const std::vector<float>& parts) {
  std::vector<float> sums(size);
  for (int64_t i = 0; i < count * size; ++i) sums[i % size] += parts[i];
  return sums;
}

void run(int trial, Random& random) {
  const auto pick = [&](int64_t least, int64_t most) { return random.pick(least, most); };
  const int64_t channels = pick(1, 11), joints = pick(1, 5), height = pick(1, 24), width = pick(1, 40),
                kernel_h = pick(1, 7), kernel_w = pick(1, 7), top = pick(0, 9), left = pick(0, 9),
                out_height = height + top + pick(0, 9) - kernel_h + 1, out_width = width + left + pick(0, 9) - kernel_w + 1;
  if (out_height < 1 || out_width < 1) return;
  const rpstn::DynamicMatchShape shape{
      channels, joints, {channels, height, width, kernel_h, kernel_w, top, left, out_height, out_width}};
  const int64_t size = height * width, out_size = out_height * out_width, taps = kernel_h * kernel_w;
  const auto features = random.numbers(channels * size), kernels = random.numbers(channels * taps),
             weight = random.numbers(joints * channels), bias = random.numbers(joints),
             grad = random.numbers(joints * out_size);
  std::vector<double> out(joints * out_size), grad_features(channels * size), grad_kernels(channels * taps),
      grad_weight(joints * channels);
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t y = 0; y < out_height; ++y) {
      for (int64_t x = 0; x < out_width; ++x) {
        double convolved = 0, mixed = 0;
        for (int64_t k = 0; k < joints; ++k) {
          mixed += double(weight[k * channels + c]) * grad[(k * out_height + y) * out_width + x];
        }
        for (int64_t i = std::max<int64_t>(0, top - y); i < std::min(kernel_h, top - y + height); ++i) {
          for (int64_t j = std::max<int64_t>(0, left - x); j < std::min(kernel_w, left - x + width); ++j) {
            const int64_t t = (c * kernel_h + i) * kernel_w + j, f = (c * height + y + i - top) * width + x + j - left;
            convolved += double(features[f]) * kernels[t];
            grad_features[f] += mixed * kernels[t];
            grad_kernels[t] += mixed * features[f];
          }
        }
        for (int64_t k = 0; k < joints; ++k) {
          const int64_t o = (k * out_height + y) * out_width + x;
          out[o] += (c == 0 ? bias[k] : 0) + weight[k * channels + c] * convolved;
          grad_weight[k * channels + c] += convolved * grad[o];
        }
      }
    }
  }
  const auto simd = rpstn::baseline::dynamic_match_simd<float>();
  const bool past_caches = trial % 2 == 0;
  // Of `rows` rows at a time; the features' gradient with the others' where that is all.
  const auto compare = [&](int64_t rows, int64_t feature_rows) {
    const int64_t bands = (out_height + rows - 1) / rows;
    std::vector<float> found(joints * out_size, NAN), of_features(channels * size, NAN),
        of_kernels(bands * channels * taps, NAN), of_weight(bands * joints * channels, NAN);
    for (int64_t y = 0; y < out_height; y += rows) {
      const int64_t last = std::min(out_height, y + rows), band = y / rows;
      simd.forward(shape, y, last, features.data(), kernels.data(), weight.data(), bias.data(), found.data());
      for (int64_t c = 0; c < channels; c += rpstn::kMatchChannels) {
        simd.backward(
            shape, c, std::min(channels, c + rpstn::kMatchChannels), y, last, grad.data(), features.data(),
            kernels.data(), weight.data(), bands == 1 ? of_features.data() : nullptr,
            of_kernels.data() + band * channels * taps, of_weight.data() + band * joints * channels, past_caches);
      }
    }
    for (int64_t y = 0; bands > 1 && y < height; y += feature_rows) {
      for (int64_t c = 0; c < channels; c += rpstn::kMatchChannels) {
        simd.features_band(
            shape, c, std::min(channels, c + rpstn::kMatchChannels), y, std::min(height, y + feature_rows), grad.data(),
            kernels.data(), weight.data(), of_features.data(), past_caches);
      }
    }
    check("output", trial, found, out);
    check("gradient of the features", trial, of_features, grad_features);
    check("gradient of the kernels", trial, added(bands, channels * taps, of_kernels), grad_kernels);
    check("gradient of the weight", trial, added(bands, joints * channels, of_weight), grad_weight);
  };
  compare(out_height, height);
  compare(pick(1, out_height), pick(1, height));
}

}  // namespace

int main() {
  Random random;
  for (int trial = 0; trial < 300; ++trial) run(trial, random);
  std::puts("right");
}
