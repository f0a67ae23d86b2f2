#pragma once

// Launchers of joint_relation.cu; joint_relation_norm uses the passes over memory, too. Pointers of no type point at
// elements of `dtype` where they are maps, else at the type of its sums (Accumulate). Equations: joint_relation.h.

#include "cuda/launch.cuh"
#include "cuda/numbers.cuh"
#include "cuda/parameters.cuh"

namespace rpstn {

struct RelationShape {
  int64_t samples, joints, columns;  // B, K, N

  __host__ __device__ int64_t matrix() const { return joints * joints; }
  // Columns whose products are summed before those of others: by K alone, and so many that parts stay small.
  __host__ __device__ int64_t chunk() const { return int64_t(kPiece) * pieces(); }
  // In 32 bits, as kernels divide by it: a division of 64 takes several times the instructions.
  __host__ __device__ uint32_t chunks() const {
    const auto all = static_cast<uint32_t>((static_cast<uint64_t>(columns) + kPiece - 1) / kPiece);
    return (all + pieces() - 1) / pieces();
  }
  // Numbers of one part: products [K, K] and sums [K].
  __host__ __device__ int64_t part() const { return joints * joints + joints; }

 private:
  static constexpr uint32_t kPiece = 512;
  __host__ __device__ uint32_t pieces() const { return joints <= 17 ? 2 : static_cast<uint32_t>((joints + 7) / 8); }
};

// Up to so many joints the algebra's matrices stay in a block's shared memory, and parameters of any type are staged
// there; beyond, parameters must have the type of the sums.
__host__ __device__ constexpr int64_t shared_joints(bool is_double) { return is_double ? 24 : 32; }
inline bool stages_parameters(Dtype dtype, RelationShape shape) {
  return shape.joints <= shared_joints(dtype == Dtype::kFloat64);
}

// [K, K] and [K], dense; bias_o is not needed backward.
struct RelationParameters {
  Parameter weight_g, bias_g, weight_o, bias_o;
};

// The factor of the relation: a number, or one that lies on the device.
struct RelationScale {
  double number;
  Parameter on_device;  // without data where `number` counts

  __host__ __device__ bool is_on_device() const { return on_device.data != nullptr; }
  template <typename acc_t>
  __device__ acc_t value() const {
    return is_on_device() ? on_device.at<acc_t>(0) : static_cast<acc_t>(number);
  }
  // Numbers of a sample's gradients: of Wg, bg, Wo, bo, and of the scale where it lies on the device.
  __host__ __device__ int64_t gradients(RelationShape shape) const { return 2 * shape.part() + is_on_device(); }
};

// [B, K, N] in memory: elements from one sample, joint or column to the next.
struct Maps {
  const void* data;
  int64_t sample, joint, column;

  __host__ __device__ bool channels_last() const { return column > 1 && joint < column; }
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
  // Where there is a mean, first and offset are A - I and c, and the result is gain * (A x + c - mean) + bias.
  const double* mean = nullptr;  // [K]
  Parameter bias = {};           // [K]
};

// Sums over the samples of numbers that each of them has, in an order that depends on how many samples there are alone.
// They go to consecutive targets in their types.
struct SampleSums {
  static constexpr int kMost = 5;

  int64_t samples = 0, size = 0;
  const void* values = nullptr;  // [B, size], or null where nothing is to be added
  int64_t counts[kMost] = {};
  Target targets[kMost] = {};

  __device__ void store(int64_t i, double sum) const {
#pragma unroll
    for (int t = 0; t < kMost; ++t) {
      if (i >= 0 && i < counts[t]) targets[t].store(i, sum);
      i -= counts[t];
    }
  }
};

// All of the forward or of the backward but the sum of gradients over the samples in one kernel, where the device, K and
// N allow it; else false, and nothing is done.
bool launch_one_read_forward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps x, RelationParameters parameters, void* gram, void* out,
    cudaStream_t stream);
bool launch_one_read_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, Maps grad_out, Maps x, const void* gram,
    RelationParameters parameters, void* grad_x, void* gradients, cudaStream_t stream);

// parts[b,c] = products x x^T and sums of x over the columns of chunk c; where centred, of x less the centres of this
// chunk's rows, which follow: a mean over so many of its columns that no row is further from its mean there than
// sqrt(3) of its standard deviations, whatever it holds (of chunks of more than 1024 columns sqrt(columns / 256 - 1)).
// Sets *counter, unless it is null, to 0; so do products of different maps.
void launch_own_products(
    Dtype dtype, RelationShape shape, Maps x, bool centred,
    void* parts,  // [B, chunks, part], or with the centres [B, chunks, part + K]
    unsigned* counter, cudaStream_t stream);

// parts[b,c] = products left (right - shift)^T and sums of left over the columns of chunk c.
void launch_products(
    Dtype dtype, RelationShape shape, Maps left, Maps right, Shift shift,
    void* parts,  // [B, chunks, part]
    unsigned* counter, cudaStream_t stream);

// out = gain * x + first x + second y + offset, [B, K, N] dense; and, where there is something to add, the sums over
// samples, by blocks of the same launch.
void launch_mix(
    Dtype dtype, RelationShape shape, Maps x, Maps y, Mixture mixture, void* out, const SampleSums& sums,
    cudaStream_t stream);

// The sums over samples alone.
void launch_add_samples(Dtype dtype, const SampleSums& sums, cudaStream_t stream);

// G [B, K, K], and per sample A - I and c: folded [B, part].
void launch_fold(
    Dtype dtype, RelationShape shape, RelationScale scale, const void* parts, RelationParameters parameters, void* scratch,
    void* gram, void* folded, cudaStream_t stream);

// Per sample A^T - I and Q: folded [B, 2, K, K]; and its part of the gradients: [B, scale.gradients()].
void launch_fold_backward(
    Dtype dtype, RelationShape shape, RelationScale scale, const void* parts, const void* gram,
    RelationParameters parameters, void* scratch, void* folded, void* gradients, cudaStream_t stream);

constexpr int kCentreColumns = 256;  // of a chunk, or all that it has

// Numbers of scratch in memory that a fold wants where its matrices do not fit into a block's shared memory, else 0.
int64_t fold_scratch(Dtype dtype, RelationShape shape);
int64_t fold_backward_scratch(Dtype dtype, RelationShape shape);

}  // namespace rpstn
