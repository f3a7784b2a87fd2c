// The backward of one layer in one direction.
//
// It goes through the sequence from the last step to the first in chunks of some 512 to 2048 rows. Within a chunk,
// each step computes the cell's gradient and then the product with W_hh that carries the gradient to the step before;
// this part is sequential. What does not feed the recurrence waits until the chunk is done: the gradients of x and of
// the weights are then products over all rows of the chunk at once (`weights.h`), which is far faster than a product
// at each step.
//
// Only one chunk's gradients of the gates are ever held (`da`), so that their memory does not grow with the sequence
// and they are still in the second cache when those products read them. Gradients of masks are not computed here. The
// gradients of h and c on their way back are kept in the type of arithmetic.
#pragma once
#include "remake.h"
#include "weights.h"

namespace {

template <class T, class Cell>
struct Backward {
  static constexpr int kGates = Cell::kGates;
  using Panels = GatePanels<T, Cell>;
  Layer<T> layer;
  Plan plan;
  Index steps, capacity;
  Index width, slot, stride;       // width: of a row of saved values; slot, stride: from slot to slot, row to row of da
  Index wide_state;                // P filled up
  WidePanels<T> to_state, to_input, to_emitted;
  Number<T> *dh, *dc;              // gradients on their way back, (B, P), (B, H)
  T* da;                           // of the slots, (capacity, slots·H)
  T *d_projected, *emitted;        // of h~, (capacity, P filled up), and o ⊙ tanh(c~), (capacity, H), with a projection
  Number<T>* over_gates;           // of d_x for one panel, (capacity, columns), with one mask a gate
  int32_t* row;                    // t·B + b of each place in a chunk
  Arena nothing{nullptr};
  Remake<T, Cell> remake;          // where the call holds no gates
  WideTiles<T> wide;
  WeightGradients<T, Cell> weights;

  Backward(const recurdrop_call& call, Arena& arena)
      : layer(call), plan(call, kGates, sizeof(T), arena), steps(steps_of(call)),
        capacity(smaller(steps, layer.T_) * layer.B), width(Cell::kSlots * layer.H), slot(filled_up<T>(layer.H)),
        // One more line, for rows a power of two apart would all fall into the same few sets of the cache.
        stride(Cell::kSlots * slot + 64 / Index(sizeof(T))), wide_state(filled_up<T>(layer.P)),
        to_state(WidePanels<T>::take(arena, kGates * slot, layer.P)),
        to_input(call.d_x ? WidePanels<T>::take(arena, kGates * slot, layer.I) : WidePanels<T>{}),
        to_emitted(layer.projected() ? WidePanels<T>::take(arena, wide_state, layer.H) : WidePanels<T>{}),
        dh(arena.take<Number<T>>(layer.B * layer.P)),
        dc(arena.take<Number<T>>(Cell::kHasCell ? layer.B * layer.H : 0)),
        da(arena.take<T>(capacity * stride)),
        d_projected(layer.projected() ? arena.take<T>(capacity * wide_state + 64) : nullptr),
        emitted(layer.projected() ? arena.take<T>(capacity * layer.H) : nullptr),
        over_gates(arena.take<Number<T>>(call.d_x && layer.input.gated ? capacity * to_input.kColumns : 0)),
        row(arena.take<int32_t>(capacity)), remake(layer, plan, capacity, call.gates ? nothing : arena),
        weights(layer, plan, capacity, slot, stride, wide_state, da, d_projected, emitted, arena) {}

  // Rows enough for long products, few enough for the gradients of their gates to stay in the second cache.
  static Index steps_of(const recurdrop_call& call) {
    const Index row = Cell::kSlots * call.hidden * Index(sizeof(T));
    const Index rows = larger(512, smaller(2048, (Index(3) << 19) / row));
    return ceil_div(call.time, ceil_div(call.time * call.batch, rows));
  }

  void run(const Team& team) const {
    const Share mine = share(team);
    pack(team);
    if (!layer.call.gates) remake.pack(team);
    begin(mine);
    if (team.id == 0) {
      weights.begin();
      for (int s = 0; s < Cell::kSlots; ++s) fill_up(da + s * slot, capacity, layer.H, stride);
      fill_up(d_projected, layer.projected() ? capacity : 0, layer.P, wide_state);
    }
    team.sync();
    for (Index s = (layer.T_ - 1) / steps * steps; s >= 0; s -= steps) {
      const Gather<T> chunk{layer, plan, chunk_of(layer, s, steps), 0, s / steps};
      const Index place = chunk.place(mine.view, chunk.chunk.begin), count = chunk.count(mine.view);
      const Range range = plan.by_rows() ? Range{place, place + count} : part(count, team.id, team.size);
      chunk.each(mine.view, [&](Index at, Index t, Index i) {
        if (at >= range.first && at < range.last) row[at] = int32_t(t * layer.B + chunk.example(mine.view, i));
      });
      if (!layer.call.gates) remake.run(team, chunk, mine.view);
      team.sync();
      for (Index k = smaller(s + steps, layer.T_) - 1; k >= s; --k) step(team, mine, chunk, layer.step(k));
      team.sync();
      weights.add_chunk(team, chunk, s + steps >= layer.T_);
      if (layer.call.d_x) to_x(team, chunk);
      team.sync();
    }
    finish(team, mine);
  }

 private:
  struct Share {
    int view;
    Range state, emitted;  // panels of h, and of the units whose gates this thread does
    Range units;           // those units
  };

  Share share(const Team& team) const {
    const Range h{0, to_state.count(layer.P)}, u{0, WidePanels<T>::count(layer.H)};
    if (plan.by_rows()) return {team.id, h, u, {0, layer.H}};
    const Range own = part(u.last, team.id, team.size);
    return {0, part(h.last, team.id, team.size), own,
            {smaller(own.first * to_state.kColumns, layer.H), smaller(own.last * to_state.kColumns, layer.H)}};
  }
  Index example(const Share& mine, Index i) const { return plan.order[plan.first[mine.view] + i]; }

  void pack(const Team& team) const {
    const auto& call = layer.call;
    to_state.each_vector(part(to_state.count(layer.P), team.id, team.size), [&](T* to, int n, Index u, int valid) {
      for (int s = 0; s < kGates; ++s)
        pack_rows<T>(in_panel(to, n, s * slot), n,
                     Layer<T>::in(call.w_hh) + Cell::recurrent_gate(s) * layer.H * layer.P + u, layer.P, layer.H, valid);
    });
    if (call.d_x)
      to_input.each_vector(part(to_input.count(layer.I), team.id, team.size), [&](T* to, int n, Index u, int valid) {
        for (int s = 0; s < kGates; ++s)
          pack_rows<T>(in_panel(to, n, s * slot), n,
                       Layer<T>::in(call.w_ih) + Cell::input_gate(s) * layer.H * layer.I + u, layer.I, layer.H, valid);
      });
    if (layer.projected())
      to_emitted.each_vector(
          part(to_emitted.count(layer.H), team.id, team.size), [&](T* to, int n, Index u, int valid) {
            pack_rows<T>(to, n, Layer<T>::in(call.w_hr) + u, layer.H, layer.P, valid);
          });
  }

  // The gradients that come from the final states.
  void begin(const Share& mine) const {
    const auto& call = layer.call;
    for (Index i = 0; i < plan.rows(mine.view); ++i) {
      const Index b = example(mine, i), at = plan.first[mine.view] + i;
      const Index from = smaller(mine.state.first * to_state.kColumns, layer.P);
      start(dh + at * layer.P, call.d_h_n, b * layer.P, from, smaller(mine.state.last * to_state.kColumns, layer.P));
      if (Cell::kHasCell) start(dc + at * layer.H, call.d_c_n, b * layer.H, mine.units.first, mine.units.last);
    }
  }
  static void start(Number<T>* to, const void* from, Index offset, Index first, Index last) {
    for (Index u = first; u < last; ++u) to[u] = from ? Number<T>(static_cast<const T*>(from)[offset + u]) : 0;
  }

  void step(const Team& team, const Share& mine, const Gather<T>& chunk, Index t) const {
    const Index n = plan.rows(mine.view, t), place = chunk.place(mine.view, t);
    if (layer.projected()) {
      leave_zone(mine, chunk, t, n, place);
      if (!plan.by_rows()) team.sync();
      for (Index p = mine.emitted.first; p < mine.emitted.last; ++p)
        to_emitted.product(wide, p, 0, wide_state, d_projected + place * wide_state, wide_state, n,
                           [&](Index i, const Number<T>* found) {
                             const Place at = place_of(mine, chunk, t, i, place + i);
                             to_emitted.vectors(p, found,
                                                [&](Index u, auto lanes, Vec<T> d) { gates(at, t, u, lanes, d); });
                           });
    } else {
      for (Index i = 0; i < n; ++i) {
        const Place at = place_of(mine, chunk, t, i, place + i);
        const Index ahead = smaller(i + kRowsAhead, n - 1);
        const Place soon = place_of(mine, chunk, t, ahead, place + ahead);
        layer.ask_for_masks(layer.before(t), at.b, mine.units);  // those of the next step that is worked on
        auto each = [&](Index u, auto lanes) {
          ask_for(soon, t, u);
          Vec<T> kept;
          const Vec<T> d = past_zone(t, at.b, at.d_h, at.dh, u, lanes, kept);
          store<Number<T>>(at.dh + u, kept + gates(at, t, u, lanes, d), lanes);
        };
        Index u = mine.units.first;
        for (; u + kLanes<T> <= mine.units.last; u += kLanes<T>) each(u, AllLanes<T>{});
        if (u < mine.units.last) each(u, int(mine.units.last - u));
      }
    }
    if (!plan.by_rows()) team.sync();
    to_previous(mine, t, n, place);
  }

  // The gradient of h~ at step t; `kept` goes past it, to h_{t-1}.
  INLINE Vec<T> past_zone(Index t, Index b, const T* given, const Number<T>* of_h, Index u, int n, Vec<T>& kept) const {
    Vec<T> d = load<Number<T>>(of_h + u, n);
    if (given) d += load<T>(given + u, n);
    kept = splat<T>(0);
    if (layer.zone_h) {
      kept = layer.zone_h.at(t, b, 0, u, n) * d;
      d = d - kept;
    }
    return d;
  }
  void leave_zone(const Share& mine, const Gather<T>& chunk, Index t, Index n, Index place) const {
    const Index last = smaller(mine.state.last * to_state.kColumns, layer.P);
    for (Index i = 0; i < n; ++i) {
      const Place at = place_of(mine, chunk, t, i, place + i);
      each_vector<T>({mine.state.first * to_state.kColumns, last}, [&](Index u, int lanes) {
        Vec<T> kept;
        store<T>(d_projected + (place + i) * wide_state + u, past_zone(t, at.b, at.d_h, at.dh, u, lanes, kept), lanes);
        store<Number<T>>(at.dh + u, kept, lanes);
      });
    }
  }

  // Where one row of a step finds and leaves its values.
  struct Place {
    Index b;
    const T *slots, *h_old, *c_old, *d_h, *d_c;
    Number<T> *dh, *dc;
    T *da, *emitted;
  };
  Place place_of(const Share& mine, const Gather<T>& chunk, Index t, Index i, Index place) const {
    const auto& call = layer.call;
    const Index b = example(mine, i), at = t * layer.B + b, row = plan.first[mine.view] + i;
    Place r;
    r.b = b;
    r.slots = call.gates ? Layer<T>::in(call.gates) + at * width : remake.slots_of(place);
    r.h_old = chunk.previous(call.h, call.h0, layer.P, mine.view, t, i);
    r.c_old = Cell::kHasCell ? chunk.previous(call.c, call.c0, layer.H, mine.view, t, i) : r.h_old;
    r.d_h = call.d_h ? Layer<T>::in(call.d_h) + at * layer.P : nullptr;
    r.d_c = Cell::kHasCell && call.d_c ? Layer<T>::in(call.d_c) + at * layer.H : nullptr;
    r.dh = dh + row * layer.P;
    r.dc = Cell::kHasCell ? dc + row * layer.H : r.dh;
    r.da = da + place * stride;
    r.emitted = layer.projected() ? emitted + place * layer.H : nullptr;
    return r;
  }

  // Rows are short: the processor's own prefetch is late for them.
  static constexpr Index kRowsAhead = 2;
  INLINE void ask_for(const Place& r, Index t, Index u) const {
    for (int s = 0; s < Cell::kSlots; ++s) {
      prefetch(r.slots + s * layer.H + u);
      prefetch_to_write(r.da + s * slot + u);
    }
    prefetch((Cell::kHasCell ? r.c_old : r.h_old) + u);
    if (r.d_h) prefetch(r.d_h + u);
    if (r.d_c) prefetch(r.d_c + u);
  }

  // The cell at one vector of units; returns what reaches h_{t-1} outside the gates.
  INLINE Vec<T> gates(const Place& r, Index t, Index u, int n, Vec<T> d) const {
    const Unit<T> unit{layer, t, r.b, u, n, layer.H, slot};
    if (layer.projected()) store<T>(r.emitted + u, Cell::emitted(unit, r.slots + u, r.c_old + u), n);
    return Cell::backward(unit, r.slots + u, r.da + u, d, r.c_old + u, r.d_c ? r.d_c + u : nullptr, r.dc + u,
                          layer.projected() ? r.h_old : r.h_old + u);
  }

  // Carry the gradient of step t's gates to h_{t-1}.
  void to_previous(const Share& mine, Index t, Index n, Index place) const {
    const int passes = layer.recurrent.gated ? kGates : 1;
    const Index inner = kGates * slot / passes;
    const T* a = da + place * stride + Cell::kRecurrent * slot;
    for (Index p = mine.state.first; p < mine.state.last; ++p)
      for (int s = 0; s < passes; ++s)
        to_state.product(wide, p, s * inner, inner, a + s * inner, stride, n, [&](Index i, const Number<T>* found) {
          const Index b = example(mine, i);
          Number<T>* to = dh + (plan.first[mine.view] + i) * layer.P;
          to_state.vectors(p, found, [&](Index u, auto lanes, Vec<T> d) {
            d = layer.recurrent.times(d, t, b, Cell::recurrent_gate(s), u, lanes);
            d = layer.detach.times(d, t, b, 0, u, lanes);
            store<Number<T>>(to + u, load<Number<T>>(to + u, lanes) + d, lanes);
          });
        });
  }

  // The gradient of x for all rows of the chunk; 0 past an example's length.
  void to_x(const Team& team, const Gather<T>& chunk) const {
    const Index begin = chunk.chunk.begin, end = chunk.chunk.end;
    const Range mine = part(plan.all_rows(begin, end), team.id, team.size);
    const int passes = layer.input.gated ? kGates : 1;
    const Index inner = kGates * slot / passes;
    T* d_x = Layer<T>::out(layer.call.d_x);
    const T* a = da + mine.first * stride + Cell::kInput * slot;
    for (Index p = 0; p < to_input.count(layer.I); ++p)
      for (int s = 0; s < passes; ++s)
        to_input.product(wide, p, s * inner, inner, a + s * inner, stride, mine.last - mine.first,
                         [&](Index i, const Number<T>* found) {
                           const Index at = row[mine.first + i], t = at / layer.B, b = at % layer.B;
                           const Index sum = (mine.first + i - p) * to_input.kColumns;
                           to_input.vectors(p, found, [&](Index u, auto lanes, Vec<T> d) {
                             d = layer.input.times(d, t, b, Cell::input_gate(s), u, lanes);
                             if (s > 0) d += load<Number<T>>(over_gates + sum + u);
                             if (s + 1 < passes) return store<Number<T>>(over_gates + sum + u, d);
                             store<T>(d_x + at * layer.I + u, d, lanes);
                           });
                         });
    if (!plan.ragged) return;
    for (int v = team.id; v < plan.views; v += team.size)
      for (Index t = begin; t < end; ++t)
        for (Index i = plan.rows(v, t); i < plan.rows(v); ++i)
          memset(d_x + (t * layer.B + chunk.example(v, i)) * layer.I, 0, size_t(layer.I) * sizeof(T));
  }

  void finish(const Team& team, const Share& mine) const {
    const auto& call = layer.call;
    for (Index i = 0; i < plan.rows(mine.view); ++i) {
      const Index at = plan.first[mine.view] + i, b = example(mine, i);
      const Index from = smaller(mine.state.first * to_state.kColumns, layer.P);
      const Index to = smaller(mine.state.last * to_state.kColumns, layer.P);
      convert(Layer<T>::out(call.d_h0) + b * layer.P, dh + at * layer.P, {from, to});
      if (Cell::kHasCell) convert(Layer<T>::out(call.d_c0) + b * layer.H, dc + at * layer.H, mine.units);
    }
    if (team.id == 0) weights.finish();
  }
};

}  // namespace
