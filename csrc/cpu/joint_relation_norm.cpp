// CPU: what is done to every chunk, every sample and the batch; joint_relation_work.h divides it among threads. In
// training the heat maps are read twice, before and after the batch's statistics are known, as the parts of the
// result are; in evaluation a sample stays in its cache between the two.

#include "joint_relation_norm.h"

#include <cmath>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "checks.h"
#include "cpu/instruction_set.h"
#include "cpu/joint_relation_norm_simd.h"
#include "cpu/joint_relation_simd.h"
#include "cpu/joint_relation_work.h"
#include "cpu/raw.h"

namespace rpstn {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

struct Parameters {
  Tensor weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias;  // dense, in the type of the sums
};

// What the batch needs of every sample, [B, 3, K].
struct SampleSums {
  std::vector<double> values;
  int64_t joints;

  SampleSums(int64_t samples, int64_t joints) : values(samples * 3 * joints), joints(joints) {}
  NormSums of(int64_t sample) {
    double* first = values.data() + sample * 3 * joints;
    return {first, first + joints, first + 2 * joints};
  }
};

// In training the inputs are read a second time, from the caches where the result leaves them there: 64 samples of
// 13x64x64 in float32 took 1.33 times joint_relation's time before, 1.07 now.
template <typename scalar_t>
bool outgrows_caches(const Division& d) {
  constexpr int64_t kBytes = 8 * 1024 * 1024;
  return d.samples * d.sample_size() * static_cast<int64_t>(sizeof(scalar_t)) > kBytes;
}

// mu and var of the batch, over the samples in their order.
void batch_statistics(const Division& d, SampleSums& sums, double* mean, double* var) {
  const double columns = static_cast<double>(d.columns), count = static_cast<double>(d.samples) * columns;
  for (int64_t k = 0; k < d.joints; ++k) {
    double total = 0;
    for (int64_t b = 0; b < d.samples; ++b) total += sums.of(b).mixed_sums[k] + columns * sums.of(b).centre[k];
    mean[k] = total / count;
    double squares = 0;
    for (int64_t b = 0; b < d.samples; ++b) {
      const auto of = sums.of(b);
      const double e = of.centre[k] - mean[k];
      squares += of.spread[k] + 2 * of.mixed_sums[k] * e + columns * e * e;
    }
    var[k] = std::max(squares / count, 0.0);
  }
}

template <typename tensor_t>
void forward(
    const Tensor& heatmaps, const Parameters& parameters, bool training, double eps, double scale, Tensor& out,
    Tensor& moments, Tensor& mean, Tensor& var) {
  using scalar_t = typename Raw<tensor_t>::type;
  using acc_t = typename Accumulate<scalar_t>::type;
  const auto simd = (*RPSTN_SELECT(joint_relation_simd<scalar_t>))();
  const auto algebra = (*RPSTN_SELECT(joint_relation_norm_simd<acc_t>))();
  const Division d(heatmaps);
  const int64_t joints = d.joints, size = d.matrix(), row = size + joints, width = moments_row(joints);
  const bool past_caches = training && outgrows_caches<scalar_t>(d);
  const auto* x = input<tensor_t>(heatmaps);
  auto* y = output<tensor_t>(out);
  auto* m = moments.mutable_data_ptr<acc_t>();
  const auto data = [](const Tensor& tensor) { return tensor.const_data_ptr<acc_t>(); };
  const auto *wg = data(parameters.weight_g), *bg = data(parameters.bias_g), *wo = data(parameters.weight_o),
             *bo = data(parameters.bias_o), *gamma = data(parameters.norm_weight),
             *beta = data(parameters.norm_bias);
  // Per sample: the chunks' products and sums; their total, row means, three matrices of scratch, A - I and c.
  const int64_t folded = row + joints + 3 * size + row;
  const Tensor parts_memory = buffer<acc_t>(moments, d.samples * d.chunks * row);
  const Tensor folded_memory = buffer<acc_t>(moments, d.samples * folded);
  acc_t *parts = parts_memory.mutable_data_ptr<acc_t>(), *folding = folded_memory.mutable_data_ptr<acc_t>();
  SampleSums sums(d.samples, joints);
  std::vector<double> batch(2 * joints);  // mu, var
  std::vector<acc_t> gain(joints), shift(joints);

  const auto total_of = [&](int64_t b) { return folding + b * folded; };
  const auto means_of = [&](int64_t b) { return total_of(b) + row; };
  const auto mixing_of = [&](int64_t b) { return means_of(b) + joints + 3 * size; };
  // Y = gain * (X + (A - I) X + c) + shift, in place of A - I and c.
  const auto normalise = [&](int64_t b) {
    acc_t *mixing = mixing_of(b), *offset = mixing + size;
    for (int64_t k = 0; k < joints; ++k) {
      for (int64_t j = 0; j < joints; ++j) mixing[k * joints + j] *= gain[k];
      offset[k] = static_cast<acc_t>(double(gain[k]) * (offset[k] - batch[k]) + beta[k]);
    }
  };
  const auto prepare = [&] {
    for (int64_t k = 0; k < joints; ++k) gain[k] = static_cast<acc_t>(gamma[k] / std::sqrt(batch[joints + k] + eps));
  };

  // Means of each map's first chunk: within sqrt(chunks - 1) standard deviations of the map's mean, whatever it holds,
  // and so as good a centre for sums of squares.
  const Stage average{
      Order::forwards,
      [&](int64_t b, int64_t i, int64_t begin, int64_t end, acc_t* scratch) {
        if (i != 0) return;
        acc_t* means = means_of(b);
        simd.sum_rows(d.shape(), begin, end, x + b * d.sample_size(), scratch, means);
        for (int64_t k = 0; k < joints; ++k) means[k] /= static_cast<acc_t>(end - begin);
      },
      nothing_more};
  const Stage relate{
      Order::forwards,
      [&](int64_t b, int64_t i, int64_t begin, int64_t end, acc_t* scratch) {
        const scalar_t* values = x + b * d.sample_size();
        acc_t* part = parts + (b * d.chunks + i) * row;
        simd.product(d.shape(), begin, end, values, values, training ? means_of(b) : nullptr, scratch, part,
                     part + size);
      },
      [&](int64_t b) {
        acc_t *total = total_of(b), *of_sample = m + b * joints * width, *mixing = mixing_of(b);
        add_in_order(d.chunks, row, parts + b * d.chunks * row, total);
        for (int64_t k = 0; k < joints; ++k) {
          for (int64_t j = 0; j < joints; ++j) of_sample[k * width + j] = total[k * joints + j];
          of_sample[k * width + joints] = total[size + k];
          of_sample[k * width + joints + 1] = training ? means_of(b)[k] : acc_t(0);
        }
        algebra.fold(joints, d.columns, static_cast<acc_t>(scale), of_sample, wg, bg, wo, bo, means_of(b) + joints, mixing,
                     mixing + size, sums.of(b));
        if (!training) normalise(b);
      }};
  const Stage mix{
      Order::backwards,
      [&](int64_t b, int64_t i, int64_t begin, int64_t end, acc_t* scratch) {
        const acc_t* mixing = mixing_of(b);
        simd.mix(d.shape(), begin, end, gain.data(), mixing, x + b * d.sample_size(), nullptr, nullptr,
                 mixing + size, training ? d.chunk_before(b, i) : d.sample_ahead(b),
                 past_caches, scratch, y + b * d.sample_size());
      },
      nothing_more};

  if (training) {
    d.run<acc_t>(moments, average, relate);
    batch_statistics(d, sums, batch.data(), batch.data() + joints);
    prepare();
    for (int64_t b = 0; b < d.samples; ++b) normalise(b);
    d.run<acc_t>(moments, mix);
  } else {
    for (int64_t k = 0; k < joints; ++k) {
      batch[k] = mean.const_data_ptr<acc_t>()[k];
      batch[joints + k] = var.const_data_ptr<acc_t>()[k];
    }
    prepare();
    d.run<acc_t>(moments, relate, mix);
  }
  for (int64_t k = 0; k < joints; ++k) {
    mean.mutable_data_ptr<acc_t>()[k] = static_cast<acc_t>(batch[k]);
    var.mutable_data_ptr<acc_t>()[k] = static_cast<acc_t>(batch[joints + k]);
  }
}

template <typename tensor_t>
void backward(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments, const Tensor& mean, const Tensor& var,
    const Parameters& parameters, bool training, double eps, double scale, Tensor& grad_heatmaps,
    Tensor& grad_parameters) {
  using scalar_t = typename Raw<tensor_t>::type;
  using acc_t = typename Accumulate<scalar_t>::type;
  const auto simd = (*RPSTN_SELECT(joint_relation_simd<scalar_t>))();
  const auto algebra = (*RPSTN_SELECT(joint_relation_norm_simd<acc_t>))();
  const Division d(heatmaps);
  const int64_t joints = d.joints, size = d.matrix(), row = size + joints, width = moments_row(joints);
  const bool past_caches = training && outgrows_caches<scalar_t>(d);
  const auto *grad = input<tensor_t>(grad_out), *x = input<tensor_t>(heatmaps);
  auto* grad_x = output<tensor_t>(grad_heatmaps);
  const auto data = [](const Tensor& tensor) { return tensor.const_data_ptr<acc_t>(); };
  const auto* m = data(moments);
  const auto *wg = data(parameters.weight_g), *bg = data(parameters.bias_g), *wo = data(parameters.weight_o),
             *bo = data(parameters.bias_o), *gamma = data(parameters.norm_weight);
  // Per sample: the chunks' products and sums; their total, row means, A - I and c, seven matrices of scratch, first,
  // second and offset of dX; the gradients of Wg, bg, Wo, bo and scale.
  const int64_t folded = row + joints + row + 7 * size + size + row, gradient = 2 * row + 1;
  const Tensor parts_memory = buffer<acc_t>(moments, d.samples * d.chunks * row);
  const Tensor folded_memory = buffer<acc_t>(moments, d.samples * folded);
  const Tensor gradients_memory = buffer<acc_t>(moments, d.samples * gradient);
  acc_t *parts = parts_memory.mutable_data_ptr<acc_t>(), *folding = folded_memory.mutable_data_ptr<acc_t>(),
        *gradients = gradients_memory.mutable_data_ptr<acc_t>();
  SampleSums sums(d.samples, joints);
  std::vector<double> r_of(d.samples * joints), t_of(d.samples * joints), mu(joints), a(joints), b_of(joints), d_of(joints);
  std::vector<acc_t> gain(joints);
  for (int64_t k = 0; k < joints; ++k) {
    mu[k] = data(mean)[k];
    a[k] = gamma[k] / std::sqrt(double(data(var)[k]) + eps);
    gain[k] = static_cast<acc_t>(a[k]);
  }

  const auto total_of = [&](int64_t b) { return folding + b * folded; };
  const auto means_of = [&](int64_t b) { return total_of(b) + row; };
  const auto mixing_of = [&](int64_t b) { return means_of(b) + joints; };
  const auto scratch_of = [&](int64_t b) { return mixing_of(b) + row; };
  const auto first_of = [&](int64_t b) { return scratch_of(b) + 7 * size; };
  const auto fold_backward = [&](int64_t b) {
    acc_t *first = first_of(b), *g = gradients + b * gradient;
    algebra.fold_backward(
        joints, d.columns, static_cast<acc_t>(scale), m + b * joints * width, total_of(b), r_of.data() + b * joints, mixing_of(b),
        mixing_of(b) + size, sums.of(b), mu.data(), a.data(), b_of.data(), d_of.data(), wg, bg, wo, scratch_of(b),
        first, first + size, first + 2 * size, g, g + size, g + row, g + row + size,
        g + 2 * row);
  };

  for (int64_t b = 0; b < d.samples; ++b) {
    for (int64_t k = 0; k < joints; ++k) means_of(b)[k] = m[(b * joints + k) * width + joints + 1];
  }
  const Stage relate{
      Order::forwards,
      [&](int64_t b, int64_t i, int64_t begin, int64_t end, acc_t* scratch) {
        acc_t* part = parts + (b * d.chunks + i) * row;
        simd.product(d.shape(), begin, end, grad + b * d.sample_size(), x + b * d.sample_size(),
                     training ? means_of(b) : nullptr, scratch, part, part + size);
      },
      [&](int64_t b) {
        add_in_order(d.chunks, row, parts + b * d.chunks * row, total_of(b));
        for (int64_t k = 0; k < joints; ++k) {
          double& r = r_of[b * joints + k];
          r = 0;
          for (int64_t i = 0; i < d.chunks; ++i) r += parts[(b * d.chunks + i) * row + size + k];
        }
        algebra.fold(joints, d.columns, static_cast<acc_t>(scale), m + b * joints * width, wg, bg, wo, bo, scratch_of(b), mixing_of(b),
                     mixing_of(b) + size, sums.of(b));
        algebra.gradient_sums(joints, total_of(b), r_of.data() + b * joints, mixing_of(b), sums.of(b), mu.data(),
                              t_of.data() + b * joints);
        if (!training) fold_backward(b);
      }};
  const Stage mix{
      Order::backwards,
      [&](int64_t b, int64_t i, int64_t begin, int64_t end, acc_t* scratch) {
        const acc_t* first = first_of(b);
        simd.mix(d.shape(), begin, end, gain.data(), first, grad + b * d.sample_size(), first + size,
                 x + b * d.sample_size(), first + 2 * size, training ? d.chunk_before(b, i) : d.sample_ahead(b),
                 past_caches, scratch,
                 grad_x + b * d.sample_size());
      },
      nothing_more};

  // t and R of the batch, over the samples in their order.
  std::vector<double> t(joints), r(joints);
  const auto add_samples = [&] {
    for (int64_t b = 0; b < d.samples; ++b) {
      for (int64_t k = 0; k < joints; ++k) {
        t[k] += t_of[b * joints + k];
        r[k] += r_of[b * joints + k];
      }
    }
  };
  if (training) {
    d.run<acc_t>(moments, relate);
    add_samples();
    const double count = static_cast<double>(d.samples) * static_cast<double>(d.columns);
    for (int64_t k = 0; k < joints; ++k) {
      const double inverse = 1.0 / (double(data(var)[k]) + eps);
      b_of[k] = -a[k] * inverse * t[k] / count;
      d_of[k] = -a[k] * r[k] / count;
    }
    const Stage fold_stage{Order::backwards, [](int64_t, int64_t, int64_t, int64_t, acc_t*) {}, fold_backward};
    d.run<acc_t>(moments, fold_stage, mix);
  } else {
    d.run<acc_t>(moments, relate, mix);
    add_samples();
  }
  acc_t* g = grad_parameters.mutable_data_ptr<acc_t>();
  add_in_order(d.samples, gradient, gradients, g);
  for (int64_t k = 0; k < joints; ++k) {
    g[gradient + k] = static_cast<acc_t>(t[k] / std::sqrt(double(data(var)[k]) + eps));
    g[gradient + joints + k] = static_cast<acc_t>(r[k]);
  }
}

Parameters dense_parameters(
    at::ScalarType acc, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, const Tensor& norm_bias) {
  return {dense(weight_g, acc), dense(bias_g, acc),      dense(weight_o, acc),
          dense(bias_o, acc),   dense(norm_weight, acc), dense(norm_bias, acc)};
}

JointRelationNormForward joint_relation_norm_forward_cpu(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean,
    const Tensor& running_var, bool training, double eps, double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation_norm(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean,
                            running_var, training, eps, scale, scale_tensor);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto acc = accumulate_dtype(dtype);
  const auto values = dense(heatmaps, dtype);
  const auto joints = values.size(1);
  const auto options = values.options().dtype(acc);
  auto out = at::empty(values.sizes(), values.options());
  auto moments = at::empty({values.size(0), joints, joints + 2}, options);
  auto mean = dense(running_mean, acc).clone(), var = dense(running_var, acc).clone();
  if (values.numel() == 0) return {out, moments.zero_(), mean, var};
  const auto parameters = dense_parameters(acc, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation_norm", [&] {
    forward<scalar_t>(values, parameters, training, eps, number(scale, scale_tensor), out, moments, mean, var);
  });
  return {out, moments, mean, var};
}

JointRelationNormBackward joint_relation_norm_backward_cpu(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments, const Tensor& mean, const Tensor& var,
    const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, bool training, double eps, double scale, const OptionalTensor& scale_tensor) {
  const auto dtype = heatmaps.scalar_type();
  const auto acc = accumulate_dtype(dtype);
  check_joint_relation_norm(heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_weight, mean, var,
                            training, eps, scale, scale_tensor);
  check_shape("joint_relation_norm_backward", {"grad_out", grad_out}, heatmaps.sym_sizes());
  const int64_t joints = heatmaps.size(1), row = joints * joints + joints;
  auto grad_heatmaps = at::empty(heatmaps.sizes(), heatmaps.options());
  auto grad_parameters = at::empty({2 * row + 1 + 2 * joints}, heatmaps.options().dtype(acc));
  if (heatmaps.numel() == 0) {
    grad_parameters.zero_();
  } else {
    const auto grads = dense(grad_out, dtype), values = dense(heatmaps, dtype);
    const auto parameters = dense_parameters(acc, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_weight);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation_norm_backward", [&] {
      backward<scalar_t>(grads, values, dense(moments, acc), dense(mean, acc), dense(var, acc), parameters, training,
                         eps, number(scale, scale_tensor), grad_heatmaps, grad_parameters);
    });
  }
  const auto part = [&](int64_t begin, const auto& like) { return unpacked(grad_parameters, begin, like); };
  return {grad_heatmaps,
          part(0, weight_g),
          part(joints * joints, bias_g),
          part(row, weight_o),
          part(row + joints * joints, bias_o),
          part(2 * row + 1, norm_weight),
          part(2 * row + 1 + joints, norm_weight),
          part(2 * row, scale_tensor)};
}

TORCH_LIBRARY_IMPL(rpstn_ext, CPU, m) {
  m.impl("joint_relation_norm_forward", &joint_relation_norm_forward_cpu);
  m.impl("joint_relation_norm_backward", &joint_relation_norm_backward_cpu);
}

}  // namespace
}  // namespace rpstn
