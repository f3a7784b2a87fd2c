// What the forward and the backward share: typed views of a call, who computes which rows, and the scratch memory.
//
// `Layer` and `Site` are the call and its masks with their types. `Plan` decides from the sizes alone how threads
// divide the work, so that the same call gives the same bits again. It also sorts the examples of a batch by length,
// so that at any time step the examples that still run are the first rows: a padded batch then costs what its real
// steps cost, and the inner loops need no test of lengths. `Chunk` and `Gather` take a run of time steps together,
// because a matrix product over many rows is faster than many products over few. A chunk has one row for each example
// that still runs at each of its steps. `Arena` hands out the caller's scratch memory. Built without memory it only
// counts, and so the same constructors also answer how much memory a call needs.
#pragma once
#include "functions.h"
#include "recurdrop.h"
#include "team.h"
#include "tile.h"

namespace {

// Call use(u, lanes in use) for each vector of a range.
template <class T, class Use>
INLINE void each_vector(Range range, Use use) {
  for (Index u = range.first; u < range.last; u += kLanes<T>) use(u, int(smaller(range.last - u, kLanes<T>)));
}
// Copy a range, rounded or widened.
template <class To, class From>
INLINE void convert(To* to, const From* from, Range range) {
  each_vector<To>(range, [&](Index u, int n) { store<To>(to + u, load<From>(from + u, n), n); });
}

// A mask as the kernels read it.
template <class T>
struct Site {
  const void* data;
  Index time, batch, gate, unit;
  bool bytes, gated;

  Site(const recurdrop_mask& m)
      : data(m.data), time(m.time), batch(m.batch), gate(m.gate), unit(m.unit), bytes(m.bytes), gated(m.gated) {}
  explicit operator bool() const { return data != nullptr; }

  INLINE Index offset(Index t, Index b, int g, Index u) const { return t * time + b * batch + g * gate + u * unit; }
  INLINE Vec<T> at(Index t, Index b, int g, Index u, int n) const {
    if (bytes) {
      const uint8_t* p = static_cast<const uint8_t*>(data) + offset(t, b, g, u);
      return unit ? load_bytes<T>(p, n) : splat<T>(Number<T>(*p));
    }
    const T* p = static_cast<const T*>(data) + offset(t, b, g, u);
    return unit ? load<T>(p, n) : splat<T>(*p);
  }
  // One that is new at each step comes from afar: ask for these units of a row before they are needed.
  INLINE void ask_for(Index t, Index b, Range units) const {
    if (!data || !time) return;
    const Index size = bytes ? 1 : Index(sizeof(T));
    const char* row = static_cast<const char*>(data) + offset(t, b, 0, 0) * size;
    for (Index at = units.first * size; at < units.last * size; at += 64) prefetch(row + at);
  }
  // What the site multiplies by, for those who need it twice.
  INLINE Vec<T> factor(Index t, Index b, int g, Index u, int n) const {
    return data ? at(t, b, g, u, n) : splat<T>(1);
  }
  INLINE Vec<T> times(Vec<T> value, Index t, Index b, int g, Index u, int n) const {
    return data ? value * at(t, b, g, u, n) : value;
  }
  // Old by the weight of the zone; exactly old or new where that is a bit, so that what is not taken can't leak.
  INLINE Vec<T> keep(Vec<T> old, Vec<T> fresh, Index t, Index b, Index u, int n) const {
    if (!data) return fresh;
    const Vec<T> z = at(t, b, 0, u, n), zero = splat<T>(0), one = splat<T>(1);
    const Vec<T> blend = z * old + (one - z) * fresh;
    return where_equal<T>(z, zero, fresh, where_equal<T>(z, one, old, blend));
  }
};

// The call with its types, and the geometry that follows from it.
template <class T>
struct Layer {
  const recurdrop_call& call;
  Index T_, B, I, H, P;
  Site<T> input, recurrent, candidate, cell, zone_c, zone_h, detach;

  explicit Layer(const recurdrop_call& c)
      : call(c), T_(c.time), B(c.batch), I(c.input), H(c.hidden), P(c.state), input(c.mask_input),
        recurrent(c.mask_recurrent), candidate(c.mask_candidate), cell(c.mask_cell), zone_c(c.mask_zone_c),
        zone_h(c.mask_zone_h), detach(c.mask_detach) {}

  static const T* in(const void* p) { return static_cast<const T*>(p); }
  static T* out(void* p) { return static_cast<T*>(p); }
  INLINE void ask_for_masks(Index t, Index b, Range units) const {
    recurrent.ask_for(t, b, units);
    candidate.ask_for(t, b, units);
    cell.ask_for(t, b, units);
    zone_c.ask_for(t, b, units);
    zone_h.ask_for(t, b, units);
  }
  static Number<T>* total(void* p) { return static_cast<Number<T>*>(p); }  // a gradient that many rows add to
  bool projected() const { return call.w_hr != nullptr; }
  // The step before t and the one after it, in the order of the recurrence; outside [0, T) there is none.
  Index before(Index t) const { return call.reverse ? t + 1 : t - 1; }
  Index after(Index t) const { return call.reverse ? t - 1 : t + 1; }
  // Step number `s` of the recurrence.
  Index step(Index s) const { return call.reverse ? T_ - 1 - s : s; }
};

// Hands out parts of a block of memory; without a block it only counts.
struct Arena {
  char* base;
  Index used = 0;

  template <class T>
  T* take(Index n) {
    T* p = base ? reinterpret_cast<T*>(base + used) : nullptr;
    used += ceil_div(n * Index(sizeof(T)), 64) * 64;
    return p;
  }
};

// Who computes what. Either all threads share all rows and split the units, which takes a barrier at each step; or each
// thread has rows of its own, called a view, and needs no barrier. The rows of a view are sorted by length, longest
// first, so that those active at a step are the first ones. With unequal lengths, rows are dealt out to views in turn, so
// that each view gets long and short ones.
struct Plan {
  static constexpr int kMostViews = 64;
  int threads, views;
  Index T_, B;
  Index first[kMostViews + 1];
  int32_t* order;       // (B) example of each row, view after view
  int32_t* count;       // (views, T) active rows
  Index* cumulative;    // (views, T + 1) their sums
  bool ragged;

  bool by_rows() const { return views > 1; }

  // Sizes alone decide, so that results repeat.
  Plan(const recurdrop_call& call, int gates, int element, Arena& arena)
      : T_(call.time), B(call.batch), ragged(call.lengths != nullptr) {
    const Index weights = gates * call.hidden * call.state, step = 2 * B * weights;
    const int most = call.threads < kMostViews ? call.threads : kMostViews;
    const bool small = weights * element <= 320 * 1024, enough_rows = B >= 4 * most;
    const bool worth = step * T_ >= 500000, worth_step = step >= 200000;
    const bool rows = worth && enough_rows && (small || !worth_step);
    threads = rows || worth_step ? most : 1;
    views = rows ? most : 1;
    order = arena.take<int32_t>(B);
    count = arena.take<int32_t>(views * T_);
    cumulative = arena.take<Index>(views * (T_ + 1));
    if (arena.base) fill(call.lengths, arena);
  }

  int rows(int view, Index t) const { return t < 0 || t >= T_ ? 0 : count[view * T_ + t]; }
  Index rows(int view) const { return first[view + 1] - first[view]; }
  // Active rows of a view, or of all, in steps [t0, t1).
  Index rows(int view, Index t0, Index t1) const {
    const Index* c = cumulative + view * (T_ + 1);
    return c[t1] - c[t0];
  }
  Index all_rows(Index t0, Index t1) const {
    Index n = 0;
    for (int v = 0; v < views; ++v) n += rows(v, t0, t1);
    return n;
  }

 private:
  void fill(const int64_t* lengths, Arena& arena) {
    const Index mark = arena.used;
    int32_t* sorted = arena.take<int32_t>(B);
    arena.used = mark;
    Index at = 0;
    if (lengths) {
      for (Index length = T_; length >= 0; --length)
        for (Index b = 0; b < B; ++b)
          if (lengths[b] == length) sorted[at++] = int32_t(b);
    } else {
      for (Index b = 0; b < B; ++b) sorted[b] = int32_t(b);
    }
    at = 0;
    for (int v = 0; v < views; ++v) {
      first[v] = at;
      if (lengths)
        for (Index i = v; i < B; i += views) order[at++] = sorted[i];
      else
        for (Index i = B * v / views; i < B * (v + 1) / views; ++i) order[at++] = sorted[i];
      int32_t* active = count + v * T_;
      Index* sum = cumulative + v * (T_ + 1);
      Index n = at - first[v];
      sum[0] = 0;
      for (Index t = 0; t < T_; ++t) {
        while (lengths && n > 0 && lengths[order[first[v] + n - 1]] <= t) --n;
        active[t] = int32_t(n);
        sum[t + 1] = sum[t] + n;
      }
    }
    first[views] = at;
  }
};

// A run of steps that is worked on together: [begin, end) in time.
struct Chunk {
  Index begin, end;
};

// Steps [s, s + size) of the recurrence, as a run in time.
template <class T>
Chunk chunk_of(const Layer<T>& layer, Index s, Index size) {
  const Index last = smaller(s + size, layer.T_);
  return layer.call.reverse ? Chunk{layer.T_ - last, layer.T_ - s} : Chunk{s, last};
}

// The factors of a chunk's products, one row for each active (view, t, i), masked: x_t, or h_{t-1} of the state.
// With one mask a gate there is one block of rows a gate.
template <class T>
struct Gather {
  const Layer<T>& layer;
  const Plan& plan;
  Chunk chunk;
  Index apart;  // 0: the rows of all views stand close together; else a view's begin at `apart` times its first row
  Index number;  // of the chunk

  Index count(int view) const { return plan.rows(view, chunk.begin, chunk.end); }
  // Where the rows of (view, t) begin.
  Index place(int view, Index t) const {
    Index at = plan.rows(view, chunk.begin, t) + apart * plan.first[view];
    for (int v = 0; v < view && !apart; ++v) at += count(v);
    return at;
  }
  // Call use(place, t, example) for each of a view's rows.
  template <class Use>
  void each(int view, Use use) const {
    for (Index t = chunk.begin; t < chunk.end; ++t) {
      const Index at = place(view, t);
      for (Index i = 0; i < plan.rows(view, t); ++i) use(at + i, t, i);
    }
  }
  Index example(int view, Index i) const { return plan.order[plan.first[view] + i]; }
  const T* x(Index t, Index b) const { return Layer<T>::in(layer.call.x) + (t * layer.B + b) * layer.I; }
  // h (or c) before step t of row i.
  const T* previous(const void* states, const void* initial, Index width, int view, Index t, Index i) const {
    const Index before = layer.before(t), b = example(view, i);
    const bool is_first = i >= plan.rows(view, before);
    return is_first ? Layer<T>::in(initial) + b * width : Layer<T>::in(states) + (before * layer.B + b) * width;
  }
};

// Where one row of a step finds and leaves its values.
template <class T>
struct Row {
  Index b;
  T* slots;
  const Number<T> *h_old, *c_old;
  T *h, *c;
  bool last;  // of its example
};

}  // namespace
