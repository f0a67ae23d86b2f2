#pragma once

// Pieces of work shared out among threads, of which one may be slower than the others: a core of another kind, or one that
// somebody else uses as well.

#include <algorithm>
#include <atomic>
#include <memory>

#include <ATen/Parallel.h>

namespace rpstn {

enum class Order { forwards, backwards };

// Each thread calls body(next) once; next() is a piece of [0, pieces) that nobody has had, or -1 when none is left. A
// thread has the pieces of its own range first, the same for the same number of pieces, for what it left in its caches,
// and then helps the others. At least `grain` pieces are worth a thread.
template <typename Body>
void take_turns(int64_t pieces, int64_t grain, Order order, const Body& body) {
  struct alignas(64) Range {  // a line of its own
    std::atomic<int64_t> taken{0};
  };
  const bool alone = at::in_parallel_region();
  const int64_t most = alone ? 1 : at::get_num_threads();
  const int64_t threads = std::clamp<int64_t>((pieces + grain - 1) / grain, 1, most);
  const auto ranges = std::make_unique<Range[]>(threads);
  const auto begin_of = [&](int64_t range) { return range * pieces / threads; };
  at::parallel_for(0, threads, 1, [&](int64_t first, int64_t last) {
    for (int64_t own = first; own < last; ++own) {
      int64_t others = 0;
      body([&]() -> int64_t {
        for (; others < threads; ++others) {
          const int64_t range = (own + others) % threads, begin = begin_of(range), end = begin_of(range + 1);
          const int64_t index = ranges[range].taken.fetch_add(1, std::memory_order_relaxed);
          if (index < end - begin) return order == Order::forwards ? begin + index : end - 1 - index;
        }
        return -1;
      });
    }
  });
}

}  // namespace rpstn
