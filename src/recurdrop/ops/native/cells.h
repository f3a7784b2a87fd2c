// The three cells: one vector of units at one row and one time step, forward and backward.
//
// For each unit the forward saves a few values, each in a slot, and the backward reads them: the gates i, f, g, o of
// an LSTM; n, r, z and the recurrent part of n of a GRU; h of an RNN. The slots of a row lie one after another, H
// numbers each. Before a cell runs, its slots hold the input's part W x + b; the cell overwrites them with the gates.
// The product with W_ih fills a run of `kGates` slots from `kInput` on, and that with W_hh a run from `kRecurrent` on.
// These runs differ for the GRU alone, whose gate n multiplies the recurrent part by r before it is added, so that
// both parts must be kept. `input_gate` and `recurrent_gate` say which of torch's gates stands in which place of the
// run.
//
// The forward is in two parts, so that the nonlinearities of several rows, each a long chain of dependent
// instructions, can overlap: `begin` goes from the input's part and the recurrent sums to the argument of the last
// tanh (c~ of an LSTM), and `end` from there to h~. The old states come as S: a number of the call's type, or a float
// where bfloat16 is carried along unrounded. tanh(c~) is not saved: the backward computes it again from c_{t-1} and
// the gates, which spares a fifth slot.
#pragma once
#include "layout.h"

namespace {

// What a cell reads and writes for one vector of units at row (t, b).
template <class T>
struct Unit {
  const Layer<T>& layer;
  Index t, b, u;
  int n;            // lanes in use
  Index stride;     // from slot to slot of the saved values
  Index apart = 0;  // the same of their gradients
};

template <class T>
struct Lstm {
  static constexpr int kGates = 4, kSlots = 4, kUnits = 1, kInput = 0, kRecurrent = 0;
  static constexpr bool kHasCell = true;
  static int input_gate(int s) { return s; }
  static int recurrent_gate(int s) { return s; }

  template <class S>
  static INLINE Vec<T> begin(const Unit<T>& at, T* slots, const Vec<T>* sums, Vec<T>, const S* c_old) {
    const Vec<T> i = sigmoid<T>(load<T>(slots, at.n) + sums[0]);
    const Vec<T> f = sigmoid<T>(load<T>(slots + at.stride, at.n) + sums[1]);
    const Vec<T> g = hyperbolic_tangent<T>(load<T>(slots + 2 * at.stride, at.n) + sums[2]);
    const Vec<T> o = sigmoid<T>(load<T>(slots + 3 * at.stride, at.n) + sums[3]);
    store<T>(slots, i, at.n);
    store<T>(slots + at.stride, f, at.n);
    store<T>(slots + 2 * at.stride, g, at.n);
    store<T>(slots + 3 * at.stride, o, at.n);
    return candidate_cell(at, i, f, g, load<S>(c_old, at.n));
  }

  template <class S>
  static INLINE Vec<T> end(const Unit<T>& at, T* slots, Vec<T> fresh, const S*) {
    return load<T>(slots + 3 * at.stride, at.n) * hyperbolic_tangent<T>(fresh);
  }

  static INLINE Vec<T> candidate_cell(const Unit<T>& at, Vec<T> i, Vec<T> f, Vec<T> g, Vec<T> old) {
    const auto& l = at.layer;
    return l.cell.times(f * old + i * l.candidate.times(g, at.t, at.b, 0, at.u, at.n), at.t, at.b, 0, at.u, at.n);
  }

  // o ⊙ tanh(c~) once more, for the gradient of a projection.
  static INLINE Vec<T> emitted(const Unit<T>& at, const T* slots, const T* c_old) {
    const Vec<T> fresh = candidate_cell(at, load<T>(slots, at.n), load<T>(slots + at.stride, at.n),
                                        load<T>(slots + 2 * at.stride, at.n), load<T>(c_old, at.n));
    return load<T>(slots + 3 * at.stride, at.n) * hyperbolic_tangent<T>(fresh);
  }

  // From the gradient of o ⊙ tanh(c~) and of c: writes those of the pre-activations into da, that of c_{t-1} into dc,
  // and returns what else reaches h_{t-1}.
  static INLINE Vec<T> backward(const Unit<T>& at, const T* slots, T* da, Vec<T> d, const T* c_old, const T* d_c,
                                Number<T>* dc, const T*) {
    const auto& l = at.layer;
    const Number<T> one = 1;
    const Vec<T> i = load<T>(slots, at.n), f = load<T>(slots + at.stride, at.n);
    const Vec<T> g = load<T>(slots + 2 * at.stride, at.n), o = load<T>(slots + 3 * at.stride, at.n);
    const Vec<T> of_candidate = l.candidate.factor(at.t, at.b, 0, at.u, at.n), masked = of_candidate * g;
    const Vec<T> of_cell = l.cell.factor(at.t, at.b, 0, at.u, at.n), old = load<T>(c_old, at.n);
    const Vec<T> s = hyperbolic_tangent<T>(of_cell * (f * old + i * masked));
    Vec<T> d_cell = load<Number<T>>(dc, at.n), kept = splat<T>(0);
    if (d_c) d_cell += load<T>(d_c, at.n);
    if (l.zone_c) {
      const Vec<T> z = l.zone_c.at(at.t, at.b, 0, at.u, at.n);
      kept = z * d_cell;
      d_cell = d_cell - kept;
    }
    d_cell += d * o * (one - s * s);
    d_cell = of_cell * d_cell;
    store<Number<T>>(dc, d_cell * f + kept, at.n);
    store<T>(da, d_cell * masked * i * (one - i), at.n);
    store<T>(da + at.apart, d_cell * old * f * (one - f), at.n);
    store<T>(da + 2 * at.apart, of_candidate * d_cell * i * (one - g * g), at.n);
    store<T>(da + 3 * at.apart, d * s * o * (one - o), at.n);
    return splat<T>(0);
  }
};

template <class T>
struct Gru {
  // Slots n, r, z and u = U_n h' + b'_n.
  static constexpr int kGates = 3, kSlots = 4, kUnits = 1, kInput = 0, kRecurrent = 1;
  static constexpr bool kHasCell = false;
  static int input_gate(int s) { return s == 0 ? 2 : s - 1; }
  static int recurrent_gate(int s) { return s; }

  template <class S>
  static INLINE Vec<T> begin(const Unit<T>& at, T* slots, const Vec<T>* sums, Vec<T> bias, const S*) {
    const Vec<T> r = sigmoid<T>(load<T>(slots + at.stride, at.n) + sums[0]);
    const Vec<T> z = sigmoid<T>(load<T>(slots + 2 * at.stride, at.n) + sums[1]);
    const Vec<T> u = sums[2] + bias;
    store<T>(slots + at.stride, r, at.n);
    store<T>(slots + 2 * at.stride, z, at.n);
    store<T>(slots + 3 * at.stride, u, at.n);
    return load<T>(slots, at.n) + r * u;
  }

  template <class S>
  static INLINE Vec<T> end(const Unit<T>& at, T* slots, Vec<T> a, const S* h_old) {
    const Vec<T> n = hyperbolic_tangent<T>(a), z = load<T>(slots + 2 * at.stride, at.n);
    store<T>(slots, n, at.n);
    const Vec<T> masked = at.layer.candidate.times(n, at.t, at.b, 0, at.u, at.n);
    return (Number<T>(1) - z) * masked + z * load<S>(h_old, at.n);
  }

  static INLINE Vec<T> emitted(const Unit<T>&, const T*, const T*) { return splat<T>(0); }

  static INLINE Vec<T> backward(const Unit<T>& at, const T* slots, T* da, Vec<T> d, const T*, const T*, Number<T>*,
                                const T* h_old) {
    const auto& l = at.layer;
    const Number<T> one = 1;
    const Vec<T> n = load<T>(slots, at.n), r = load<T>(slots + at.stride, at.n);
    const Vec<T> z = load<T>(slots + 2 * at.stride, at.n), u = load<T>(slots + 3 * at.stride, at.n);
    const Vec<T> of_candidate = l.candidate.factor(at.t, at.b, 0, at.u, at.n), masked = of_candidate * n;
    const Vec<T> d_n = of_candidate * d * (one - z) * (one - n * n);
    store<T>(da, d_n, at.n);
    store<T>(da + at.apart, d_n * u * r * (one - r), at.n);
    store<T>(da + 2 * at.apart, d * (load<T>(h_old, at.n) - masked) * z * (one - z), at.n);
    store<T>(da + 3 * at.apart, d_n * r, at.n);
    return d * z;
  }
};

template <class T, bool kRelu>
struct Rnn {
  static constexpr int kGates = 1, kSlots = 1, kUnits = 2, kInput = 0, kRecurrent = 0;
  static constexpr bool kHasCell = false;
  static int input_gate(int) { return 0; }
  static int recurrent_gate(int) { return 0; }

  template <class S>
  static INLINE Vec<T> begin(const Unit<T>& at, T* slots, const Vec<T>* sums, Vec<T>, const S*) {
    return load<T>(slots, at.n) + sums[0];
  }

  template <class S>
  static INLINE Vec<T> end(const Unit<T>& at, T* slots, Vec<T> a, const S*) {
    const Vec<T> zero = splat<T>(0);
    const Vec<T> h = kRelu ? where_less<T>(a, zero, zero, a) : hyperbolic_tangent<T>(a);
    store<T>(slots, h, at.n);
    return h;
  }

  static INLINE Vec<T> emitted(const Unit<T>&, const T*, const T*) { return splat<T>(0); }

  static INLINE Vec<T> backward(const Unit<T>& at, const T* slots, T* da, Vec<T> d, const T*, const T*, Number<T>*,
                                const T*) {
    const Vec<T> h = load<T>(slots, at.n), zero = splat<T>(0);
    store<T>(da, kRelu ? where_less<T>(zero, h, d, zero) : d * (Number<T>(1) - h * h), at.n);
    return zero;
  }
};

}  // namespace
