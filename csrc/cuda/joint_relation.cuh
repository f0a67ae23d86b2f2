#pragma once

// Launchers of joint_relation.cu; joint_relation_norm uses the passes over memory, too. Pointers of no type point at
// elements of `dtype` where they are maps, else at the type of its sums (Accumulate). Equations: joint_relation.h.

#include "cuda/launch.cuh"
#include "cuda/numbers.cuh"

namespace rpstn {

struct RelationShape {
  int64_t samples, joints, columns;  // B, K, N

  __host__ __device__ int64_t matrix() const { return joints * joints; }
  // Columns whose products are summed before those of others: by K alone, and so many that parts stay small.
  __host__ __device__ int64_t chunk() const { return joints <= 17 ? 1024 : 512 * ((joints + 7) / 8); }
  __host__ __device__ int64_t chunks() const { return (columns + chunk() - 1) / chunk(); }
  // Numbers of one part: products [K, K] and sums [K].
  __host__ __device__ int64_t part() const { return joints * joints + joints; }
};

// The factor of the relation: a number, or one of the type of the sums that lies on the device.
struct RelationScale {
  double number;
  const void* on_device;  // null where `number` counts

  template <typename acc_t>
  __device__ acc_t value() const {
    return on_device != nullptr ? *static_cast<const acc_t*>(on_device) : static_cast<acc_t>(number);
  }
  // Numbers of a sample's gradients: of Wg, bg, Wo, bo, and of the scale where it lies on the device.
  __host__ __device__ int64_t gradients(RelationShape shape) const { return 2 * shape.part() + (on_device != nullptr); }
};

// [B, K, N] in memory: elements from one sample, joint or column to the next.
struct Maps {
  const void* data;
  int64_t sample, joint, column;
};

// [B, K]; data may be null.
struct Shift {
  const void* data;
  int64_t sample, joint;
};

// What a result is mixed of, per sample `step` numbers apart; gain is the same for all samples.
struct Mixture {
  const void* gain;    // [K], or null for 1
  const void* first;   // [B: K, K]
  const void* second;  // [B: K, K], or null
  const void* offset;  // [B: K], or null
  int64_t step;
};

// All of the forward or of the backward but the sum of gradients over the samples in one kernel, where the device, K and
// N allow it; else false, and nothing is done.
bool launch_one_read_forward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps x, const void* weight_g, const void* bias_g,
    const void* weight_o, const void* bias_o, void* gram, void* out, cudaStream_t stream);
bool launch_one_read_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps grad_out, Maps x, const void* gram, const void* weight_g,
    const void* bias_g, const void* weight_o, void* grad_x, void* gradients, cudaStream_t stream);

// parts[b,c] = products left (right - shift)^T and sums of left over the columns of chunk c; `same` says that left is
// right, then shifted as well.
void launch_products(
    Dtype dtype, RelationShape shape, Maps left, Maps right, bool same, Shift shift,
    void* parts,  // [B, chunks, part]
    cudaStream_t stream);

// out = gain * x + first x + second y + offset, [B, K, N] dense.
void launch_mix(Dtype dtype, RelationShape shape, Maps x, Maps y, Mixture mixture, void* out, cudaStream_t stream);

// total[i] = sum over the samples of values[b, i], in an order that depends on their number alone.
void launch_add_samples(Dtype dtype, int64_t samples, int64_t size, const void* values, void* total, cudaStream_t stream);

// G [B, K, K], and per sample A - I and c: folded [B, part].
void launch_fold(
    Dtype dtype, RelationShape shape, RelationScale scale, const void* parts, const void* weight_g, const void* bias_g,
    const void* weight_o, const void* bias_o, void* scratch, void* gram, void* folded, cudaStream_t stream);

// Per sample A^T - I and Q: folded [B, 2, K, K]; and its part of the gradients: [B, scale.gradients()].
void launch_fold_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, const void* parts, const void* gram, const void* weight_g,
    const void* bias_g, const void* weight_o, void* scratch, void* folded, void* gradients, cudaStream_t stream);

// Numbers of scratch in memory that a fold wants where its matrices do not fit into a block's shared memory, else 0.
int64_t fold_scratch(RelationShape shape);
int64_t fold_backward_scratch(RelationShape shape);

}  // namespace rpstn
