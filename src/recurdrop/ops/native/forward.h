// The forward of one layer in one direction.
//
// It goes through the sequence in chunks of about 64 rows, and at least one time step (a row is one example at one
// step). For each chunk, `InputProduct` first computes W_ih x + b of all its rows in one product and writes it into
// the slots. Then each step takes its tiles one after another: a tile's recurrent product, and at once the cell on its
// sums, the zones, and h times the recurrent mask of the next step, which is the next product's left factor. Masks are
// thus read where they are used, and there is no array of masked states over time.
//
// The input product is chunked, rather than computed for the whole sequence, so that its results are still in the
// cache when the steps read them. Threads share the work as `Plan` says: each has rows of its own and never waits, or
// each has units of its own and waits once a step (twice with a projection). h for the next step is held for even and
// odd steps apart, so that one barrier is enough.
#pragma once
#include "cells.h"
#include "panels.h"

namespace {

// x_t W_ih + b of a chunk, for forward and for the gates that a backward makes again.
template <class T, class Cell>
struct InputProduct {
  const Layer<T>& layer;
  const Plan& plan;
  GatePanels<T, Cell> panels;
  Number<T>* bias;  // (slots, H): b_ih, with b_hh where it adds up
  T* rows;          // gathered x, (gates or 1, capacity, I filled up), for `buffers` chunks in turn
  Index capacity, stride;  // stride: from row to row of these
  Index buffers;
  Tiles<T, GatePanels<T, Cell>::kVectors> tiles;
  Tiles<T, GatePanels<T, Cell>::kVectors, Left::gated> gated;

  InputProduct(const Layer<T>& l, const Plan& p, Index capacity, Index buffers, Arena& arena)
      : layer(l), plan(p), panels(GatePanels<T, Cell>::take(arena, l.I, l.H)),
        bias(arena.take<Number<T>>(Cell::kSlots * l.H)), rows(nullptr), capacity(capacity), stride(filled_up<T>(l.I)),
        buffers(buffers) {
    if (!direct()) rows = arena.take<T>(buffers * blocks() * capacity * stride);
  }
  int blocks() const { return layer.input.gated ? Cell::kGates : 1; }
  T* block(const Gather<T>& chunk, int s) const {
    return rows + (chunk.number % buffers * blocks() + s) * capacity * stride;
  }
  // Whether the rows of x can be read where they lie, without a copy. With no mask, equal lengths and nothing to fill up,
  // the rows of one step are contiguous, and so are all rows of a chunk where the threads share them.
  bool direct() const { return !layer.input && !plan.ragged && stride == layer.I; }

  void pack(const Team& team) const {
    panels.pack(Layer<T>::in(layer.call.w_ih), Cell::input_gate, part(panels.count(layer.H), team.id, team.size));
    if (team.id > 0) return;
    if (!direct()) fill_up(rows, buffers * blocks() * capacity, layer.I, stride);
    const T *b_ih = Layer<T>::in(layer.call.b_ih), *b_hh = Layer<T>::in(layer.call.b_hh);
    for (int s = 0; s < Cell::kGates; ++s)
      for (Index u = 0; u < layer.H; ++u) {
        const Index at = Cell::input_gate(s) * layer.H + u;
        const bool adds = Cell::kInput == Cell::kRecurrent || s > 0;  // all but the GRU's n
        bias[s * layer.H + u] = (b_ih ? Number<T>(b_ih[at]) : 0) + (b_hh && adds ? Number<T>(b_hh[at]) : 0);
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
        T* to = block(chunk, s) + place * stride;
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
        product(block(chunk, 0) + place * stride, p, place, chunk.count(view), slots_of);
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
    auto use = [&](Index first, int height, const Number<T>* sums) {
      for (int m = 0; m < height; ++m) {
        T* slots = slots_of(place + first + m);
        panels.units(p, [&](int j, Index u, auto n) {
          Vec<T> of_gates[Cell::kGates];
          panels.gates(sums, m, j, of_gates);
          for (int s = 0; s < Cell::kGates; ++s)
            store<T>(slots + s * layer.H + u, of_gates[s] + load<Number<T>>(bias + s * layer.H + u, n), n);
        });
      }
    };
    if (layer.input.gated)
      gated.product(stride, a, stride, capacity * stride, panels.panel(p), count, use);
    else
      tiles.product(stride, a, stride, 0, panels.panel(p), count, use);
  }
};

template <class T, class Cell>
struct Forward {
  using Panels = GatePanels<T, Cell>;
  Layer<T> layer;
  Plan plan;
  Index steps, capacity;
  Index wide_state, wide_emitted;  // P and H filled up
  InputProduct<T, Cell> input;
  Panels recurrent;
  WidePanels<T> projection;
  T* state;                         // h_{t-1} masked, (2, gates or 1, B, P filled up)
  T* emitted;                       // o ⊙ tanh(c~) before a projection, (B, H filled up)
  Number<T> *carried_h, *carried_c; // where the states that are kept are rounded: as they go on, (B, P), (B, H)
  T* slots;      // of a chunk, where the caller wants none
  int32_t* row;  // t·B + b of each place in a chunk, for each thread
  Row<T>* rows;  // of a step, for each thread
  Tiles<T, Panels::kVectors> tiles;
  Tiles<T, Panels::kVectors, Left::gated> gated;
  WideTiles<T> wide;

  Forward(const recurdrop_call& call, Arena& arena)
      : layer(call), plan(call, Cell::kGates, sizeof(T), arena), steps(larger(1, 64 / larger(1, layer.B))),
        capacity(smaller(steps, layer.T_) * layer.B), wide_state(filled_up<T>(layer.P)),
        wide_emitted(filled_up<T>(layer.H)), input(layer, plan, capacity, 2, arena),
        recurrent(Panels::take(arena, layer.P, layer.H)),
        projection(layer.projected() ? WidePanels<T>::take(arena, wide_emitted, layer.P) : WidePanels<T>{}),
        state(arena.take<T>(2 * blocks() * layer.B * wide_state)),
        emitted(layer.projected() ? arena.take<T>(layer.B * wide_emitted) : nullptr),
        carried_h(arena.take<Number<T>>(kRounded<T> ? layer.B * layer.P : 0)),
        carried_c(arena.take<Number<T>>(kRounded<T> && Cell::kHasCell ? layer.B * layer.H : 0)),
        slots(call.gates ? nullptr : arena.take<T>(capacity * Cell::kSlots * layer.H)),
        row(arena.take<int32_t>(plan.threads * capacity)), rows(arena.take<Row<T>>(plan.threads * layer.B)) {}

  int blocks() const { return layer.recurrent.gated ? Cell::kGates : 1; }
  T* operand(Index t, int block, Index i) const {
    return state + (((t & 1) * blocks() + block) * layer.B + i) * wide_state;
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
    if (team.id == 0) {
      fill_up(state, 2 * blocks() * layer.B, layer.P, wide_state);
      fill_up(emitted, layer.projected() ? layer.B : 0, layer.H, wide_emitted);
    }
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
  // The units of c that a thread makes.
  Range cells(const Share& mine) const {
    return {smaller(mine.panels.first * Panels::kUnitsWide, layer.H),
            smaller(mine.panels.last * Panels::kUnitsWide, layer.H)};
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
      each_vector<T>(mine.units, [&](Index u, int n) {
        const Vec<T> h = load<T>(Layer<T>::in(layer.call.h0) + b * layer.P + u, n);
        if (kRounded<T>) store<Number<T>>(carried_h + at * layer.P + u, h, n);
        pass_on(t, at, b, u, n, h);
      });
      if (kRounded<T> && Cell::kHasCell)
        convert(carried_c + at * layer.H, Layer<T>::in(layer.call.c0) + b * layer.H, cells(mine));
    }
  }
  // Leave h for the recurrent product of step t: the h that is kept, from which a backward without gates starts.
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
    // A tile ahead would be too late, as the rows of a panel are far apart.
    for (Index i = 0; i < n; ++i) layer.ask_for_masks(layer.after(t), of_step[i].b, mine.units);
    const T* b_n = Cell::kRecurrent && call.b_hh ? Layer<T>::in(call.b_hh) + 2 * layer.H : nullptr;
    for (Index p = mine.panels.first; p < mine.panels.last; ++p) {
      auto use = [&](Index from, int height, const Number<T>* sums) {
        Vec<T> begun[kMostTile];
        for (int m = 0; m < height; ++m) {
          const Row<T>& r = of_step[from + m];
          recurrent.units(p, [&](int j, Index u, auto lanes) {
            Vec<T> a[Cell::kGates];
            recurrent.gates(sums, m, j, a);
            const Vec<T> bias = b_n ? load<T>(b_n + u, lanes) : splat<T>(0);
            const Vec<T> found = Cell::begin({layer, t, r.b, u, lanes, layer.H}, r.slots + u, a, bias, r.c_old + u);
            begun[m * Cell::kUnits + j] = found;
            if (Cell::kHasCell) keep_cell(r, t, first + from + m, u, lanes, found);
          });
        }
        for (int m = 0; m < height; ++m) {
          const Row<T>& r = of_step[from + m];
          recurrent.units(p, [&](int j, Index u, auto lanes) {
            const Unit<T> at{layer, t, r.b, u, lanes, layer.H};
            const Vec<T> h = Cell::end(at, r.slots + u, begun[m * Cell::kUnits + j], r.h_old + u);
            if (layer.projected())
              store<T>(emitted + (first + from + m) * wide_emitted + u, h, lanes);
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
        gated.product(wide_state, operand(t, 0, first), wide_state, layer.B * wide_state, recurrent.panel(p), n, use,
                      soon);
      else
        tiles.product(wide_state, operand(t, 0, first), wide_state, 0, recurrent.panel(p), n, use, soon);
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
    if constexpr (kRounded<T>) {
      const Index own = plan.first[mine.view] + i;
      r.h_old = carried_h + own * layer.P;
      r.c_old = Cell::kHasCell ? carried_c + own * layer.H : r.h_old;
    } else {
      r.h_old = chunk.previous(call.h, call.h0, layer.P, mine.view, t, i);
      r.c_old = Cell::kHasCell ? chunk.previous(call.c, call.c0, layer.H, mine.view, t, i) : r.h_old;
    }
    r.h = Layer<T>::out(call.h) + at * layer.P;
    r.c = Cell::kHasCell ? Layer<T>::out(call.c) + at * layer.H : r.h;
    r.last = i >= plan.rows(mine.view, layer.after(t));
    return r;
  }

  void project(const Team& team, const Share& mine, const Row<T>* of_step, Index t) const {
    const Index n = plan.rows(mine.view, t), first = plan.first[mine.view];
    if (!plan.by_rows()) team.sync();
    for (Index p = mine.projected.first; p < mine.projected.last; ++p)
      projection.product(wide, p, 0, wide_emitted, emitted + first * wide_emitted, wide_emitted, n,
                         [&](Index i, const Number<T>* sums) {
                           projection.vectors(p, sums, [&](Index u, auto lanes, Vec<T> h) {
                             finish(of_step[i], t, first + i, u, lanes, h);
                           });
                         });
  }

  // From c~ to c: the zone and the final state.
  INLINE void keep_cell(const Row<T>& r, Index t, Index at, Index u, int n, Vec<T> fresh) const {
    const Vec<T> c = layer.zone_c ? layer.zone_c.keep(load<Number<T>>(r.c_old + u, n), fresh, t, r.b, u, n) : fresh;
    store<T>(r.c + u, c, n);
    if (kRounded<T>) store<Number<T>>(carried_c + at * layer.H + u, c, n);
    if (r.last) store<T>(Layer<T>::out(layer.call.c_n) + r.b * layer.H + u, c, n);
  }

  // From h~ to h: the zone, the output, the final state and the next step's factor.
  INLINE void finish(const Row<T>& r, Index t, Index at, Index u, int n, Vec<T> fresh) const {
    const Vec<T> h = layer.zone_h ? layer.zone_h.keep(load<Number<T>>(r.h_old + u, n), fresh, t, r.b, u, n) : fresh;
    store<T>(r.h + u, h, n);
    if (kRounded<T>) store<Number<T>>(carried_h + at * layer.P + u, h, n);
    if (r.last)
      store<T>(Layer<T>::out(layer.call.h_n) + r.b * layer.P + u, h, n);
    else
      pass_on(layer.after(t), at, r.b, u, n, as_stored<T>(h));
  }

  // Zeros past the end of the view's other examples.
  void pad(const Share& mine, Index t, Index n) const {
    for (Index i = n; i < plan.rows(mine.view); ++i) {
      const Index b = plan.order[plan.first[mine.view] + i];
      memset(Layer<T>::out(layer.call.h) + (t * layer.B + b) * layer.P + mine.units.first, 0,
             size_t(mine.units.last - mine.units.first) * sizeof(T));
      if (!Cell::kHasCell) continue;
      const Range own = cells(mine);
      memset(Layer<T>::out(layer.call.c) + (t * layer.B + b) * layer.H + own.first, 0,
             size_t(own.last - own.first) * sizeof(T));
    }
  }
};

}  // namespace
