// The gates of a chunk computed once more, for a backward that follows a forward which saved none (backend
// "recompute").
//
// The forward then kept only h and c of each step instead of all slots, which is the larger part of the memory of a
// long sequence. Since all states are known, no step has to wait for the one before it: the threads need no barrier
// between the steps of a chunk. The arithmetic is that of the forward, in the same order, on the states as they were
// stored.
#pragma once
#include "forward.h"

namespace {

template <class T, class Cell>
struct Remake {
  using Panels = GatePanels<T, Cell>;
  const Layer<T>& layer;
  const Plan& plan;
  InputProduct<T, Cell> input;
  Panels recurrent;
  Index capacity;
  Index stride;  // P filled up
  T* state;      // h_{t-1} masked, (gates or 1, capacity, stride)
  T* slots;      // (capacity, slots·H)
  Tiles<T, Panels::kVectors> tiles;
  Tiles<T, Panels::kVectors, Left::gated> gated;

  Remake(const Layer<T>& l, const Plan& p, Index capacity, Arena& arena)
      : layer(l), plan(p), input(l, p, capacity, 1, arena), recurrent(Panels::take(arena, l.P, l.H)), capacity(capacity),
        stride(filled_up<T>(l.P)),
        state(arena.take<T>(blocks() * capacity * stride)), slots(arena.take<T>(capacity * Cell::kSlots * l.H)) {}

  int blocks() const { return layer.recurrent.gated ? Cell::kGates : 1; }
  T* slots_of(Index place) const { return slots + place * Cell::kSlots * layer.H; }

  void pack(const Team& team) const {
    input.pack(team);
    if (team.id == 0) fill_up(state, blocks() * capacity, layer.P, stride);
    recurrent.pack(Layer<T>::in(layer.call.w_hh), Cell::recurrent_gate,
                   part(Panels::count(layer.H), team.id, team.size));
  }

  void run(const Team& team, const Gather<T>& chunk, int view) const {
    const Index first = chunk.place(view, chunk.chunk.begin), count = chunk.count(view);
    const bool alone = plan.by_rows();
    const Range rows = alone ? Range{first, first + count} : part(count, team.id, team.size);
    const Range all{0, Panels::count(layer.H)}, panels = alone ? all : part(all.last, team.id, team.size);
    input.gather(chunk, view, rows);
    gather(chunk, view, rows);
    if (!alone) team.sync();
    input.run(chunk, view, panels, [&](Index place) { return slots_of(place); });
    for (Index t = chunk.chunk.begin; t < chunk.chunk.end; ++t) step(chunk, view, t, panels);
  }

 private:
  void gather(const Gather<T>& chunk, int view, Range range) const {
    chunk.each(view, [&](Index place, Index t, Index i) {
      if (place < range.first || place >= range.last) return;
      const Index b = chunk.example(view, i);
      const T* h = chunk.previous(layer.call.h, layer.call.h0, layer.P, view, t, i);
      for (int s = 0; s < blocks(); ++s)
        for (Index u = 0; u < layer.P; u += kLanes<T>) {
          const int n = int(smaller(layer.P - u, kLanes<T>));
          store<T>(state + (s * capacity + place) * stride + u,
                   layer.recurrent.times(load<T>(h + u, n), t, b, Cell::recurrent_gate(s), u, n), n);
        }
    });
  }

  void step(const Gather<T>& chunk, int view, Index t, Range panels) const {
    const auto& call = layer.call;
    const Index first = chunk.place(view, t), n = plan.rows(view, t);
    const T* b_n = Cell::kRecurrent && call.b_hh ? Layer<T>::in(call.b_hh) + 2 * layer.H : nullptr;
    for (Index p = panels.first; p < panels.last; ++p) {
      auto use = [&](Index from, int height, const Number<T>* sums) {
        for (int m = 0; m < height; ++m) {
          const Index i = from + m, b = chunk.example(view, i);
          const T* h_old = chunk.previous(call.h, call.h0, layer.P, view, t, i);
          const T* c_old = Cell::kHasCell ? chunk.previous(call.c, call.c0, layer.H, view, t, i) : h_old;
          recurrent.units(p, [&](int j, Index u, auto lanes) {
            const Unit<T> at{layer, t, b, u, lanes, layer.H};
            Vec<T> a[Cell::kGates];
            recurrent.gates(sums, m, j, a);
            const Vec<T> bias = b_n ? load<T>(b_n + u, lanes) : splat<T>(0);
            T* of_unit = slots_of(first + i) + u;
            Cell::end(at, of_unit, Cell::begin(at, of_unit, a, bias, c_old + u), layer.projected() ? h_old : h_old + u);
          });
        }
      };
      const T* a = state + first * stride;
      if (layer.recurrent.gated)
        gated.product(stride, a, stride, capacity * stride, recurrent.panel(p), n, use);
      else
        tiles.product(stride, a, stride, 0, recurrent.panel(p), n, use);
    }
  }
};

}  // namespace
