// CPU: what is done to every chunk, every sample and the batch; joint_relation_work.h divides it among threads. In
// training the heat maps are read twice, before and after the batch's statistics are known, as the parts of the
// result are; in evaluation a sample stays in its cache between the two.

#include "joint_relation_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "checks.h"
#include "cpu/instruction_set.h"
#include "cpu/joint_relation_norm_simd.h"
#include "cpu/joint_relation_simd.h"
#include "cpu/joint_relation_work.h"
#include "cpu/raw.h"
#include "serve.h"
#include "tuned.h"

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

// Without `out` the first pass alone, and the batch's exact statistics in `batch` [2, K].
template <typename tensor_t>
void forward(
    const Tensor& heatmaps, const Parameters& parameters, bool training, double eps, double scale, Tensor* out,
    Tensor& moments, double* batch) {
  using scalar_t = typename Raw<tensor_t>::type;
  using acc_t = typename Accumulate<scalar_t>::type;
  const auto simd = (*RPSTN_SELECT(joint_relation_simd<scalar_t>))();
  const auto algebra = (*RPSTN_SELECT(joint_relation_norm_simd<acc_t>))();
  const Division d(heatmaps, 1);
  const int64_t joints = d.joints, size = d.matrix(), row = size + joints, width = moments_row(joints);
  const auto* x = input<tensor_t>(heatmaps);
  auto* y = out == nullptr ? nullptr : output<tensor_t>(*out);
  auto* m = moments.mutable_data_ptr<acc_t>();
  const auto data = [](const Tensor& tensor) { return tensor.const_data_ptr<acc_t>(); };
  const auto *wg = data(parameters.weight_g), *bg = data(parameters.bias_g), *wo = data(parameters.weight_o),
             *bo = data(parameters.bias_o), *gamma = data(parameters.norm_weight),
             *beta = data(parameters.norm_bias);
  // Three matrices of scratch; A - I and c, which in training outlive the statistics.
  const int64_t work = 3 * size + (training ? 0 : row);
  const Buffer<acc_t> kept_memory(training ? d.samples * row : 0);
  acc_t* kept = kept_memory.data;
  SampleSums sums(d.samples, joints);
  std::vector<acc_t> gain(joints), means(training ? d.samples * joints : 0);

  const auto means_of = [&](int64_t b) { return training ? means.data() + b * joints : nullptr; };
  const auto mixing_of = [&](int64_t b, acc_t* own) { return training ? kept + b * row : own + 3 * size; };
  // Y = gain * (X + (A - I) X + c) + shift, in place of A - I and c.
  const auto normalise = [&](acc_t* mixing) {
    acc_t* offset = mixing + size;
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
  const auto average = [&](int64_t b, acc_t* scratch, acc_t*) {
    const int64_t end = std::min(d.chunk, d.columns);
    simd.sum_rows(d.shape(), 0, end, x + b * d.sample_size(), scratch, means_of(b));
    for (int64_t k = 0; k < joints; ++k) means_of(b)[k] /= static_cast<acc_t>(end);
  };
  const auto relate = [&](int64_t b, int64_t begin, int64_t end, acc_t* scratch, acc_t* sums_of_chunk) {
    const scalar_t* values = x + b * d.sample_size();
    simd.product(d.shape(), begin, end, values, values, means_of(b), d.ahead_of_sums(b, begin, !training), scratch,
                 sums_of_chunk, sums_of_chunk + size);
  };
  const auto fold = [&](int64_t b, const double* total, acc_t* own) {
    acc_t *of_sample = m + b * joints * width, *mixing = mixing_of(b, own);
    for (int64_t k = 0; k < joints; ++k) {
      std::copy_n(total + k * joints, joints, of_sample + k * width);
      of_sample[k * width + joints] = static_cast<acc_t>(total[size + k]);
      of_sample[k * width + joints + 1] = training ? means_of(b)[k] : acc_t(0);
    }
    algebra.fold(joints, d.columns, static_cast<acc_t>(scale), of_sample, wg, bg, wo, bo, own, nullptr, mixing,
                 mixing + size, sums.of(b));
    if (!training) normalise(mixing);
  };
  const auto mix = [&](int64_t b, int64_t begin, int64_t end, acc_t* scratch, acc_t* own) {
    const acc_t* mixing = mixing_of(b, own);
    simd.mix(d.shape(), begin, end, gain.data(), mixing, x + b * d.sample_size(), nullptr, nullptr, mixing + size,
             d.ahead_of_mixing(b, begin, training), d.stores(training), scratch, y + b * d.sample_size());
  };

  if (training) {
    d.run<acc_t>(Order::forwards, row, work, average, relate, fold, Nothing{});
    batch_statistics(d, sums, batch, batch + joints);
    if (out == nullptr) return;
    prepare();
    d.run<acc_t>(
        Order::backwards, 0, 0, [&](int64_t b, acc_t*, acc_t* own) { normalise(mixing_of(b, own)); }, Nothing{},
        Nothing{}, mix);
  } else {
    prepare();
    d.run<acc_t>(Order::forwards, row, work, Nothing{}, relate, fold, mix);
  }
}

// The statistics, which may be given more exactly than in the type of the sums.
std::vector<double> as_doubles(const Tensor& of_joints) {
  std::vector<double> numbers(of_joints.numel());
  const auto values = dense(of_joints, accumulate_dtype(of_joints.scalar_type()));
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "joint_relation_norm's statistics", [&] {
    std::copy_n(values.const_data_ptr<scalar_t>(), numbers.size(), numbers.data());
  });
  return numbers;
}

// What a part of a batch, by which the gradients are not determined alone, is given of the whole, or gives to it.
struct Shared {
  const double* totals = nullptr;  // [2 K + 1]: t, R and the number of values per joint of the whole
  double* of_samples = nullptr;    // [B, 2, K]: t and r of each sample; nothing else is then written
};

template <typename tensor_t>
void backward(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments, std::vector<double> mu,
    std::vector<double> variance, const Parameters& parameters, bool training, double eps, double scale, Shared shared,
    bool need_heatmaps, Tensor& grad_heatmaps, Tensor& grad_parameters) {
  using scalar_t = typename Raw<tensor_t>::type;
  using acc_t = typename Accumulate<scalar_t>::type;
  const auto simd = (*RPSTN_SELECT(joint_relation_simd<scalar_t>))();
  // In double: with large means the gradients of the parameters are differences of large numbers, between samples and
  // between the terms of each.
  const auto algebra = (*RPSTN_SELECT(joint_relation_norm_simd<double>))();
  const Division d(heatmaps, 2);
  const int64_t joints = d.joints, size = d.matrix(), row = size + joints, width = moments_row(joints);
  const auto *grad = input<tensor_t>(grad_out), *x = input<tensor_t>(heatmaps);
  auto* grad_x = shared.of_samples == nullptr ? output<tensor_t>(grad_heatmaps) : nullptr;
  const auto* m = moments.const_data_ptr<acc_t>();
  std::vector<double> numbers;
  numbers.reserve(2 * size + 5 * joints);
  const auto raw = [&](const Tensor& tensor) {  // one small operation less for each
    const auto* first = tensor.const_data_ptr<acc_t>();
    numbers.insert(numbers.end(), first, first + tensor.numel());
    return numbers.data() + numbers.size() - tensor.numel();
  };
  const auto *wg = raw(parameters.weight_g), *bg = raw(parameters.bias_g), *wo = raw(parameters.weight_o),
             *bo = raw(parameters.bias_o), *gamma = raw(parameters.norm_weight);
  // Kept of each sample: its Cc and r, A - I and c, P. Its own meanwhile: first, second and offset of dX, its moments and
  // seven matrices of scratch; the first three again in the type of the sums.
  const int64_t kept = 2 * row + size, mixture = 2 * size + joints, gradient = 2 * row + 1;
  const int64_t work = 2 * mixture + joints * width + 7 * size;
  const Buffer<double> kept_memory(d.samples * kept), gradients_memory(d.samples * gradient);
  double *kept_data = kept_memory.data, *gradients = gradients_memory.data;
  SampleSums sums(d.samples, joints);
  std::vector<double> t_of(d.samples * joints), a(joints), b_of(joints), d_of(joints);
  std::vector<acc_t> gain(joints), means(training ? d.samples * joints : 0);
  for (size_t i = 0; i < means.size(); ++i) means[i] = m[i * width + joints + 1];
  const auto prepare = [&] {
    for (int64_t k = 0; k < joints; ++k) {
      a[k] = gamma[k] / std::sqrt(variance[k] + eps);
      gain[k] = static_cast<acc_t>(a[k]);
    }
  };

  const auto products_of = [&](int64_t b) { return kept_data + b * kept; };
  const auto r_of = [&](int64_t b) { return products_of(b) + size; };
  const auto mixing_of = [&](int64_t b) { return products_of(b) + row; };
  const auto weights_of = [&](int64_t b) { return products_of(b) + 2 * row; };
  const auto moments_of = [&](int64_t b, double* of_sample) {
    std::copy_n(m + b * joints * width, joints * width, of_sample);
    return of_sample;
  };
  // t of a sample: about its own centres, and then about the batch's means, which are known later.
  const auto add_products = [&](int64_t b) {
    for (int64_t k = 0; k < joints; ++k) {
      const double *of_k = products_of(b) + k * joints, *mixing = mixing_of(b) + k * joints;
      double total = of_k[k];
      for (int64_t j = 0; j < joints; ++j) total += of_k[j] * mixing[j];
      t_of[b * joints + k] = total;
    }
  };
  const auto take_means_off = [&](int64_t b) {
    for (int64_t k = 0; k < joints; ++k) t_of[b * joints + k] += r_of(b)[k] * (sums.of(b).centre[k] - mu[k]);
  };
  const auto rounded = [&](double* own) { return reinterpret_cast<acc_t*>(own + mixture); };
  const auto fold_backward = [&](int64_t b, double* own) {
    double *first = own, *of_sample = moments_of(b, own + 2 * mixture), *scratch = of_sample + joints * width,
           *g = gradients + b * gradient;
    algebra.fold_backward(
        joints, d.columns, scale, of_sample, products_of(b), r_of(b), weights_of(b), mixing_of(b),
        mixing_of(b) + size, sums.of(b),
        mu.data(), a.data(), b_of.data(), d_of.data(), wg, bg, wo, scratch, first, first + size, first + 2 * size, g,
        g + size, g + row, g + row + size, g + 2 * row);
    std::copy_n(first, mixture, rounded(own));
  };

  const auto relate = [&](int64_t b, int64_t begin, int64_t end, acc_t* scratch, acc_t* sums_of_chunk) {
    simd.product(d.shape(), begin, end, grad + b * d.sample_size(), x + b * d.sample_size(),
                 training ? means.data() + b * joints : nullptr, d.ahead_of_sums(b, begin, !training), scratch,
                 sums_of_chunk, sums_of_chunk + size);
  };
  const auto fold = [&](int64_t b, const double* total, double* own) {
    double* of_sample = moments_of(b, own + 2 * mixture);
    std::copy_n(total, row, products_of(b));
    algebra.fold(joints, d.columns, scale, of_sample, wg, bg, wo, bo, of_sample + joints * width, weights_of(b),
                 mixing_of(b), mixing_of(b) + size, sums.of(b));
    add_products(b);
    if (training) return;
    take_means_off(b);
    fold_backward(b, own);
  };
  const auto mix = [&](int64_t b, int64_t begin, int64_t end, acc_t* scratch, double* own) {
    const acc_t* first = rounded(own);
    simd.mix(d.shape(), begin, end, gain.data(), first, grad + b * d.sample_size(), first + size,
             x + b * d.sample_size(), first + 2 * size, d.ahead_of_mixing(b, begin, training), d.stores(training), scratch,
             grad_x + b * d.sample_size());
  };
  // t and R of the batch, over the samples in their order.
  std::vector<double> t(joints), r(joints);
  const auto add_samples = [&] {
    for (int64_t b = 0; b < d.samples; ++b) {
      for (int64_t k = 0; k < joints; ++k) {
        t[k] += t_of[b * joints + k];
        r[k] += r_of(b)[k];
      }
    }
  };
  if (training) {
    d.run<acc_t, double>(Order::forwards, row, work, Nothing{}, relate, fold, Nothing{});
    // Of the moments again: what mean and var, rounded, would leave over is multiplied by the means.
    if (shared.totals == nullptr && shared.of_samples == nullptr) batch_statistics(d, sums, mu.data(), variance.data());
    prepare();
    for (int64_t b = 0; b < d.samples; ++b) take_means_off(b);
    if (shared.of_samples != nullptr) {
      for (int64_t b = 0; b < d.samples; ++b) {
        std::copy_n(t_of.data() + b * joints, joints, shared.of_samples + 2 * b * joints);
        std::copy_n(r_of(b), joints, shared.of_samples + (2 * b + 1) * joints);
      }
      return;
    }
    add_samples();
    const double columns = static_cast<double>(d.columns);
    const double count = shared.totals == nullptr ? static_cast<double>(d.samples) * columns : shared.totals[2 * joints];
    const double* t_of_batch = shared.totals == nullptr ? t.data() : shared.totals;
    const double* r_of_batch = shared.totals == nullptr ? r.data() : shared.totals + joints;
    for (int64_t k = 0; k < joints; ++k) {
      b_of[k] = -a[k] / (variance[k] + eps) * t_of_batch[k] / count;
      d_of[k] = -a[k] * r_of_batch[k] / count;
    }
    const auto fold_before = [&](int64_t b, acc_t*, double* own) { fold_backward(b, own); };
    const auto run = [&](const auto& last) {
      d.run<acc_t, double>(Order::backwards, 0, work, fold_before, Nothing{}, Nothing{}, last);
    };
    need_heatmaps ? run(mix) : run(Nothing{});
  } else {
    prepare();
    const auto run = [&](const auto& last) {
      d.run<acc_t, double>(Order::forwards, row, work, Nothing{}, relate, fold, last);
    };
    need_heatmaps ? run(mix) : run(Nothing{});
    add_samples();
  }
  acc_t* g = grad_parameters.mutable_data_ptr<acc_t>();
  add_in_order(d.samples, gradient, gradients, g);
  for (int64_t k = 0; k < joints; ++k) {
    g[gradient + k] = static_cast<acc_t>(t[k] / std::sqrt(variance[k] + eps));
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
  auto out = empty_result(values.sizes(), values.options());
  auto moments = at::empty({values.size(0), joints, joints + 2}, options);
  auto mean = at::empty({joints}, options), var = at::empty({joints}, options);
  if (values.numel() == 0) return {out, moments.zero_(), mean.copy_(running_mean), var.copy_(running_var)};
  const auto parameters = dense_parameters(acc, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias);
  std::vector<double> batch(2 * joints);  // mu, var
  if (!training) {
    const auto given = {as_doubles(running_mean), as_doubles(running_var)};
    auto* next = batch.data();
    for (const auto& numbers : given) next = std::copy(numbers.begin(), numbers.end(), next);
  }
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation_norm", [&] {
    using acc_t = typename Accumulate<typename Raw<scalar_t>::type>::type;
    acc_t *mu = mean.mutable_data_ptr<acc_t>(), *variance = var.mutable_data_ptr<acc_t>();
    forward<scalar_t>(values, parameters, training, eps, number(scale, scale_tensor), &out, moments, batch.data());
    for (int64_t k = 0; k < joints; ++k) {
      mu[k] = static_cast<acc_t>(batch[k]);
      variance[k] = static_cast<acc_t>(batch[joints + k]);
    }
  });
  return {out, moments, mean, var};
}

JointRelationNormSums joint_relation_norm_sums_cpu(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    double scale, const OptionalTensor& scale_tensor) {
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale, scale_tensor, "joint_relation_norm_sums");
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto acc = accumulate_dtype(dtype);
  const auto values = dense(heatmaps, dtype);
  const auto joints = values.size(1);
  auto moments = at::empty({values.size(0), joints, joints + 2}, values.options().dtype(acc));
  auto statistics = at::empty({2, joints}, values.options().dtype(at::kDouble));
  if (values.numel() == 0) return {moments.zero_(), statistics.zero_()};
  // The first pass does not come to the norm's parameters.
  const auto parameters = dense_parameters(acc, weight_g, bias_g, weight_o, bias_o, bias_o, bias_o);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation_norm_sums", [&] {
    forward<scalar_t>(values, parameters, /*training=*/true, /*eps=*/0, number(scale, scale_tensor), /*out=*/nullptr,
                      moments, statistics.mutable_data_ptr<double>());
  });
  return {moments, statistics};
}

JointRelationNorm joint_relation_norm_cpu(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean,
    const Tensor& running_var, bool training, double eps, double scale, const OptionalTensor& scale_tensor) {
  return without_moments(joint_relation_norm_forward_cpu(
      heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var, training, eps,
      scale, scale_tensor));
}

JointRelationNormBackward joint_relation_norm_backward_cpu(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments, const Tensor& mean, const Tensor& var,
    const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, bool training, double eps, double scale, const OptionalTensor& scale_tensor,
    bool need_heatmaps, bool need_parameters, const OptionalTensor& totals) {
  check_joint_relation_norm_backward(grad_out, heatmaps, moments, mean, var, weight_g, bias_g, weight_o, bias_o,
                                     norm_weight, training, eps, scale, scale_tensor, totals);
  const auto dtype = heatmaps.scalar_type();
  const auto acc = accumulate_dtype(dtype);
  const int64_t joints = heatmaps.size(1), row = joints * joints + joints;
  auto grad_heatmaps = empty_gradient_result(heatmaps, dtype, need_heatmaps);
  auto grad_parameters = at::empty({2 * row + 1 + 2 * joints}, heatmaps.options().dtype(acc));
  if (heatmaps.numel() == 0) {
    grad_parameters.zero_();
  } else if (need_heatmaps || need_parameters) {
    const auto grads = dense(grad_out, dtype), values = dense(heatmaps, dtype);
    const auto parameters = dense_parameters(acc, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_weight);
    const auto of_batch = totals.has_value() ? as_doubles(*totals) : std::vector<double>();
    const Shared shared = {.totals = totals.has_value() ? of_batch.data() : nullptr};
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation_norm_backward", [&] {
      backward<scalar_t>(grads, values, dense(moments, acc), as_doubles(mean), as_doubles(var), parameters, training, eps,
                         number(scale, scale_tensor), shared, need_heatmaps, grad_heatmaps, grad_parameters);
    });
  }
  const auto part = [&](int64_t begin, const auto& like) { return unpacked(grad_parameters, begin, like, need_parameters); };
  return {grad_heatmaps,
          part(0, weight_g),
          part(joints * joints, bias_g),
          part(row, weight_o),
          part(row + joints * joints, bias_o),
          part(2 * row + 1, norm_weight),
          part(2 * row + 1 + joints, norm_weight),
          part(2 * row, scale_tensor)};
}

Tensor joint_relation_norm_gradient_sums_cpu(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& moments, const Tensor& mean, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o, double scale,
    const OptionalTensor& scale_tensor) {
  check_joint_relation_norm_gradient_sums(grad_out, heatmaps, moments, mean, weight_g, bias_g, weight_o, bias_o, scale,
                                          scale_tensor);
  const auto dtype = heatmaps.scalar_type();
  const auto acc = accumulate_dtype(dtype);
  const int64_t joints = heatmaps.size(1);
  auto of_samples = at::empty({heatmaps.size(0), 2, joints}, heatmaps.options().dtype(at::kDouble));
  if (heatmaps.numel() == 0) return of_samples.zero_();
  const auto grads = dense(grad_out, dtype), values = dense(heatmaps, dtype);
  const auto parameters = dense_parameters(acc, weight_g, bias_g, weight_o, bias_o, bias_o, bias_o);
  const Shared shared = {.of_samples = of_samples.mutable_data_ptr<double>()};
  Tensor nothing;
  // Of the statistics t and r need the mean only, and nothing of the norm's parameters.
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation_norm_gradient_sums", [&] {
    backward<scalar_t>(grads, values, dense(moments, acc), as_doubles(mean), std::vector<double>(joints, 1.0), parameters,
                       /*training=*/true, /*eps=*/0, number(scale, scale_tensor), shared, /*need_heatmaps=*/false,
                       nothing, nothing);
  });
  return of_samples;
}

// running += momentum * (factor * batch - running)
void move(const Tensor& running, const Tensor& batch, double factor, double momentum) {
  const auto to = as_doubles(batch);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, running.scalar_type(), "running statistics", [&] {
    auto* values = running.mutable_data_ptr<scalar_t>();
    const int64_t stride = running.stride(0);
    for (size_t k = 0; k < to.size(); ++k) {
      const double from = values[k * stride];
      values[k * stride] = static_cast<scalar_t>(from + momentum * (factor * to[k] - from));
    }
  });
}

JointRelationNormForward joint_relation_norm_training_cpu(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o, const Tensor& bias_o,
    const Tensor& norm_weight, const Tensor& norm_bias, const Tensor& running_mean, const Tensor& running_var, double eps,
    double momentum, double scale, const OptionalTensor& scale_tensor) {
  auto results = joint_relation_norm_forward_cpu(
      heatmaps, weight_g, bias_g, weight_o, bias_o, norm_weight, norm_bias, running_mean, running_var, /*training=*/true,
      eps, scale, scale_tensor);
  if (heatmaps.numel() == 0) return results;
  const double count = static_cast<double>(heatmaps.numel() / heatmaps.size(1));
  move(running_mean, std::get<2>(results), 1, momentum);
  move(running_var, std::get<3>(results), count / (count - 1), momentum);
  return results;
}

}  // namespace

void serve_joint_relation_norm(torch::Library& m) {
  m.impl("joint_relation_norm", &joint_relation_norm_cpu);
  m.impl("joint_relation_norm_forward", &joint_relation_norm_forward_cpu);
  m.impl("joint_relation_norm_training", &joint_relation_norm_training_cpu);
  m.impl("joint_relation_norm_backward", &joint_relation_norm_backward_cpu);
  m.impl("joint_relation_norm_sums", &joint_relation_norm_sums_cpu);
  m.impl("joint_relation_norm_gradient_sums", &joint_relation_norm_gradient_sums_cpu);
}

}  // namespace rpstn
