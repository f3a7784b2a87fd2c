// The threads that work on one call: each knows its number, and all can wait for each other.
//
// A recurrence needs a barrier at each time step when threads share the units of a layer, and a step of a small layer
// takes only microseconds. The barrier therefore spins on an atomic counter rather than asking the operating system;
// after some time it yields, for the case that there are more threads than cores. The threads themselves are borrowed
// from torch's OpenMP runtime (see `core.cpp`), so that the process does not get a second pool of threads that fights
// the first.
#pragma once
#include <stdint.h>

#include <atomic>
#include <thread>
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace {

struct Barrier {
  std::atomic<int> waiting{0};
  std::atomic<int> phase{0};
};

struct Team {
  int id, size;
  Barrier* barrier;

  // All that any thread wrote before is seen by every thread after: each arrival releases, the last one's turn of
  // the phase is acquired by all.
  void sync() const {
    if (size == 1) return;
    const int phase = barrier->phase.load(std::memory_order_relaxed);
    if (barrier->waiting.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
      barrier->waiting.store(0, std::memory_order_relaxed);
      barrier->phase.store(phase + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; barrier->phase.load(std::memory_order_acquire) == phase; ++spins) {
      if (spins < 1000) {
#if defined(__x86_64__) || defined(_M_X64)
        _mm_pause();
#endif
      } else {
        std::this_thread::yield();  // more threads than cores: let the one that is waited for run
      }
    }
  }
};

struct Range {
  int64_t first, last;
};

// The part of [0, n) that falls to a thread.
inline Range part(int64_t n, int id, int size) { return {n * id / size, n * (id + 1) / size}; }

}  // namespace
