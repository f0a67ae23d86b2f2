// CPU: divides the work among threads; the arithmetic is in joint_relation_simd.cpp.
// A sample's columns are cut into chunks by K alone and the chunks' sums are added in their order, whoever computed
// them: results do not depend on threads, batch or run. Many samples: a thread per sample, which stays in its cache
// between the two passes. Few samples: a thread per chunk.

#include "joint_relation.h"

#include <algorithm>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "checks.h"
#include "cpu/instruction_set.h"
#include "cpu/joint_relation_simd.h"
#include "cpu/raw.h"

namespace rpstn {
namespace {

using at::Tensor;

// How a call is cut: into whole samples, or into chunks of columns where samples are fewer than threads could use.
struct Division {
  int64_t samples, joints, columns, chunk, chunks;
  bool by_chunk;

  Division(const Tensor& heatmaps)
      : samples(heatmaps.size(0)), joints(heatmaps.size(1)), columns(heatmaps.size(2) * heatmaps.size(3)) {
    constexpr int64_t kFirstLevelCache = 16 * 1024;  // elements of a chunk, and at least a few vectors a row
    chunk = std::clamp<int64_t>(kFirstLevelCache / std::max<int64_t>(joints, 1) / 64 * 64, 64, 1024);
    chunks = (columns + chunk - 1) / chunk;
    by_chunk = samples < 2 * at::get_num_threads() && chunks > 1 && !at::in_parallel_region();
  }

  int64_t matrix() const { return joints * joints; }

  // Samples, or chunks, that are worth a thread: about 20 microseconds of work.
  int64_t grain(int64_t columns_each) const {
    return std::max<int64_t>(1, 300'000 / std::max<int64_t>(1, matrix() * columns_each));
  }

  // Calls body(sample, chunk index, begin, end) for every chunk of every sample.
  template <typename Body>
  void for_chunks(Body body) const {
    at::parallel_for(0, samples * chunks, grain(chunk), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t index = i % chunks;
        body(i / chunks, index, index * chunk, std::min(columns, (index + 1) * chunk));
      }
    });
  }
};

// Adds chunk sums in double, in order.
template <typename acc_t>
void add_in_order(int64_t chunks, int64_t size, const acc_t* parts, double factor, acc_t* total) {
  for (int64_t i = 0; i < size; ++i) {
    double sum = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += parts[chunk * size + i];
    total[i] = static_cast<acc_t>(factor * sum);
  }
}

template <typename scalar_t>
Tensor buffer(const Tensor& like, int64_t size) {
  return at::empty({size}, like.options().dtype(c10::CppTypeToScalarType<scalar_t>::value));
}

template <typename tensor_t>
void forward(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale, Tensor& out, Tensor& relation) {
  using scalar_t = typename Raw<tensor_t>::type;
  using acc_t = typename Accumulate<scalar_t>::type;
  const auto simd = (*RPSTN_SELECT(joint_relation_simd<scalar_t>))();
  const Division d(heatmaps);
  const JointRelationShape shape{d.joints, d.columns};
  const int64_t size = d.matrix(), sample_size = d.joints * d.columns;
  const int64_t scratch_size = scratch_elements(d.joints, d.chunk);
  const auto* x = input<tensor_t>(heatmaps);
  auto* z = output<tensor_t>(out);
  auto* s = relation.mutable_data_ptr<acc_t>();
  const auto *wg = weight_g.const_data_ptr<acc_t>(), *bg = bias_g.const_data_ptr<acc_t>(),
             *wo = weight_o.const_data_ptr<acc_t>(), *bo = bias_o.const_data_ptr<acc_t>();

  if (!d.by_chunk) {
    const int64_t workspace = scratch_size + d.chunks * size + 3 * size + d.joints;
    at::parallel_for(0, d.samples, d.grain(d.columns), [&](int64_t first, int64_t last) {
      const Tensor memory = buffer<acc_t>(relation, workspace);
      acc_t* scratch = memory.mutable_data_ptr<acc_t>();
      acc_t* parts = scratch + scratch_size;
      acc_t* folding = parts + d.chunks * size;
      acc_t *mixing = folding + 2 * size, *offset = folding + 3 * size;
      for (int64_t b = first; b < last; ++b) {
        const scalar_t* values = x + b * sample_size;
        for (int64_t i = 0; i < d.chunks; ++i) {
          simd.product(shape, i * d.chunk, std::min(d.columns, (i + 1) * d.chunk), values, values, scratch,
                       parts + i * size, nullptr);
        }
        add_in_order(d.chunks, size, parts, scale, s + b * size);
        simd.fold(d.joints, s + b * size, wg, bg, wo, bo, folding, mixing, offset);
        // Backwards: the last columns are the ones still in the nearest cache.
        for (int64_t i = d.chunks - 1; i >= 0; --i) {
          simd.mix(shape, i * d.chunk, std::min(d.columns, (i + 1) * d.chunk), mixing, values, nullptr, nullptr,
                   offset, scratch, z + b * sample_size);
        }
      }
    });
    return;
  }

  const Tensor parts_memory = buffer<acc_t>(relation, d.samples * d.chunks * size);
  const Tensor folded_memory = buffer<acc_t>(relation, d.samples * (3 * size + d.joints));
  acc_t *parts = parts_memory.mutable_data_ptr<acc_t>(), *folded = folded_memory.mutable_data_ptr<acc_t>();
  d.for_chunks([&](int64_t b, int64_t i, int64_t begin, int64_t end) {
    const Tensor scratch = buffer<acc_t>(relation, scratch_size);
    const scalar_t* values = x + b * sample_size;
    simd.product(shape, begin, end, values, values, scratch.mutable_data_ptr<acc_t>(),
                 parts + (b * d.chunks + i) * size, nullptr);
  });
  for (int64_t b = 0; b < d.samples; ++b) {
    acc_t* f = folded + b * (3 * size + d.joints);
    add_in_order(d.chunks, size, parts + b * d.chunks * size, scale, s + b * size);
    simd.fold(d.joints, s + b * size, wg, bg, wo, bo, f, f + 2 * size, f + 3 * size);
  }
  d.for_chunks([&](int64_t b, int64_t i, int64_t begin, int64_t end) {
    const Tensor scratch = buffer<acc_t>(relation, scratch_size);
    const acc_t* f = folded + b * (3 * size + d.joints);
    simd.mix(shape, begin, end, f + 2 * size, x + b * sample_size, nullptr, nullptr, f + 3 * size,
             scratch.mutable_data_ptr<acc_t>(), z + b * sample_size);
  });
}

template <typename tensor_t>
void backward(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& relation, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, double scale, Tensor& grad_heatmaps, Tensor& grad_parameters) {
  using scalar_t = typename Raw<tensor_t>::type;
  using acc_t = typename Accumulate<scalar_t>::type;
  const auto simd = (*RPSTN_SELECT(joint_relation_simd<scalar_t>))();
  const Division d(heatmaps);
  const JointRelationShape shape{d.joints, d.columns};
  const int64_t size = d.matrix(), row = size + d.joints, sample_size = d.joints * d.columns;
  const int64_t scratch_size = scratch_elements(d.joints, d.chunk);
  const auto *grad = input<tensor_t>(grad_out), *x = input<tensor_t>(heatmaps);
  auto* grad_x = output<tensor_t>(grad_heatmaps);
  const auto* s = relation.const_data_ptr<acc_t>();
  const auto *wg = weight_g.const_data_ptr<acc_t>(), *bg = bias_g.const_data_ptr<acc_t>(),
             *wo = weight_o.const_data_ptr<acc_t>();
  // Per sample: gradients of Wg, bg, Wo, bo; added below in the order of the samples.
  const Tensor gradients_memory = buffer<acc_t>(relation, d.samples * 2 * row);
  acc_t* gradients = gradients_memory.mutable_data_ptr<acc_t>();

  // `total` is C and r of sample b; writes A^T - I and Q behind four matrices of scratch.
  const auto fold = [&](int64_t b, const acc_t* total, acc_t* folding) {
    acc_t* g = gradients + b * 2 * row;
    simd.fold_backward(d.joints, static_cast<acc_t>(scale), s + b * size, total, total + size, wg, bg, wo, folding,
                       folding + 4 * size, folding + 5 * size, g, g + size, g + row, g + row + size);
  };

  if (!d.by_chunk) {
    const int64_t workspace = scratch_size + d.chunks * row + row + 6 * size;
    at::parallel_for(0, d.samples, d.grain(3 * d.columns), [&](int64_t first, int64_t last) {
      const Tensor memory = buffer<acc_t>(relation, workspace);
      acc_t* scratch = memory.mutable_data_ptr<acc_t>();
      acc_t* parts = scratch + scratch_size;
      acc_t* total = parts + d.chunks * row;
      acc_t* folding = total + row;
      for (int64_t b = first; b < last; ++b) {
        const scalar_t *grads = grad + b * sample_size, *values = x + b * sample_size;
        for (int64_t i = 0; i < d.chunks; ++i) {
          simd.product(shape, i * d.chunk, std::min(d.columns, (i + 1) * d.chunk), grads, values, scratch,
                       parts + i * row, parts + i * row + size);
        }
        add_in_order(d.chunks, row, parts, 1.0, total);
        fold(b, total, folding);
        for (int64_t i = d.chunks - 1; i >= 0; --i) {
          simd.mix(shape, i * d.chunk, std::min(d.columns, (i + 1) * d.chunk), folding + 4 * size, grads,
                   folding + 5 * size, values, nullptr, scratch, grad_x + b * sample_size);
        }
      }
    });
  } else {
    const Tensor parts_memory = buffer<acc_t>(relation, d.samples * d.chunks * row);
    const Tensor folded_memory = buffer<acc_t>(relation, d.samples * (row + 6 * size));
    acc_t *parts = parts_memory.mutable_data_ptr<acc_t>(), *folded = folded_memory.mutable_data_ptr<acc_t>();
    d.for_chunks([&](int64_t b, int64_t i, int64_t begin, int64_t end) {
      const Tensor scratch = buffer<acc_t>(relation, scratch_size);
      acc_t* part = parts + (b * d.chunks + i) * row;
      simd.product(shape, begin, end, grad + b * sample_size, x + b * sample_size,
                   scratch.mutable_data_ptr<acc_t>(), part, part + size);
    });
    for (int64_t b = 0; b < d.samples; ++b) {
      acc_t* total = folded + b * (row + 6 * size);
      add_in_order(d.chunks, row, parts + b * d.chunks * row, 1.0, total);
      fold(b, total, total + row);
    }
    d.for_chunks([&](int64_t b, int64_t i, int64_t begin, int64_t end) {
      const Tensor scratch = buffer<acc_t>(relation, scratch_size);
      const acc_t* folding = folded + b * (row + 6 * size) + row;
      simd.mix(shape, begin, end, folding + 4 * size, grad + b * sample_size, folding + 5 * size,
               x + b * sample_size, nullptr, scratch.mutable_data_ptr<acc_t>(), grad_x + b * sample_size);
    });
  }
  add_in_order(d.samples, 2 * row, gradients, 1.0, grad_parameters.mutable_data_ptr<acc_t>());
}

JointRelationForward joint_relation_forward_cpu(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale) {
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_o, scale);
  const auto dtype = common_dtype(heatmaps, weight_g, bias_g, weight_o, bias_o);
  const auto acc = accumulate_dtype(dtype);
  const auto values = dense(heatmaps, dtype);
  const auto joints = values.size(1);
  auto out = at::empty(values.sizes(), values.options());
  auto relation = at::empty({values.size(0), joints, joints}, values.options().dtype(acc));
  if (relation.numel() == 0) return {out, relation};
  const auto wg = dense(weight_g, acc), bg = dense(bias_g, acc), wo = dense(weight_o, acc), bo = dense(bias_o, acc);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation", [&] {
    forward<scalar_t>(values, wg, bg, wo, bo, scale, out, relation);
  });
  return {out, relation};
}

Tensor joint_relation_cpu(
    const Tensor& heatmaps, const Tensor& weight_g, const Tensor& bias_g, const Tensor& weight_o,
    const Tensor& bias_o, double scale) {
  return std::get<0>(joint_relation_forward_cpu(heatmaps, weight_g, bias_g, weight_o, bias_o, scale));
}

JointRelationBackward joint_relation_backward_cpu(
    const Tensor& grad_out, const Tensor& heatmaps, const Tensor& relation, const Tensor& weight_g,
    const Tensor& bias_g, const Tensor& weight_o, double scale) {
  const auto dtype = heatmaps.scalar_type();
  const auto acc = accumulate_dtype(dtype);
  check_joint_relation(heatmaps, weight_g, bias_g, weight_o, bias_g, scale);
  check_shape("joint_relation_backward", {"grad_out", grad_out}, heatmaps.sym_sizes());
  const int64_t joints = heatmaps.size(1), row = joints * joints + joints;
  auto grad_heatmaps = at::empty(heatmaps.sizes(), heatmaps.options());
  auto grad_parameters = at::empty({2 * row}, heatmaps.options().dtype(acc));
  if (heatmaps.size(0) == 0 || joints == 0) {
    grad_parameters.zero_();
  } else {
    const auto grads = dense(grad_out, dtype), values = dense(heatmaps, dtype), s = dense(relation, acc);
    const auto wg = dense(weight_g, acc), bg = dense(bias_g, acc), wo = dense(weight_o, acc);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "joint_relation_backward", [&] {
      backward<scalar_t>(grads, values, s, wg, bg, wo, scale, grad_heatmaps, grad_parameters);
    });
  }
  // Each gradient has memory of its own, as autograd wants of a parameter's first gradient.
  const auto part = [&](int64_t begin, const Tensor& like) {
    return grad_parameters.narrow(0, begin, like.numel()).view(like.sizes()).to(like.scalar_type(), false, true);
  };
  return {grad_heatmaps, part(0, weight_g), part(joints * joints, bias_g), part(row, weight_o),
          part(row + joints * joints, bias_g)};
}

TORCH_LIBRARY_IMPL(rpstn_ext, CPU, m) {
  m.impl("joint_relation", &joint_relation_cpu);
  m.impl("joint_relation_forward", &joint_relation_forward_cpu);
  m.impl("joint_relation_backward", &joint_relation_backward_cpu);
}

}  // namespace
}  // namespace rpstn
