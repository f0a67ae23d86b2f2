#pragma once

// How joint_relation and joint_relation_norm divide their work. A sample's columns are cut into chunks by K alone and
// the chunks' sums are added in their order, whoever computed them: results do not depend on threads, batch or run.

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "cpu/joint_relation_simd.h"

namespace rpstn {

enum class Order { forwards, backwards };

// What is done to every chunk, chunk(sample, index, begin, end, scratch), and then once per sample, finish(sample).
// A stage after another goes backwards: the last columns are the ones that are still in the nearest cache.
template <typename Chunk, typename Finish>
struct Stage {
  Order order;
  Chunk chunk;
  Finish finish;
};
template <typename Chunk, typename Finish>
Stage(Order, Chunk, Finish) -> Stage<Chunk, Finish>;

inline void nothing_more(int64_t) {}

template <typename scalar_t>
at::Tensor buffer(const at::Tensor& like, int64_t size) {
  return at::empty({size}, like.options().dtype(c10::CppTypeToScalarType<scalar_t>::value));
}

struct Division {
  int64_t samples, joints, columns, chunk, chunks;

  explicit Division(const at::Tensor& heatmaps)
      : samples(heatmaps.size(0)), joints(heatmaps.size(1)), columns(heatmaps.size(2) * heatmaps.size(3)) {
    constexpr int64_t kFirstLevelCache = 16 * 1024;  // elements of a chunk, and at least a few vectors a row
    chunk = std::clamp<int64_t>(kFirstLevelCache / std::max<int64_t>(joints, 1) / 64 * 64, 64, 1024);
    chunks = (columns + chunk - 1) / chunk;
  }

  int64_t matrix() const { return joints * joints; }
  int64_t sample_size() const { return joints * columns; }
  JointRelationShape shape() const { return {joints, columns}; }

  // Elements from a chunk to one that is read later, where there is one: the same of the next sample; or, going
  // backwards, the next one.
  int64_t sample_ahead(int64_t sample) const { return sample + 1 < samples ? sample_size() : 0; }
  int64_t chunk_before(int64_t sample, int64_t index) const {
    if (index > 0) return -chunk;
    return sample > 0 ? (chunks - 1) * chunk - sample_size() : 0;
  }

  // Goes through the stages, one after the other for each sample. Many samples: a thread per sample, which stays in
  // its cache from stage to stage. Few samples: a thread per chunk, stage by stage.
  template <typename acc_t, typename First, typename... Rest>
  void run(const at::Tensor& like, const First& first, const Rest&... rest) const {
    const int64_t work = std::max<int64_t>(1, matrix() * columns * (1 + sizeof...(rest)));
    if (samples < 2 * at::get_num_threads() && chunks > 1 && !at::in_parallel_region()) {
      run_by_chunk<acc_t>(like, first);
      (run_by_chunk<acc_t>(like, rest), ...);
      return;
    }
    at::parallel_for(0, samples, std::max<int64_t>(1, kWorthAThread / work), [&](int64_t begin, int64_t end) {
      const at::Tensor memory = buffer<acc_t>(like, scratch_elements(joints, chunk));
      acc_t* scratch = memory.mutable_data_ptr<acc_t>();
      for (int64_t i = begin; i < end; ++i) {
        const int64_t sample = first.order == Order::forwards ? i : begin + end - 1 - i;
        run_sample(sample, first, scratch);
        (run_sample(sample, rest, scratch), ...);
      }
    });
  }

 private:
  static constexpr int64_t kWorthAThread = 300'000;  // multiply-adds: about 20 microseconds

  template <typename SomeStage, typename acc_t>
  void run_sample(int64_t sample, const SomeStage& stage, acc_t* scratch) const {
    for (int64_t i = 0; i < chunks; ++i) {
      const int64_t index = stage.order == Order::forwards ? i : chunks - 1 - i;
      stage.chunk(sample, index, index * chunk, std::min(columns, (index + 1) * chunk), scratch);
    }
    stage.finish(sample);
  }

  template <typename acc_t, typename SomeStage>
  void run_by_chunk(const at::Tensor& like, const SomeStage& stage) const {
    const int64_t grain = std::max<int64_t>(1, kWorthAThread / std::max<int64_t>(1, matrix() * chunk));
    at::parallel_for(0, samples * chunks, grain, [&](int64_t first, int64_t last) {
      const at::Tensor memory = buffer<acc_t>(like, scratch_elements(joints, chunk));
      for (int64_t i = first; i < last; ++i) {
        const int64_t index = i % chunks;
        stage.chunk(i / chunks, index, index * chunk, std::min(columns, (index + 1) * chunk),
                    memory.mutable_data_ptr<acc_t>());
      }
    });
    for (int64_t sample = 0; sample < samples; ++sample) stage.finish(sample);
  }
};

// Adds parts [count, size] in double, in order.
template <typename acc_t>
void add_in_order(int64_t count, int64_t size, const acc_t* parts, acc_t* total) {
  for (int64_t i = 0; i < size; ++i) {
    double sum = 0;
    for (int64_t part = 0; part < count; ++part) sum += parts[part * size + i];
    total[i] = static_cast<acc_t>(sum);
  }
}

}  // namespace rpstn
