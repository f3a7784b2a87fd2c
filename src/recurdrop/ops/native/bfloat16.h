// The type bfloat16 for processors that multiply it (AVX512_BF16): the upper 16 bits of a float.
//
// Numbers are held in memory with 16 bits and turned into floats when they are loaded, so that gates, states and sums
// are computed in float32 and rounded once, when they are stored. Only matrix products read 16 bits: one instruction
// multiplies two neighbouring numbers of the inner axis with two others and adds both products to a float. A panel
// therefore holds the inner axis in pairs, one pair for each lane (see `Factor`). On other processors this file is
// empty, and the Python side computes bfloat16 in float32 instead.
#pragma once
#include "vector.h"

#if defined(__AVX512BF16__) && defined(__GNUC__) && !defined(RECURDROP_PLAIN_VECTORS)

namespace {

struct bfloat16 {
  uint16_t bits;
  operator float() const {
    const uint32_t wide = uint32_t(bits) << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
  }
};
template <>
struct NumberOf<bfloat16> {
  using type = float;
};
template <>
struct VecOf<bfloat16> : VecOf<float> {};
template <>
INLINE Vec<bfloat16> load_bytes<bfloat16>(const uint8_t* p) {
  return load_bytes<float>(p);
}

INLINE Vec<float> widen(__m256i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)); }
// To the nearest, ties to even; what is too small for a normal number becomes 0.
INLINE __m256i narrow(Vec<float> v) { return (__m256i)_mm512_cvtneps_pbh(v); }

template <>
INLINE Vec<bfloat16> load<bfloat16>(const bfloat16* p) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
template <>
INLINE void store<bfloat16>(bfloat16* p, Vec<bfloat16> v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(v));
}
INLINE Vec<float> load_part(const bfloat16* p, int n) {
  return widen(_mm256_maskz_loadu_epi16(__mmask16((1u << n) - 1), p));
}
INLINE void store_part(bfloat16* p, Vec<float> v, int n) {
  _mm256_mask_storeu_epi16(p, __mmask16((1u << n) - 1), narrow(v));
}

template <>
INLINE Vec<bfloat16> as_stored<bfloat16>(Vec<bfloat16> v) {
  return widen(narrow(v));
}

// A vector of a panel holds one pair of the inner axis a lane, here in the bits of a vector of floats.
template <>
struct Factor<bfloat16> {
  static constexpr int kDeep = 2;
  static INLINE Vec<float> load(const bfloat16* p) { return _mm512_loadu_ps(p); }
  static INLINE Vec<float> load(const bfloat16* p, int n) {
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(n < 32 ? (1u << n) - 1 : ~0u, p));
  }
  static INLINE void store(bfloat16* p, Vec<float> v) { _mm512_storeu_ps(p, v); }
  static INLINE Vec<float> multiply_add(const bfloat16* left, Vec<float> right, Vec<float> sum) {
    int32_t pair;
    memcpy(&pair, left, sizeof pair);
    return _mm512_dpbf16_ps(sum, (__m512bh)right, (__m512bh)_mm512_set1_epi32(pair));
  }
  static INLINE void put(bfloat16* p, Index k, Vec<float> v) {
    const __m512i half = _mm512_cvtepu16_epi32(narrow(v));
    _mm512_storeu_si512(p, k % 2 ? _mm512_or_si512(_mm512_loadu_si512(p), _mm512_slli_epi32(half, 16)) : half);
  }
};

}  // namespace

#endif
