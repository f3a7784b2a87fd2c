// Philox4x32-10, as `recurdrop.philox` defines it.
#pragma once
#include "team.h"

namespace {

// Bits of a (T, B, G, U) stream: 1 where the integer is at least the threshold.
struct KeepBits {
  uint64_t key;
  uint32_t stream;
  const int64_t* sizes;
  uint64_t threshold;
  uint8_t* out;

  static constexpr int kBlock = 16;  // counters at a time, for the compiler to put side by side

  void run(const Team& team) const {
    const int64_t batch = sizes[1], gates = sizes[2], units = sizes[3];
    const Range mine = part(sizes[0] * batch * gates, team.id, team.size);
    for (int64_t row = mine.first; row < mine.last; ++row) {
      const uint32_t b = uint32_t(row / gates % batch), t = uint32_t(row / (gates * batch));
      const uint32_t of_row = stream | uint32_t(row % gates) << 20;
      uint8_t* to = out + row * units;
      int64_t u = 0;
      for (; u + 4 * kBlock <= units; u += 4 * kBlock) block(uint32_t(u / 4), b, t, of_row, to + u);
      if (u == units) continue;
      uint8_t rest[4 * kBlock];
      block(uint32_t(u / 4), b, t, of_row, rest);
      for (int64_t i = u; i < units; ++i) to[i] = rest[i - u];
    }
  }

  void block(uint32_t quad, uint32_t b, uint32_t t, uint32_t of_row, uint8_t* to) const {
    uint32_t c0[kBlock], c1[kBlock], c2[kBlock], c3[kBlock];
    for (int i = 0; i < kBlock; ++i) {
      c0[i] = quad + uint32_t(i);
      c1[i] = b;
      c2[i] = t;
      c3[i] = of_row;
    }
    uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < kBlock; ++i) {
        const uint64_t high = uint64_t(0xD2511F53u) * c0[i], low = uint64_t(0xCD9E8D57u) * c2[i];
        c0[i] = uint32_t(low >> 32) ^ c1[i] ^ k0;
        c2[i] = uint32_t(high >> 32) ^ c3[i] ^ k1;
        c1[i] = uint32_t(low);
        c3[i] = uint32_t(high);
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < kBlock; ++i) {
      to[4 * i] = c0[i] >= threshold;
      to[4 * i + 1] = c1[i] >= threshold;
      to[4 * i + 2] = c2[i] >= threshold;
      to[4 * i + 3] = c3[i] >= threshold;
    }
  }
};

}  // namespace
