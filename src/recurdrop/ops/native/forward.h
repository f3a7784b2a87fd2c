// The forward of one layer in one direction.
//
// A chunk of steps at a time: the input products of the chunk into the slots, then step by step the recurrent product
// of a tile, and the cell on its sums while they are in the first cache.
#pragma once
#include "cells.h"

namespace {

// The panels of W_ih or W_hh for forward products: one holds all gates of kUnits vectors of units.
template <class T, class Cell>
struct GatePanels {
  static constexpr int kVectors = Cell::kGates * Cell::kUnits;
  static constexpr int kUnitsWide = Cell::kUnits * kLanes<T>;
  T* data;
  Index inner, hidden;

  static Index count(Index hidden) { return ceil_div(hidden, kUnitsWide); }
  static GatePanels take(Arena& arena, Index inner, Index hidden) {
    return {arena.take<T>(count(hidden) * inner * kVectors * kLanes<T>), inner, hidden};
  }
  const T* panel(Index p) const { return data + p * inner * kVectors * kLanes<T>; }

  template <class Gate>
  void pack(const T* w, Gate gate, Range panels) const {
    for (Index p = panels.first; p < panels.last; ++p)
      for (int v = 0; v < kVectors; ++v) {
        const Index u = p * kUnitsWide + v % Cell::kUnits * kLanes<T>;
        const int valid = int(larger(0, smaller(hidden - u, kLanes<T>)));
        pack_columns<T>(data + p * inner * kVectors * kLanes<T> + v * kLanes<T>, kVectors,
                        w + (gate(v / Cell::kUnits) * hidden + smaller(u, hidden - 1)) * inner, inner, inner, valid);
      }
  }
  // Call use(number of the vector, first unit, lanes in use) for each vector of units in the panel.
  template <class Use>
  INLINE void units(Index p, Use use) const {
    for (int j = 0; j < Cell::kUnits; ++j) {
      const Index u = p * kUnitsWide + j * kLanes<T>;
      if (u >= hidden) return;
      if (hidden - u >= kLanes<T>)
        use(j, u, AllLanes<T>{});
      else
        use(j, u, int(hidden - u));
    }
  }
  // The sums of all gates of vector j in row m of a tile.
  static INLINE void gates(const T* sums, int m, int j, Vec<T>* found) {
    for (int s = 0; s < Cell::kGates; ++s)
      found[s] = load<T>(sums + (m * kVectors + s * Cell::kUnits + j) * kLanes<T>);
  }
};

// The tiles of wide panels: of kWide vectors, and of one where a last panel has no more.
template <class T, Left L = Left::rows>
struct WideTiles {
  static constexpr int most = kMostRows<kWide>;
  Tiles<T, kWide, L> wide;
  Tiles<T, 1, L> narrow;
};

// Panels of kWide vectors over the columns of a matrix, for products that no cell follows.
template <class T>
struct WidePanels {
  static constexpr int kColumns = kWide * kLanes<T>;
  T* data;
  Index inner, columns;

  static Index count(Index columns) { return ceil_div(columns, kColumns); }
  static WidePanels take(Arena& arena, Index inner, Index columns) {
    return {arena.take<T>(count(columns) * inner * kColumns), inner, columns};
  }
  // Vectors of panel p.
  int wide(Index p) const { return int(smaller(kWide, ceil_div(columns - p * kColumns, kLanes<T>))); }
  T* panel(Index p, Index k = 0) const { return data + p * inner * kColumns + k * wide(p) * kLanes<T>; }

  // The product of `inner` columns of a with rows [k, k + inner) of panel p: use(row, its sums).
  template <Left L, class Use>
  INLINE void product(const WideTiles<T, L>& tiles, Index p, Index k, Index inner, const T* a, Index stride, Index rows,
                      Use use) const {
    const int vectors = wide(p);
    auto each = [&](Index first, int height, const T* sums) {
      for (int m = 0; m < height; ++m) use(first + m, sums + m * vectors * kLanes<T>);
    };
    if (vectors == kWide)
      tiles.wide.product(inner, a, stride, 0, panel(p, k), rows, each);
    else
      tiles.narrow.product(inner, a, stride, 0, panel(p, k), rows, each);
  }
  // Call use(first column, lanes in use, sums) for each vector of a row's sums.
  template <class Use>
  INLINE void vectors(Index p, const T* sums, Use use) const {
    for (int j = 0; j < wide(p); ++j) {
      const Index u = p * kColumns + j * kLanes<T>;
      const Vec<T> found = load<T>(sums + j * kLanes<T>);
      if (columns - u >= kLanes<T>)
        use(u, AllLanes<T>{}, found);
      else
        use(u, int(columns - u), found);
    }
  }
  // Call pack(where vector j of row 0 stands, vectors from row to row, its first column, its lanes in use).
  template <class Pack>
  void each_vector(Range panels, Pack pack) const {
    for (Index p = panels.first; p < panels.last; ++p)
      for (int j = 0; j < wide(p); ++j) {
        const Index u = p * kColumns + j * kLanes<T>;
        pack(panel(p) + j * kLanes<T>, wide(p), u, int(smaller(columns - u, kLanes<T>)));
      }
  }
};

// x_t W_ih + b of a chunk, for forward and for the gates that a backward makes again.
template <class T, class Cell>
struct InputProduct {
  const Layer<T>& layer;
  const Plan& plan;
  GatePanels<T, Cell> panels;
  T* bias;       // (slots, H): b_ih, with b_hh where it adds up
  T* rows;       // gathered x, (gates or 1, capacity, I), for two chunks in turn
  Index capacity;
  Tiles<T, GatePanels<T, Cell>::kVectors> tiles;
  Tiles<T, GatePanels<T, Cell>::kVectors, Left::gated> gated;

  InputProduct(const Layer<T>& l, const Plan& p, Index capacity, Arena& arena)
      : layer(l), plan(p), panels(GatePanels<T, Cell>::take(arena, l.I, l.H)),
        bias(arena.take<T>(Cell::kSlots * l.H)), rows(nullptr), capacity(capacity) {
    if (!direct()) rows = arena.take<T>(2 * blocks() * capacity * l.I);
  }
  int blocks() const { return layer.input.gated ? Cell::kGates : 1; }
  T* block(const Gather<T>& chunk, int s) const {
    return rows + ((chunk.number & 1) * blocks() + s) * capacity * layer.I;
  }
  // Whether the rows of x can be read where they are: those of a step side by side, without a view's those of a chunk.
  bool direct() const { return !layer.input && !plan.ragged; }

  void pack(const Team& team) const {
    panels.pack(Layer<T>::in(layer.call.w_ih), Cell::input_gate, part(panels.count(layer.H), team.id, team.size));
    if (team.id > 0) return;
    const T *b_ih = Layer<T>::in(layer.call.b_ih), *b_hh = Layer<T>::in(layer.call.b_hh);
    for (int s = 0; s < Cell::kGates; ++s)
      for (Index u = 0; u < layer.H; ++u) {
        const Index at = Cell::input_gate(s) * layer.H + u;
        const bool adds = Cell::kInput == Cell::kRecurrent || s > 0;  // all but the GRU's n
        bias[s * layer.H + u] = (b_ih ? b_ih[at] : T(0)) + (b_hh && adds ? b_hh[at] : T(0));
      }
  }

  // Gather a view's rows, those whose place in the chunk is in `range`.
  void gather(const Gather<T>& chunk, int view, Range range) const {
    if (direct()) return;
    chunk.each(view, [&](Index place, Index t, Index i) {
      if (place < range.first || place >= range.last) return;
      const Index b = chunk.example(view, i);
      const T* x = chunk.x(t, b);
      for (int s = 0; s < blocks(); ++s) {
        T* to = block(chunk, s) + place * layer.I;
        for (Index u = 0; u < layer.I; u += kLanes<T>) {
          const int n = int(smaller(layer.I - u, kLanes<T>));
          store<T>(to + u, layer.input.times(load<T>(x + u, n), t, b, Cell::input_gate(s), u, n), n);
        }
      }
    });
  }

  // Write the products of a view's rows into the slots that slots_of(place) points at.
  template <class Slots>
  void run(const Gather<T>& chunk, int view, Range of_panels, Slots slots_of) const {
    const Chunk& steps = chunk.chunk;
    const Index place = chunk.place(view, steps.begin);
    for (Index p = of_panels.first; p < of_panels.last; ++p) {
      if (!direct())
        product(block(chunk, 0) + place * layer.I, p, place, chunk.count(view), slots_of);
      else if (!plan.by_rows())
        product(chunk.x(steps.begin, 0), p, place, chunk.count(view), slots_of);
      else
        for (Index t = steps.begin; t < steps.end; ++t)
          product(chunk.x(t, chunk.example(view, 0)), p, chunk.place(view, t), plan.rows(view, t), slots_of);
    }
  }

 private:
  template <class Slots>
  INLINE void product(const T* a, Index p, Index place, Index count, Slots slots_of) const {
    auto use = [&](Index first, int height, const T* sums) {
      for (int m = 0; m < height; ++m) {
        T* slots = slots_of(place + first + m);
        panels.units(p, [&](int j, Index u, auto n) {
          Vec<T> of_gates[Cell::kGates];
          panels.gates(sums, m, j, of_gates);
          for (int s = 0; s < Cell::kGates; ++s)
            store<T>(slots + s * layer.H + u, of_gates[s] + load<T>(bias + s * layer.H + u, n), n);
        });
      }
    };
    if (layer.input.gated)
      gated.product(layer.I, a, layer.I, capacity * layer.I, panels.panel(p), count, use);
    else
      tiles.product(layer.I, a, layer.I, 0, panels.panel(p), count, use);
  }
};

template <class T, class Cell>
struct Forward {
  using Panels = GatePanels<T, Cell>;
  Layer<T> layer;
  Plan plan;
  Index steps, capacity;
  InputProduct<T, Cell> input;
  Panels recurrent;
  WidePanels<T> projection;
  T* state;      // h_{t-1} masked, (2, gates or 1, B, P)
  T* emitted;    // o ⊙ tanh(c~) before a projection, (B, H)
  T* slots;      // of a chunk, where the caller wants none
  int32_t* row;  // t·B + b of each place in a chunk, for each thread
  Row<T>* rows;  // of a step, for each thread
  Tiles<T, Panels::kVectors> tiles;
  Tiles<T, Panels::kVectors, Left::gated> gated;
  WideTiles<T> wide;

  Forward(const recurdrop_call& call, Arena& arena)
      : layer(call), plan(call, Cell::kGates, sizeof(T), arena), steps(larger(1, 64 / larger(1, layer.B))),
        capacity(smaller(steps, layer.T_) * layer.B), input(layer, plan, capacity, arena),
        recurrent(Panels::take(arena, layer.P, layer.H)),
        projection(layer.projected() ? WidePanels<T>::take(arena, layer.H, layer.P) : WidePanels<T>{}),
        state(arena.take<T>(2 * blocks() * layer.B * layer.P)),
        emitted(layer.projected() ? arena.take<T>(layer.B * layer.H) : nullptr),
        slots(call.gates ? nullptr : arena.take<T>(capacity * Cell::kSlots * layer.H)),
        row(arena.take<int32_t>(plan.threads * capacity)), rows(arena.take<Row<T>>(plan.threads * layer.B)) {}

  int blocks() const { return layer.recurrent.gated ? Cell::kGates : 1; }
  T* operand(Index t, int block, Index i) const {
    return state + (((t & 1) * blocks() + block) * layer.B + i) * layer.P;
  }
  T* slots_of(const int32_t* of_thread, Index place) const {
    return layer.call.gates ? Layer<T>::out(layer.call.gates) + Index(of_thread[place]) * Cell::kSlots * layer.H
                            : slots + place * Cell::kSlots * layer.H;
  }

  // What one thread does: rows of its own, or units of its own.
  struct Share {
    int view;
    Range panels, projected, units;  // units of h: those that this thread finishes
  };

  void run(const Team& team) const {
    const Share mine = share(team);
    input.pack(team);
    recurrent.pack(Layer<T>::in(layer.call.w_hh), Cell::recurrent_gate,
                   part(Panels::count(layer.H), team.id, team.size));
    if (layer.projected())
      projection.each_vector(
          part(projection.count(layer.P), team.id, team.size), [&](T* to, int n, Index u, int valid) {
            pack_columns<T>(to, n, Layer<T>::in(layer.call.w_hr) + u * layer.H, layer.H, layer.H, valid);
          });
    begin(team, mine);
    gather(team, mine, 0);
    team.sync();
    int32_t* mine_row = row + team.id * capacity;
    for (Index s = 0; s < layer.T_; s += steps) {
      const Gather<T> chunk = chunk_at(s);
      const Index last = smaller(s + steps, layer.T_);
      chunk.each(mine.view, [&](Index at, Index t, Index i) {
        mine_row[at] = int32_t(t * layer.B + chunk.example(mine.view, i));
      });
      input.run(chunk, mine.view, mine.panels, [&](Index at) { return slots_of(mine_row, at); });
      for (Index k = s; k < last; ++k) {
        step(team, mine, chunk, layer.step(k));
        if (k + 1 == last) gather(team, mine, last);  // before the barrier that all pass anyway
        if (!plan.by_rows()) team.sync();
      }
    }
  }

 private:
  Share share(const Team& team) const {
    const Range all{0, Panels::count(layer.H)}, all_projected{0, WidePanels<T>::count(layer.P)};
    if (plan.by_rows()) return {team.id, all, all_projected, {0, layer.P}};
    const Range panels = part(all.last, team.id, team.size), p = part(all_projected.last, team.id, team.size);
    const Range owned = layer.projected() ? p : panels;
    const Index wide = layer.projected() ? projection.kColumns : Panels::kUnitsWide;
    return {0, panels, p, {smaller(owned.first * wide, layer.P), smaller(owned.last * wide, layer.P)}};
  }

  // Views run at their own pace, so that none may use another's rows: they stand apart.
  Gather<T> chunk_at(Index s) const {
    return {layer, plan, chunk_of(layer, s, steps), smaller(steps, layer.T_), s / steps};
  }
  // This thread's share of the rows of x for the chunk that begins at step number s.
  void gather(const Team& team, const Share& mine, Index s) const {
    if (s >= layer.T_) return;
    const Gather<T> chunk = chunk_at(s);
    const Index place = chunk.place(mine.view, chunk.chunk.begin), count = chunk.count(mine.view);
    input.gather(chunk, mine.view, plan.by_rows() ? Range{place, place + count} : part(count, team.id, team.size));
  }

  // The state before the first step, and the end of examples that have no step.
  void begin(const Team& team, const Share& mine) const {
    enter(mine, layer.step(0), 0, plan.rows(mine.view, layer.step(0)));
    for (Index i = plan.rows(mine.view, 0); i < plan.rows(mine.view); ++i) {
      if (!plan.by_rows() && i % team.size != team.id) continue;
      const Index b = plan.order[plan.first[mine.view] + i];
      copy(Layer<T>::out(layer.call.h_n), layer.call.h0, b, layer.P);
      if (Cell::kHasCell) copy(Layer<T>::out(layer.call.c_n), layer.call.c0, b, layer.H);
    }
  }
  static void copy(T* to, const void* from, Index b, Index width) {
    memmove(to + b * width, static_cast<const T*>(from) + b * width, width * sizeof(T));
  }

  // Rows [from, to) start at step t, from h_0.
  void enter(const Share& mine, Index t, Index from, Index to) const {
    for (Index i = from; i < to; ++i) {
      const Index at = plan.first[mine.view] + i, b = plan.order[at];
      for (Index u = mine.units.first; u < mine.units.last; u += kLanes<T>) {
        const int n = int(smaller(mine.units.last - u, kLanes<T>));
        pass_on(t, at, b, u, n, load<T>(Layer<T>::in(layer.call.h0) + b * layer.P + u, n));
      }
    }
  }
  // Leave h for the recurrent product of step t.
  INLINE void pass_on(Index t, Index at, Index b, Index u, int n, Vec<T> h) const {
    for (int s = 0; s < blocks(); ++s)
      store<T>(operand(t, s, at) + u, layer.recurrent.times(h, t, b, Cell::recurrent_gate(s), u, n), n);
  }

  void step(const Team& team, const Share& mine, const Gather<T>& chunk, Index t) const {
    const Index n = plan.rows(mine.view, t), first = plan.first[mine.view];
    const auto& call = layer.call;
    Row<T>* of_step = rows + team.id * layer.B;
    const Index place = chunk.place(mine.view, t);
    for (Index i = 0; i < n; ++i) of_step[i] = row_of(mine, chunk, t, i, slots_of(row + team.id * capacity, place + i));
    const T* b_n = Cell::kRecurrent && call.b_hh ? Layer<T>::in(call.b_hh) + 2 * layer.H : nullptr;
    for (Index p = mine.panels.first; p < mine.panels.last; ++p) {
      auto use = [&](Index from, int height, const T* sums) {
        Vec<T> begun[kMostTile];
        for (int m = 0; m < height; ++m) {
          const Row<T>& r = of_step[from + m];
          recurrent.units(p, [&](int j, Index u, auto lanes) {
            Vec<T> a[Cell::kGates];
            recurrent.gates(sums, m, j, a);
            const Vec<T> bias = b_n ? load<T>(b_n + u, lanes) : splat<T>(T(0));
            const Vec<T> found = Cell::begin({layer, t, r.b, u, lanes, layer.H}, r.slots + u, a, bias, r.c_old + u);
            begun[m * Cell::kUnits + j] = found;
            if (Cell::kHasCell) keep_cell(r, t, u, lanes, found);
          });
        }
        for (int m = 0; m < height; ++m) {
          const Row<T>& r = of_step[from + m];
          recurrent.units(p, [&](int j, Index u, auto lanes) {
            const Unit<T> at{layer, t, r.b, u, lanes, layer.H};
            const Vec<T> h = Cell::end(at, r.slots + u, begun[m * Cell::kUnits + j], r.h_old + u);
            if (layer.projected())
              store<T>(emitted + (first + from + m) * layer.H + u, h, lanes);
            else
              finish(r, t, first + from + m, u, lanes, h);
          });
        }
      };
      auto soon = [&](Index from, int height) {
        const Index u = p * Panels::kUnitsWide;
        for (int m = 0; m < height; ++m) {
          const Row<T>& r = of_step[from + m];
          for (int s = 0; s < Cell::kSlots; ++s) prefetch(r.slots + s * layer.H + u);
          prefetch(r.c_old + u);
        }
      };
      if (layer.recurrent.gated)
        gated.product(layer.P, operand(t, 0, first), layer.P, layer.B * layer.P, recurrent.panel(p), n, use, soon);
      else
        tiles.product(layer.P, operand(t, 0, first), layer.P, 0, recurrent.panel(p), n, use, soon);
    }
    if (layer.projected()) project(team, mine, of_step, t);
    enter(mine, layer.after(t), n, plan.rows(mine.view, layer.after(t)));
    pad(mine, t, n);
  }

  Row<T> row_of(const Share& mine, const Gather<T>& chunk, Index t, Index i, T* slots_of_row) const {
    const auto& call = layer.call;
    const Index b = chunk.example(mine.view, i), at = t * layer.B + b;
    Row<T> r;
    r.b = b;
    r.slots = slots_of_row;
    r.h_old = chunk.previous(call.h, call.h0, layer.P, mine.view, t, i);
    r.h = Layer<T>::out(call.h) + at * layer.P;
    r.c_old = Cell::kHasCell ? chunk.previous(call.c, call.c0, layer.H, mine.view, t, i) : r.h_old;
    r.c = Cell::kHasCell ? Layer<T>::out(call.c) + at * layer.H : r.h;
    r.last = i >= plan.rows(mine.view, layer.after(t));
    return r;
  }

  void project(const Team& team, const Share& mine, const Row<T>* of_step, Index t) const {
    const Index n = plan.rows(mine.view, t), first = plan.first[mine.view];
    if (!plan.by_rows()) team.sync();
    for (Index p = mine.projected.first; p < mine.projected.last; ++p)
      projection.product(wide, p, 0, layer.H, emitted + first * layer.H, layer.H, n, [&](Index i, const T* sums) {
        projection.vectors(p, sums, [&](Index u, auto lanes, Vec<T> h) {
          finish(of_step[i], t, first + i, u, lanes, h);
        });
      });
  }

  // From c~ to c: the zone and the final state.
  INLINE void keep_cell(const Row<T>& r, Index t, Index u, int n, Vec<T> fresh) const {
    const Vec<T> c = layer.zone_c ? layer.zone_c.keep(load<T>(r.c_old + u, n), fresh, t, r.b, u, n) : fresh;
    store<T>(r.c + u, c, n);
    if (r.last) store<T>(Layer<T>::out(layer.call.c_n) + r.b * layer.H + u, c, n);
  }

  // From h~ to h: the zone, the output, the final state and the next step's factor.
  INLINE void finish(const Row<T>& r, Index t, Index at, Index u, int n, Vec<T> fresh) const {
    const Vec<T> h = layer.zone_h ? layer.zone_h.keep(load<T>(r.h_old + u, n), fresh, t, r.b, u, n) : fresh;
    store<T>(r.h + u, h, n);
    if (r.last)
      store<T>(Layer<T>::out(layer.call.h_n) + r.b * layer.P + u, h, n);
    else
      pass_on(layer.after(t), at, r.b, u, n, h);
  }

  // Zeros past the end of the view's other examples.
  void pad(const Share& mine, Index t, Index n) const {
    for (Index i = n; i < plan.rows(mine.view); ++i) {
      const Index b = plan.order[plan.first[mine.view] + i];
      memset(Layer<T>::out(layer.call.h) + (t * layer.B + b) * layer.P + mine.units.first, 0,
             size_t(mine.units.last - mine.units.first) * sizeof(T));
      if (!Cell::kHasCell) continue;
      const Index from = smaller(mine.panels.first * Panels::kUnitsWide, layer.H);
      const Index to = smaller(mine.panels.last * Panels::kUnitsWide, layer.H);
      memset(Layer<T>::out(layer.call.c) + (t * layer.B + b) * layer.H + from, 0, size_t(to - from) * sizeof(T));
    }
  }
};

}  // namespace
