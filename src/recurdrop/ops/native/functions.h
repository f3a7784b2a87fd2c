// The sigmoid and the hyperbolic tangent of a vector.
//
// Both are made from exp(y) = 2^n (1 + p), where n is y / ln 2 rounded and p = exp(r) - 1 is the Taylor series of the
// rest r, with |r| <= ln(2) / 2. Keeping p apart from 1 keeps the digits of a result near 0, where 1 - exp(-2|x|)
// would lose them by cancellation. Arguments are clipped before 2^n would overflow; a NaN stays a NaN.
#pragma once
#include "vector.h"

namespace {

template <class T>
struct Exponential;
template <>
struct Exponential<float> {
  static constexpr float shift = 12582912.0f;  // 1.5 · 2^23
  static constexpr float high = 0.693359375f, low = -2.12194440e-4f;
  static constexpr float least = -87.0f, most = 88.0f;
  static constexpr int terms = 7;
};
template <>
struct Exponential<double> {
  static constexpr double shift = 6755399441055744.0;  // 1.5 · 2^52
  static constexpr double high = 6.93145751953125e-1, low = 1.42860682030941723212e-6;
  static constexpr double least = -708.0, most = 709.0;
  static constexpr int terms = 13;
};

// exp(y) = scale (1 + p).
template <class T>
struct Parts {
  Vec<T> scale, p;
};

template <class T>
INLINE Parts<T> exponential(Vec<T> y) {
  using E = Exponential<T>;
  y = where_less<T>(y, splat<T>(E::least), splat<T>(E::least), y);
  y = where_less<T>(splat<T>(E::most), y, splat<T>(E::most), y);
  const Vec<T> shifted = y * T(1.44269504088896340736) + E::shift;
  const Vec<T> n = shifted - E::shift;
  const Vec<T> r = (y - n * E::high) - n * E::low;
  constexpr T inverse_factorial[] = {T(1),
                                     T(1. / 2),
                                     T(1. / 6),
                                     T(1. / 24),
                                     T(1. / 120),
                                     T(1. / 720),
                                     T(1. / 5040),
                                     T(1. / 40320),
                                     T(1. / 362880),
                                     T(1. / 3628800),
                                     T(1. / 39916800),
                                     T(1. / 479001600),
                                     T(1. / 6227020800)};
  Vec<T> q = splat<T>(inverse_factorial[E::terms - 1]);
  UNROLL for (int k = E::terms - 2; k >= 1; --k) q = q * r + inverse_factorial[k];
  return {power_of_two<T>(shifted), q * r * r + r};
}

template <class T>
INLINE Vec<T> sigmoid(Vec<T> x) {
  using N = Number<T>;
  const Parts<N> e = exponential<N>(N(0) - x);
  return N(1) / (e.scale * e.p + (e.scale + N(1)));
}

template <class T>
INLINE Vec<T> hyperbolic_tangent(Vec<T> x) {
  using N = Number<T>;
  const Parts<N> e = exponential<N>(N(-2) * magnitude<N>(x));
  const Vec<N> less = e.scale * e.p + (e.scale - N(1));  // q - 1, where q = exp(-2|x|)
  // (1 - q) / (1 + q) below 1/2, and 1 - 2q / (1 + q) above, where it errs by half a place in place of two. The gradient
  // takes 1 - h², of which near 1 few places are left.
  const Vec<N> q = e.scale * e.p + e.scale, limit = splat<N>(N(1) / N(3));
  const Vec<N> ratio = where_less<N>(q, limit, q + q, N(0) - less) / (less + N(2));
  return with_sign<N>(where_less<N>(q, limit, N(1) - ratio, ratio), x);
}

}  // namespace
