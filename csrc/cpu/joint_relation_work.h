#pragma once

// How joint_relation and joint_relation_norm divide their work. A sample's columns are cut into chunks by K alone. The
// sums over some chunks in a row are a part, and both are added in double in their order, whoever computed them: results
// do not depend on threads, batch or run. A part has so many columns that the parts of all samples are smaller than the
// heat maps; a thread that has whole samples keeps one at a time.

#include <algorithm>
#include <type_traits>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include "cpu/instruction_set.h"
#include "cpu/joint_relation_simd.h"
#include "cpu/memory.h"
#include "cpu/sums.h"
#include "cpu/turns.h"
#include "tuned.h"

namespace rpstn {

struct Nothing {};  // in the place of a step that is left out

template <typename Step>
constexpr bool kIsGiven = !std::is_same_v<std::decay_t<Step>, Nothing>;

// `count` numbers that are not set. A tensor costs five times as much, and a call on one small sample needs a dozen.
template <typename number_t>
struct Buffer {
  number_t* data;
  explicit Buffer(int64_t count)
      : data(static_cast<number_t*>(allocate_lines(count * static_cast<int64_t>(sizeof(number_t))))) {}
  ~Buffer() { release_lines(data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
};

struct Division {
  int64_t samples, joints, columns, inputs, chunk, chunks, chunks_of_part, parts;
  bool in_second_cache;   // what is read of a sample, with what is asked for of the next one
  bool outgrown;          // whether the result outgrows the caches
  bool slow_past_caches;  // whether rows lie where stores past the caches are slow
  bool asks;              // whether what comes next is asked for
  bool by_avx2;

  // Of `inputs` tensors like this one.
  Division(const at::Tensor& heatmaps, int64_t inputs)
      : samples(heatmaps.size(0)), joints(heatmaps.size(1)), columns(heatmaps.size(2) * heatmaps.size(3)),
        inputs(inputs) {
    constexpr int64_t kFirstLevelCache = 16 * 1024;  // elements of a chunk, and at least a few vectors a row
    constexpr int64_t kSecondLevelCache = 1024 * 1024;
    const int64_t fits = kFirstLevelCache / std::max<int64_t>(joints, 1) / 64 * 64;
    chunk = tuned("relation_chunk", std::clamp<int64_t>(fits, 64, 1024));
    chunks = (columns + chunk - 1) / chunk;
    const int64_t row_bytes = columns * heatmaps.element_size();
    in_second_cache = 2 * inputs * joints * row_bytes <= kSecondLevelCache;
    // By AVX2 what comes from a cache comes soon enough (an EPYC of Zen 3, two threads, 16 samples of 13x64x64, asked for or
    // not: forward 39 and 37 us each, with the norm 103 and 88). And its stores past the caches, two to a line, are slow if
    // rows lie a multiple of 2 KiB apart, as those of 64x64 do (64 and 256 samples of 13x64x64, past the caches or not: 2.0 and
    // 1.6, 8.8 and 7.0 ms; of 13x4112, 1.38 and 1.62, 6.0 and 6.9).
    by_avx2 = instruction_set() == InstructionSet::avx2;
    outgrown = outgrows_caches(heatmaps.nbytes());
    slow_past_caches = by_avx2 && row_bytes % 2048 == 0;
    asks = outgrown || !by_avx2;
    chunks_of_part = tuned("relation_chunks_of_part", std::max<int64_t>((4 * joints + chunk - 1) / chunk, 1));
    parts = (chunks + chunks_of_part - 1) / chunks_of_part;
  }

  int64_t matrix() const { return joints * joints; }
  int64_t sample_size() const { return joints * columns; }
  JointRelationShape shape() const { return {joints, columns}; }

  // Of a pass of its own over two inputs, which memory holds up, each row's part of a block at once pays there (the norm's
  // backward, 64 and 256 samples of 13x64x64: 3.86 -> 3.55 and 16.4 -> 14.9 ms; forward, or right after the sums, it took
  // 1.0 to 1.14 times as long).
  Stores stores(bool own_pass) const {
    if (!outgrown) return Stores::cached;
    if (!slow_past_caches) return Stores::past_caches;
    return own_pass && inputs == 2 ? Stores::past_caches_by_row : Stores::cached;
  }

  // Elements from what mixing reads to what it asks for meanwhile, or 0: in a pass of its own what it reads next, else the
  // next sample, of which the sums come first. By AVX2 the next block of the same rows, where two inputs come right after
  // their sums too. Time against nothing asked for: the norm's own passes, 64 samples of 13x64x64, next block 0.89 forward and
  // backward, next chunk 0.97 and 0.96; 13x96x72 backward 0.78 and 0.85; right after the sums two inputs 0.94 to 1.01, one 1.00
  // to 1.02, the next sample of either 1.00 to 1.07.
  int64_t ahead_of_mixing(int64_t sample, int64_t begin, bool own_pass) const {
    const bool last = begin + chunk >= columns;
    if (!asks) return 0;
    if (by_avx2) return (own_pass || inputs == 2) && !(last && sample + 1 == samples) ? kPackedColumns : 0;
    if (!own_pass) return sample + 1 < samples ? sample_size() : 0;
    if (!last) return chunk;
    return sample > 0 ? -sample_size() - begin : 0;
  }
  // The same by sums. Samples that are mixed right after their sums only if they outgrow the cache: else mixing asks for them,
  // where that pays.
  int64_t ahead_of_sums(int64_t sample, int64_t begin, bool mixed) const {
    if (!asks || (mixed && in_second_cache)) return 0;
    if (begin + chunk < columns) return chunk;
    return sample + 1 < samples ? sample_size() - begin : 0;
  }

  // Does for each sample, in this order, what is given of:
  //   before(sample, scratch, work)                     with `work` numbers that are the sample's own
  //   sum(sample, begin, end, scratch, sums)            the chunk's `size` sums
  //   after(sample, total, work)                        with the sums over all chunks
  //   mix(sample, begin, end, scratch, work)            for each chunk; after sums the last one first, still in the nearest cache
  // Many samples: a thread per sample, which stays in its cache from step to step. They take turns: with another process on one
  // of two processors 64 samples of 13x64x64 took 5.9 -> 4.1 ms forward, 7.7 -> 5.6 backward, with the norm 8.8 -> 8.1. Few: a
  // thread per chunk, step by step.
  template <typename acc_t, typename work_t = acc_t, typename Before, typename Sum, typename After, typename Mix>
  void run(
      Order order, int64_t size, int64_t work, const Before& before, const Sum& sum, const After& after,
      const Mix& mix) const {
    const bool few = tuned("relation_by_chunk", samples < 2 * at::get_num_threads());
    if (few && chunks > 1 && !at::in_parallel_region()) {
      return run_by_chunk<acc_t, work_t>(size, work, before, sum, after, mix);
    }
    constexpr int64_t kPasses = kIsGiven<Sum> + kIsGiven<Mix>;
    take_turns(samples, worth_a_thread(kPasses * columns + 10 * joints), order, [&](auto&& next) {
      const Buffer<acc_t> memory(scratch_elements(joints, chunk) + size);
      const Buffer<double> sums_memory(2 * size);
      const Buffer<work_t> work_memory(work);
      acc_t *scratch = memory.data, *sums = scratch + scratch_elements(joints, chunk);
      auto* own = work_memory.data;
      double *exact = sums_memory.data, *total = exact + size;
      for (int64_t sample = next(); sample >= 0; sample = next()) {
        if constexpr (kIsGiven<Before>) before(sample, scratch, own);
        if constexpr (kIsGiven<Sum>) {
          std::fill_n(total, size, 0.0);
          for (int64_t part = 0; part < parts; ++part) {
            sum_part(sample, part, size, sum, scratch, exact, sums);
            for (int64_t n = 0; n < size; ++n) total[n] += sums[n];
          }
        }
        if constexpr (kIsGiven<After>) after(sample, total, own);
        if constexpr (kIsGiven<Mix>) {
          for (int64_t step = 0; step < chunks; ++step) {
            const int64_t index = kIsGiven<Sum> ? chunks - 1 - step : step;
            mix(sample, index * chunk, end_of(index), scratch, own);
          }
        }
      }
    });
  }

 private:
  int64_t end_of(int64_t index) const { return std::min(columns, (index + 1) * chunk); }

  // Pieces of so many columns that are worth a thread.
  int64_t worth_a_thread(int64_t of_columns) const {
    constexpr int64_t kWorthAThread = 300'000;  // multiply-adds: about 20 microseconds
    return std::max<int64_t>(1, kWorthAThread / std::max<int64_t>(1, matrix() * of_columns));
  }

  template <typename Sum, typename acc_t>
  void sum_part(
      int64_t sample, int64_t part, int64_t size, const Sum& sum, acc_t* scratch, double* exact, acc_t* sums) const {
    const int64_t first = part * chunks_of_part, last = std::min(chunks, first + chunks_of_part);
    if (last - first == 1) return sum(sample, first * chunk, end_of(first), scratch, sums);
    std::fill_n(exact, size, 0.0);
    for (int64_t index = first; index < last; ++index) {
      sum(sample, index * chunk, end_of(index), scratch, sums);
      for (int64_t n = 0; n < size; ++n) exact[n] += sums[n];
    }
    for (int64_t n = 0; n < size; ++n) sums[n] = static_cast<acc_t>(exact[n]);
  }

  template <typename acc_t, typename work_t, typename Before, typename Sum, typename After, typename Mix>
  void run_by_chunk(
      int64_t size, int64_t work, const Before& before, const Sum& sum, const After& after, const Mix& mix) const {
    const Buffer<work_t> work_memory(samples * work);
    auto* of_samples = work_memory.data;
    const auto with_scratch = [&](int64_t pieces, int64_t grain, auto body) {
      at::parallel_for(0, pieces, grain, [&](int64_t begin, int64_t end) {
        const Buffer<acc_t> memory(scratch_elements(joints, chunk));
        for (int64_t i = begin; i < end; ++i) body(i, memory.data);
      });
    };
    if constexpr (kIsGiven<Before>) {
      with_scratch(samples, worth_a_thread(10 * joints), [&](int64_t b, acc_t* scratch) { before(b, scratch, of_samples + b * work); });
    }
    const Buffer<acc_t> parts_memory(kIsGiven<Sum> ? samples * parts * size : 0);
    auto* sums = parts_memory.data;
    if constexpr (kIsGiven<Sum>) {
      with_scratch(samples * parts, worth_a_thread(chunks_of_part * chunk), [&](int64_t i, acc_t* scratch) {
        const Buffer<double> exact(chunks_of_part > 1 ? size : 0);
        sum_part(i / parts, i % parts, size, sum, scratch, exact.data, sums + i * size);
      });
    }
    if constexpr (kIsGiven<After>) {
      at::parallel_for(0, samples, worth_a_thread(10 * joints), [&](int64_t begin, int64_t end) {
        const Buffer<double> total(size);
        for (int64_t b = begin; b < end; ++b) {
          if (kIsGiven<Sum>) add_in_order(parts, size, sums + b * parts * size, total.data);
          after(b, total.data, of_samples + b * work);
        }
      });
    }
    if constexpr (kIsGiven<Mix>) {
      with_scratch(samples * chunks, worth_a_thread(chunk), [&](int64_t i, acc_t* scratch) {
        const int64_t b = i / chunks, index = i % chunks;
        mix(b, index * chunk, end_of(index), scratch, of_samples + b * work);
      });
    }
  }
};

}  // namespace rpstn
