// Normal random numbers from the integers of Philox, by the transform of Box and Muller, as `recurdrop.philox` defines
// it.
//
// Two integers make two normal numbers: the logarithm of the first gives a radius and the second an angle, whose
// cosine and sine multiply it. Logarithm, cosine and sine are written out here as series, because those of the C
// library differ in their last digits from system to system and can't be vectorized. They are scalar functions without
// branches, which the compiler computes for many numbers side by side.
#pragma once
#include <cmath>
#include <type_traits>

#include "philox.h"
#include "vector.h"

namespace {

template <class T>
struct NormalOf;
template <>
struct NormalOf<float> {
  using integer = uint32_t;
  static constexpr int mantissa = 23;
  static constexpr integer root_half = 0x3F3504F3u;  // the bits of sqrt(1/2)
  static constexpr int log_terms = 4, cosine_terms = 6, sine_terms = 4;
};
template <>
struct NormalOf<double> {
  using integer = uint64_t;
  static constexpr int mantissa = 52;
  static constexpr integer root_half = 0x3FE6A09E667F3BCDu;
  static constexpr int log_terms = 11, cosine_terms = 9, sine_terms = 8;
};

// log u of u = (w + 1/2) / 2^32 = 2^n (1 + t), with 1 + t in [sqrt(1/2), sqrt(2)).
template <class T>
INLINE T log_uniform(uint32_t w) {
  using N = NormalOf<T>;
  using I = typename N::integer;
  const T u = (T(w) + T(0.5)) * T(0x1p-32);
  I bits;
  memcpy(&bits, &u, sizeof bits);
  constexpr int bias = 64;  // keeps the shifted difference positive
  const I biased = (bits - N::root_half + (I(bias) << N::mantissa)) >> N::mantissa;
  const int32_t n = int32_t(biased) - bias;
  bits -= (biased - I(bias)) << N::mantissa;
  T f;
  memcpy(&f, &bits, sizeof f);
  // Near 1 the digits of u - 1 are those of the integer; u has lost them.
  const T t = n == 0 ? (T(~w) + T(0.5)) * T(-0x1p-32) : f - T(1);
  // log(1 + t) = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ...) with s = t / (2 + t), and 2 s = t - s t
  const T s = t / (t + T(2)), z = s * s;
  T q = 0;
  UNROLL for (int k = N::log_terms; k >= 1; --k) q = q * z + T(2. / (2 * k + 1));
  return T(n) * T(0.69314718055994530942) + (t - s * (t - z * q));
}

// The cosine and sine of 2 pi (w + 1/2) / 2^32, by their series around the nearest quarter of the turn.
template <class T>
INLINE void turn(uint32_t w, T& cosine, T& sine) {
  const uint32_t shifted = w + (1u << 29), quarter = shifted >> 30;
  const int32_t rest = int32_t(shifted & 0x3FFFFFFFu) - (1 << 29);
  const T x = T(2 * rest + 1) * T(3.14159265358979323846 * 0x1p-32), y = x * x;
  constexpr T of_cosine[] = {T(1),
                             T(-1. / 2),
                             T(1. / 24),
                             T(-1. / 720),
                             T(1. / 40320),
                             T(-1. / 3628800),
                             T(1. / 479001600),
                             T(-1. / 87178291200),
                             T(1. / 20922789888000)};
  constexpr T of_sine[] = {T(-1. / 6),
                           T(1. / 120),
                           T(-1. / 5040),
                           T(1. / 362880),
                           T(-1. / 39916800),
                           T(1. / 6227020800),
                           T(-1. / 1307674368000),
                           T(1. / 355687428096000)};
  T c = 0, s = 0;
  UNROLL for (int k = NormalOf<T>::cosine_terms - 1; k >= 0; --k) c = c * y + of_cosine[k];
  UNROLL for (int k = NormalOf<T>::sine_terms - 1; k >= 0; --k) s = s * y + of_sine[k];
  s = s * y * x + x;
  const T along = quarter & 1 ? s : c, across = quarter & 1 ? c : s;
  cosine = (quarter + 1) & 2 ? -along : along;
  sine = quarter & 2 ? -across : across;
}

template <class T>
struct Normals {
  Stream stream;
  T mean, deviation;
  T* out;

  void run(const Team& team) const {
    stream.fill(team, out, [this](const auto& integers, T* to) {
      constexpr int n = std::decay_t<decltype(integers)>::size;
      T z[4][n];
      for (int k = 0; k < 4; k += 2)
        for (int i = 0; i < n; ++i) {
          const T radius = std::sqrt(T(-2) * log_uniform<T>(integers.of[k][i]));
          T cosine, sine;
          turn<T>(integers.of[k + 1][i], cosine, sine);
          z[k][i] = radius * cosine;
          z[k + 1][i] = radius * sine;
        }
      for (int i = 0; i < n; ++i)
        for (int k = 0; k < 4; ++k) to[4 * i + k] = mean + deviation * z[k][i];
    });
  }
};

}  // namespace
