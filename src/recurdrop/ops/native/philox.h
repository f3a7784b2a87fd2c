// The random integers of Philox4x32-10, and the masks made from them, as `recurdrop.philox` defines both.
//
// Philox is a function from a counter to four random integers of 32 bits, so that any element of a mask can be
// computed without the others. The counter is made of the element's place: four units, example, step, and gate
// together with the number of the stream. A mask is therefore the same for any number of threads and on any device,
// and an example has the same mask in a larger batch or a longer sequence. An element is dropped where its integer is
// below a threshold. Many counters are worked on side by side in arrays, whose loops the compiler turns into vector
// instructions.
#pragma once
#include <string.h>

#include <type_traits>

#include "team.h"

namespace {

// The integers of n consecutive counters, side by side for the compiler's vectors.
template <int n>
struct Quads {
  static constexpr int size = n;
  uint32_t of[4][n];
};

// A (T, B, G, U) stream.
struct Stream {
  uint64_t key;
  uint32_t number;
  const int64_t* sizes;

  // Many counters at a time are twice as fast, few waste less where units are few.
  static constexpr int kMany = 64, kFew = 16;

  // Fill this thread's rows: make(integers, to) writes what becomes of them, 4 · size elements in the order of units.
  template <class T, class Make>
  void fill(const Team& team, T* out, Make make) const {
    const int64_t batch = sizes[1], gates = sizes[2], units = sizes[3];
    const Range mine = part(sizes[0] * batch * gates, team.id, team.size);
    for (int64_t row = mine.first; row < mine.last; ++row) {
      const uint32_t b = uint32_t(row / gates % batch), t = uint32_t(row / (gates * batch));
      const uint32_t of_row = number | uint32_t(row % gates) << 20;
      for (int64_t u = 0; u < units;) {
        T* to = out + row * units + u;
        const int64_t left = units - u;
        const uint32_t quad = uint32_t(u / 4);
        u += left > 8 * kFew ? put(quads<kMany>(quad, b, t, of_row), to, left, make)
                             : put(quads<kFew>(quad, b, t, of_row), to, left, make);
      }
    }
  }

  template <int n, class T, class Make>
  static int put(const Quads<n>& integers, T* to, int64_t left, Make make) {
    if (left >= 4 * n) {
      make(integers, to);
    } else {
      T made[4 * n];
      make(integers, made);
      memcpy(to, made, size_t(left) * sizeof(T));
    }
    return 4 * n;
  }

  template <int n>
  Quads<n> quads(uint32_t first, uint32_t b, uint32_t t, uint32_t of_row) const {
    Quads<n> made;
    auto& [c0, c1, c2, c3] = made.of;
    for (int i = 0; i < n; ++i) {
      c0[i] = first + uint32_t(i);
      c1[i] = b;
      c2[i] = t;
      c3[i] = of_row;
    }
    uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < n; ++i) {
        const uint64_t high = uint64_t(0xD2511F53u) * c0[i], low = uint64_t(0xCD9E8D57u) * c2[i];
        c0[i] = uint32_t(low >> 32) ^ c1[i] ^ k0;
        c2[i] = uint32_t(high >> 32) ^ c3[i] ^ k1;
        c1[i] = uint32_t(low);
        c3[i] = uint32_t(high);
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    return made;
  }
};

// Bits: 1 where the integer is at least the threshold.
struct KeepBits {
  Stream stream;
  uint64_t threshold;
  uint8_t* out;

  void run(const Team& team) const {
    const uint32_t most_dropped = uint32_t(threshold - 1), nothing_dropped = threshold == 0;
    stream.fill(team, out, [=](const auto& integers, uint8_t* to) {
      constexpr int n = std::decay_t<decltype(integers)>::size;
      uint32_t bytes[n];  // four of them in each, the first in the low end
      for (int i = 0; i < n; ++i) {
        const auto bit = [&](int k) { return uint32_t(integers.of[k][i] > most_dropped) | nothing_dropped; };
        bytes[i] = bit(0) | bit(1) << 8 | bit(2) << 16 | bit(3) << 24;
      }
      memcpy(to, bytes, sizeof bytes);
    });
  }
};

// The same as multipliers: `kept` for 1, and 0.
template <class T>
struct Multipliers {
  Stream stream;
  uint64_t threshold;
  T kept;
  T* out;

  void run(const Team& team) const {
    const uint32_t most_dropped = uint32_t(threshold - 1);
    const T dropped = threshold == 0 ? kept : T(0), value = kept;
    stream.fill(team, out, [=](const auto& integers, T* to) {
      constexpr int n = std::decay_t<decltype(integers)>::size;
      for (int i = 0; i < n; ++i)
        for (int k = 0; k < 4; ++k) to[4 * i + k] = integers.of[k][i] > most_dropped ? value : dropped;
    });
  }
};

}  // namespace
