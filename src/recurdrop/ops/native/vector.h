// Vectors of the width this file is compiled for, and the few operations that the kernels need.
//
// `Vec<T>` is one register of numbers. With GCC and Clang it is their vector extension, on which arithmetic operators
// work and from which they make the instructions of the target; with any other compiler, or with
// RECURDROP_PLAIN_VECTORS, it is an array with the same operations, which that compiler may vectorize. Intrinsics
// appear only where the compilers did not find the right instruction. Loads and stores come in two forms, for whole
// registers and for the first n lanes, because the number of units of a layer need not be a multiple of a register's.
//
// `T` is the type in memory and `Number<T>` the type of arithmetic; they differ only for bfloat16. `Factor<T>` says
// how the factors of a matrix product are laid out for the multiply-add instruction of that type.
#pragma once
#include <stdint.h>
#include <string.h>

#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#define RECURDROP_BYTES 64
#define RECURDROP_REGISTERS 32
#elif defined(__AVX2__)
#include <immintrin.h>
#define RECURDROP_BYTES 32
#define RECURDROP_REGISTERS 16
#elif defined(__aarch64__)
#define RECURDROP_BYTES 16
#define RECURDROP_REGISTERS 32
#else
#define RECURDROP_BYTES 16
#define RECURDROP_REGISTERS 16
#endif

#if defined(__GNUC__) && !defined(RECURDROP_PLAIN_VECTORS)
#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#else
#define INLINE inline
#define UNROLL
#endif

namespace {

using Index = int64_t;

// Ask for a cache line, to read or to write; the address need not exist.
INLINE void prefetch(const void* p) {
#if defined(__GNUC__)
  __builtin_prefetch(p);
#else
  (void)p;
#endif
}
INLINE void prefetch_to_write(void* p) {
#if defined(__GNUC__)
  __builtin_prefetch(p, 1);
#else
  (void)p;
#endif
}

// The type in which numbers of type T are computed; it differs from T only for bfloat16, which is computed in float.
template <class T>
struct NumberOf {
  using type = T;
};
template <class T>
using Number = typename NumberOf<T>::type;

template <class T>
constexpr bool kRounded = sizeof(T) < sizeof(Number<T>);

template <class T>
constexpr int kLanes = RECURDROP_BYTES / sizeof(Number<T>);

// A number of lanes that the compiler knows to be all, so that no load or store asks.
template <class T>
struct AllLanes {
  constexpr operator int() const { return kLanes<T>; }
};

template <class T>
struct IntegerOf;
template <>
struct IntegerOf<float> {
  using type = int32_t;
};
template <>
struct IntegerOf<double> {
  using type = int64_t;
};

#if defined(__GNUC__) && !defined(RECURDROP_PLAIN_VECTORS)

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float type __attribute__((vector_size(RECURDROP_BYTES)));
  typedef int32_t integer __attribute__((vector_size(RECURDROP_BYTES)));
  typedef uint8_t byte __attribute__((vector_size(RECURDROP_BYTES / 4)));
};
template <>
struct VecOf<double> {
  typedef double type __attribute__((vector_size(RECURDROP_BYTES)));
  typedef int64_t integer __attribute__((vector_size(RECURDROP_BYTES)));
  typedef uint8_t byte __attribute__((vector_size(RECURDROP_BYTES / 8)));
};
template <class T>
using Vec = typename VecOf<T>::type;

template <class T>
INLINE Vec<T> splat(Number<T> x) {
  return Vec<T>{} + x;
}
template <class T>
INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
INLINE void store(T* p, Vec<T> v) {
  memcpy(p, &v, sizeof v);
}
// Bytes that hold 0 or 1, as numbers.
template <class T>
INLINE Vec<T> load_bytes(const uint8_t* p) {
  typename VecOf<T>::byte b;
  memcpy(&b, p, sizeof b);
  return __builtin_convertvector(b, Vec<T>);
}
// Older compilers convert that one byte after the other.
#if defined(__AVX512F__)
template <>
INLINE Vec<float> load_bytes<float>(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
template <>
INLINE Vec<double> load_bytes<double>(const uint8_t* p) {
  return _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
#elif defined(__AVX2__)
template <>
INLINE Vec<float> load_bytes<float>(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
template <>
INLINE Vec<double> load_bytes<double>(const uint8_t* p) {
  int32_t four;  // not _mm_loadu_si32, which GCC has since 11 and rightly since later
  memcpy(&four, p, sizeof four);
  return _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)));
}
#endif
// a where x < y, else b; b where either is NaN.
template <class T>
INLINE Vec<T> where_less(Vec<T> x, Vec<T> y, Vec<T> a, Vec<T> b) {
  return x < y ? a : b;
}
template <class T>
INLINE Vec<T> where_equal(Vec<T> x, Vec<T> y, Vec<T> a, Vec<T> b) {
  return x == y ? a : b;
}
template <class T>
INLINE Vec<T> magnitude(Vec<T> x) {
  using I = typename VecOf<T>::integer;
  return (Vec<T>)((I)x & ~(I)splat<T>(T(-0.0)));
}
template <class T>
INLINE Vec<T> with_sign(Vec<T> size, Vec<T> sign) {
  using I = typename VecOf<T>::integer;
  const I bit = (I)splat<T>(T(-0.0));
  return (Vec<T>)(((I)size & ~bit) | ((I)sign & bit));
}
// 2^n, where shifted = n + 1.5·2^(mantissa bits), so that n stands in the low bits.
template <class T>
INLINE Vec<T> power_of_two(Vec<T> shifted) {
  constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
  using I = typename VecOf<T>::integer;
  return (Vec<T>)(((I)shifted << mantissa) + (I)splat<T>(T(1)));
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define RECURDROP_SHUFFLE
#endif
#endif
#ifdef RECURDROP_SHUFFLE
// Exchange the lanes of a and b that a transposition in blocks of h moves: lane j + h of a with lane j of b.
template <class T, int h, int... j>
INLINE void exchange(Vec<T>& a, Vec<T>& b, std::integer_sequence<int, j...>) {
  const Vec<T> low = __builtin_shufflevector(a, b, (j & h ? kLanes<T> + j - h : j)...);
  b = __builtin_shufflevector(a, b, (j & h ? kLanes<T> + j : j + h)...);
  a = low;
}
template <class T, int h = kLanes<T> / 2>
INLINE void transpose(Vec<T>* v) {
  UNROLL for (int i = 0; i < kLanes<T>; ++i)
    if (!(i & h)) exchange<T, h>(v[i], v[i + h], std::make_integer_sequence<int, kLanes<T>>{});
  if constexpr (h > 1) transpose<T, h / 2>(v);
}
#endif

#else  // any other compiler: the same on an array, left to its vectorizer

template <class T>
struct Vec {
  T lane[kLanes<T>];
};
#define EACH for (int l = 0; l < kLanes<T>; ++l)
#define RECURDROP_OPERATOR(op)                   \
  template <class T>                             \
  INLINE Vec<T> operator op(Vec<T> a, Vec<T> b) {\
    Vec<T> r;                                    \
    EACH r.lane[l] = a.lane[l] op b.lane[l];     \
    return r;                                    \
  }                                              \
  template <class T>                             \
  INLINE Vec<T> operator op(T a, Vec<T> b) {     \
    Vec<T> r;                                    \
    EACH r.lane[l] = a op b.lane[l];             \
    return r;                                    \
  }                                              \
  template <class T>                             \
  INLINE Vec<T> operator op(Vec<T> a, T b) {     \
    Vec<T> r;                                    \
    EACH r.lane[l] = a.lane[l] op b;             \
    return r;                                    \
  }                                              \
  template <class T>                             \
  INLINE Vec<T>& operator op##=(Vec<T>& a, Vec<T> b) { \
    return a = a op b;                           \
  }
RECURDROP_OPERATOR(+)
RECURDROP_OPERATOR(-)
RECURDROP_OPERATOR(*)
RECURDROP_OPERATOR(/)
#undef RECURDROP_OPERATOR

template <class T>
INLINE Vec<T> splat(Number<T> x) {
  Vec<T> v;
  EACH v.lane[l] = x;
  return v;
}
template <class T>
INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  memcpy(v.lane, p, sizeof v);
  return v;
}
template <class T>
INLINE void store(T* p, Vec<T> v) {
  memcpy(p, v.lane, sizeof v);
}
template <class T>
INLINE Vec<T> load_bytes(const uint8_t* p) {
  Vec<T> v;
  EACH v.lane[l] = T(p[l]);
  return v;
}
template <class T>
INLINE Vec<T> where_less(Vec<T> x, Vec<T> y, Vec<T> a, Vec<T> b) {
  EACH a.lane[l] = x.lane[l] < y.lane[l] ? a.lane[l] : b.lane[l];
  return a;
}
template <class T>
INLINE Vec<T> where_equal(Vec<T> x, Vec<T> y, Vec<T> a, Vec<T> b) {
  EACH a.lane[l] = x.lane[l] == y.lane[l] ? a.lane[l] : b.lane[l];
  return a;
}
template <class T>
INLINE Vec<T> magnitude(Vec<T> x) {
  EACH x.lane[l] = x.lane[l] < T(0) ? -x.lane[l] : x.lane[l];
  return x;
}
template <class T>
INLINE Vec<T> with_sign(Vec<T> size, Vec<T> sign) {
  EACH size.lane[l] = sign.lane[l] < T(0) ? -size.lane[l] : size.lane[l];
  return size;
}
template <class T>
INLINE Vec<T> power_of_two(Vec<T> shifted) {
  constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
  using I = typename IntegerOf<T>::type;
  const T one = 1;
  I bits[kLanes<T>], unit;
  memcpy(bits, shifted.lane, sizeof bits);
  memcpy(&unit, &one, sizeof unit);
  EACH bits[l] = I(uint64_t(bits[l]) << mantissa) + unit;
  memcpy(shifted.lane, bits, sizeof bits);
  return shifted;
}
#undef EACH

#endif

#ifndef RECURDROP_SHUFFLE
template <class T>
INLINE void transpose(Vec<T>* v) {
  T square[kLanes<T>][kLanes<T>], turned[kLanes<T>][kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) store<T>(square[i], v[i]);
  for (int i = 0; i < kLanes<T>; ++i)
    for (int j = 0; j < kLanes<T>; ++j) turned[j][i] = square[i][j];
  for (int i = 0; i < kLanes<T>; ++i) v[i] = load<T>(turned[i]);
}
#endif

#if defined(__GNUC__) && defined(__AVX512F__) && !defined(RECURDROP_PLAIN_VECTORS)
INLINE Vec<float> load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p); }
INLINE Vec<double> load_part(const double* p, int n) { return _mm512_maskz_loadu_pd(__mmask8((1u << n) - 1), p); }
INLINE void store_part(float* p, Vec<float> v, int n) { _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), v); }
INLINE void store_part(double* p, Vec<double> v, int n) { _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1), v); }
#else
template <class T>
INLINE Vec<T> load_part(const T* p, int n) {
  T part[kLanes<T>] = {};
  for (int l = 0; l < n; ++l) part[l] = p[l];
  return load<T>(part);
}
template <class T>
INLINE void store_part(T* p, Vec<T> v, int n) {
  T part[kLanes<T>];
  store<T>(part, v);
  for (int l = 0; l < n; ++l) p[l] = part[l];
}
#endif

// The first n lanes, the others 0.
template <class T>
INLINE Vec<T> load(const T* p, int n) {
  return n >= kLanes<T> ? load<T>(p) : load_part(p, n);
}
template <class T>
INLINE void store(T* p, Vec<T> v, int n) {
  if (n >= kLanes<T>) return store<T>(p, v);
  store_part(p, v, n);
}
template <class T>
INLINE Vec<T> load_bytes(const uint8_t* p, int n) {
  if (n >= kLanes<T>) return load_bytes<T>(p);
  uint8_t part[kLanes<T>] = {};
  for (int l = 0; l < n; ++l) part[l] = p[l];
  return load_bytes<T>(part);
}

// What is left of numbers once they were stored.
template <class T>
INLINE Vec<T> as_stored(Vec<T> v) {
  return v;
}

// How the numbers of a type stand in the factors of a product: `kDeep` of the inner axis side by side, for one
// instruction multiplies and adds that many. A vector of a panel holds so many for each lane, and the inner axis is
// filled up to a multiple with zeros.
template <class T>
struct Factor {
  static constexpr int kDeep = 1;
  static INLINE Vec<T> load(const T* p) { return ::load<T>(p); }
  static INLINE Vec<T> load(const T* p, int n) { return ::load<T>(p, n); }  // the first n numbers, the others 0
  static INLINE void store(T* p, Vec<T> v) { ::store<T>(p, v); }
  static INLINE Vec<T> multiply_add(const T* left, Vec<T> right, Vec<T> sum) { return sum + *left * right; }
  // Leave number k of the inner axis in a panel's vector; the even one first, which makes the odd one 0.
  static INLINE void put(T* p, Index, Vec<T> v) { ::store<T>(p, v); }
};
template <class T>
constexpr int kVector = kLanes<T> * Factor<T>::kDeep;  // numbers in a vector of a panel
template <class T>
constexpr Index filled_up(Index n) {
  return (n + Factor<T>::kDeep - 1) / Factor<T>::kDeep * Factor<T>::kDeep;
}

}  // namespace
