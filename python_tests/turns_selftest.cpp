// cpu/turns.h with two threads: test_turns.py compiles and runs it.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "cpu/turns.h"

namespace {

using Turns = std::vector<std::vector<int64_t>>;  // of each call of the body, its pieces in their order

void check(bool right, const char* what) {
  if (right) return;
  std::printf("wrong: %s\n", what);
  std::exit(1);
}

// `slow`: two threads wait for each other after their first pieces, and who has this piece waits until all others are
// taken; both give up after ten seconds.
Turns taken(int64_t pieces, int64_t grain, rpstn::Order order, int64_t slow = -1) {
  Turns all;
  std::mutex mutex;
  std::atomic<int64_t> done{0}, begun{0};
  const auto wait_until = [&](const auto& is_so) {
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (slow >= 0 && !is_so() && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
  };
  rpstn::take_turns(pieces, grain, order, [&](auto&& next) {
    std::vector<int64_t> own;
    for (int64_t piece = next(); piece >= 0; piece = next()) {
      own.push_back(piece);
      ++done;
      if (own.size() == 1) {
        ++begun;
        wait_until([&] { return begun == 2; });
      }
      if (piece == slow) wait_until([&] { return done == pieces; });
    }
    const std::lock_guard<std::mutex> lock(mutex);
    all.push_back(own);
  });
  return all;
}

std::vector<int64_t> sorted(const Turns& turns) {
  std::vector<int64_t> all;
  for (const auto& own : turns) all.insert(all.end(), own.begin(), own.end());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

int main() {
  at::set_num_threads(2);
  for (const auto order : {rpstn::Order::forwards, rpstn::Order::backwards}) {
    for (int64_t pieces = 0; pieces < 40; ++pieces) {
      for (const int64_t grain : {1, 3, 50}) {
        const auto all = sorted(taken(pieces, grain, order));
        check(static_cast<int64_t>(all.size()) == pieces, "as many pieces as there are");
        for (int64_t i = 0; i < pieces; ++i) check(all[i] == i, "each piece once");
      }
    }
    // The thread of range [0, 8) stays with its first piece; the other one takes the rest of it after its own.
    const bool forwards = order == rpstn::Order::forwards;
    auto turns = taken(16, 1, order, forwards ? 0 : 7);
    check(turns.size() == 2, "two threads");
    if (turns[0].size() > turns[1].size()) std::swap(turns[0], turns[1]);
    check(turns[0] == std::vector<int64_t>{forwards ? 0 : 7}, "a slow thread has one piece");
    const auto& quick = turns[1];
    check(quick.size() == 15, "the other thread has all others");
    for (int64_t i = 0; i < 15; ++i) {
      const int64_t own = forwards ? 8 + i : 15 - i, others = forwards ? i - 7 : 14 - i;
      check(quick[i] == (i < 8 ? own : others), "its own pieces first, in the order asked for");
    }
  }
  check(taken(8, 8, rpstn::Order::forwards).size() == 1, "one thread where no more are worth it");
  check(taken(9, 8, rpstn::Order::forwards).size() == 2, "two threads where they are");
  at::parallel_for(0, 2, 1, [&](int64_t, int64_t) {
    check(taken(8, 1, rpstn::Order::forwards).size() == 1, "one thread within a parallel region");
  });
  std::puts("right");
}
