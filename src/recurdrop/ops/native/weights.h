// The gradients of the weights and biases: what one chunk of the backward adds to them.
//
// The gradient of W_ih is the sum over all rows of (gradient of a gate) times (masked x), and that of W_hh the same
// with the masked h of the step before. For one chunk this is a product whose inner axis is the chunk's rows. Its
// right factor, masked x or h, is laid out in panels; its left one is a tile's columns of the gates' gradients, packed
// when they are used, and summed on the way, which gives the gradients of the biases. Where a mask differs between
// gates, each gate has a right factor of its own, and the slots are taken one after another; otherwise one serves all.
// Each thread owns rows of the gradient, so that no two threads add to one number, and the sum does not depend on
// which thread is faster.
#pragma once
#include "panels.h"

namespace {

template <class T, class Cell>
struct WeightGradients {
  static constexpr int kGates = Cell::kGates;
  const Layer<T>& layer;
  const Plan& plan;
  Index rows, slot, stride, wide_state;    // rows: of a chunk, filled up; the others as in `Backward`
  const T *da, *d_projected, *emitted;     // as in `Backward`
  Number<T>* sums;                         // of da over rows, (slots·H)
  T *x_factor, *h_factor;                  // right factors, panels of the chunk's rows
  T* left;                                 // the left factor, a tile's columns of da, one block a thread
  WideTiles<T, Left::columns> outer;

  WeightGradients(const Layer<T>& l, const Plan& p, Index capacity, Index slot, Index stride, Index wide_state,
                  const T* da, const T* d_projected, const T* emitted, Arena& arena)
      : layer(l), plan(p), rows(filled_up<T>(capacity)), slot(slot), stride(stride), wide_state(wide_state), da(da),
        d_projected(d_projected), emitted(emitted), sums(arena.take<Number<T>>(Cell::kSlots * l.H + kLanes<T>)),
        x_factor(arena.take<T>(WidePanels<T>::count(larger(l.I, l.H)) * rows * WidePanels<T>::kColumns)),
        h_factor(arena.take<T>(WidePanels<T>::count(l.P) * rows * WidePanels<T>::kColumns)),
        left(arena.take<T>(p.threads * left_size())) {}

  Index left_size() const { return ceil_div(rows * outer.most, 16) * 16 + 64; }

  void begin() const { memset(sums, 0, size_t(Cell::kSlots * layer.H) * sizeof(*sums)); }

  // The gradients of weights and biases from all rows of the chunk. A slot is in the products with x, with h or both.
  void add_chunk(const Team& team, const Gather<T>& chunk, bool first) const {
    const auto& call = layer.call;
    if (!call.d_w_ih) return;
    const bool apart = layer.input.gated || layer.recurrent.gated;
    for (int s = 0; s < Cell::kSlots; s += apart ? 1 : Cell::kSlots) {
      const int of_x = s - Cell::kInput, of_h = s - Cell::kRecurrent;
      if (s == 0 || (layer.input.gated && of_x < kGates))
        lay_out(team, chunk, WidePanels<T>{x_factor, rows, layer.I}, layer.input, Cell::input_gate(of_x),
                [&](int view, Index t, Index i, Index) { return chunk.x(t, chunk.example(view, i)); });
      if (s == 0 || (layer.recurrent.gated && of_h >= 0))
        lay_out(team, chunk, WidePanels<T>{h_factor, rows, layer.P}, layer.recurrent,
                Cell::recurrent_gate(of_h > 0 ? of_h : 0), [&](int view, Index t, Index i, Index) {
                  return chunk.previous(call.h, call.h0, layer.P, view, t, i);
                });
      team.sync();
      add_slots(team, s, apart ? s + 1 : Cell::kSlots, plan.all_rows(chunk.chunk.begin, chunk.chunk.end), first);
      team.sync();
    }
    if (layer.projected()) {
      const Site<T> none{recurdrop_mask{}};
      const WidePanels<T> factor{x_factor, rows, layer.H};
      lay_out(team, chunk, factor, none, 0,
              [&](int, Index, Index, Index place) { return emitted + place * layer.H; });
      team.sync();
      const Index blocks = ceil_div(layer.P, outer.most), count = plan.all_rows(chunk.chunk.begin, chunk.chunk.end);
      const Range mine = part(blocks, team.id, team.size);
      for (Index block = mine.first; block < mine.last; ++block) {
        const Index m0 = layer.P * block / blocks, height = layer.P * (block + 1) / blocks - m0;
        const T* columns = pack_left(team, d_projected + m0, wide_state, count, height, nullptr);
        add(factor, columns, count, height, Layer<T>::total(call.d_w_hr) + m0 * layer.H, first);
      }
      team.sync();
    }
  }

  // The biases' part, once all chunks have been added.
  void finish() const {
    const auto& call = layer.call;
    if (!call.d_b_ih) return;
    for (int s = 0; s < kGates; ++s)
      for (Index u = 0; u < layer.H; ++u) {
        Layer<T>::total(call.d_b_ih)[Cell::input_gate(s) * layer.H + u] = sums[(Cell::kInput + s) * layer.H + u];
        Layer<T>::total(call.d_b_hh)[Cell::recurrent_gate(s) * layer.H + u] = sums[(Cell::kRecurrent + s) * layer.H + u];
      }
  }

 private:
  // Lay the chunk's rows of a factor, masked, out in panels: those that row_of(view, t, i, place) points at.
  template <class RowOf>
  void lay_out(const Team& team, const Gather<T>& chunk, const WidePanels<T>& panels, const Site<T>& mask, int gate,
               RowOf row_of) const {
    const Index count = plan.all_rows(chunk.chunk.begin, chunk.chunk.end), deep = Factor<T>::kDeep;
    const Range groups = part(ceil_div(count, deep), team.id, team.size), mine{groups.first * deep, groups.last * deep};
    for (int v = 0; v < plan.views; ++v)
      chunk.each(v, [&](Index place, Index t, Index i) {
        if (place < mine.first || place >= mine.last) return;
        const Index b = chunk.example(v, i);
        const T* from = row_of(v, t, i, place);
        panels.each_vector({0, panels.count(panels.columns)}, [&](T* to, int wide, Index u, int n) {
          Factor<T>::put(in_panel(to, wide, place), place, mask.times(load<T>(from + u, n), t, b, gate, u, n));
        });
      });
  }

  // What slots [begin, end) of da give to the weights and, summed, to the biases.
  void add_slots(const Team& team, int begin, int end, Index count, bool first) const {
    const Index blocks = ceil_div(layer.H, outer.most);
    const Range mine = part((end - begin) * blocks, team.id, team.size);
    for (Index k = mine.first; k < mine.last; ++k) {
      const int s = begin + int(k / blocks), of_x = s - Cell::kInput, of_h = s - Cell::kRecurrent;
      const Index u = layer.H * (k % blocks) / blocks, height = layer.H * (k % blocks + 1) / blocks - u;
      const T* columns = pack_left(team, da + s * slot + u, stride, count, height, sums + s * layer.H + u);
      if (of_x < kGates)
        add({x_factor, rows, layer.I}, columns, count, height,
            Layer<T>::total(layer.call.d_w_ih) + (Cell::input_gate(of_x) * layer.H + u) * layer.I, first);
      if (of_h >= 0)
        add({h_factor, rows, layer.P}, columns, count, height,
            Layer<T>::total(layer.call.d_w_hh) + (Cell::recurrent_gate(of_h) * layer.H + u) * layer.P, first);
    }
  }

  // target[m] (+)= Σ over rows of left[row][m] · factor[row], for `height` rows m of the target.
  void add(const WidePanels<T>& factor, const T* left_columns, Index count, Index height, Number<T>* target,
           bool fresh) const {
    for (Index p = 0; p < factor.count(factor.columns); ++p) {
      for (Index m = 0; m < height; ++m) prefetch(target + m * factor.columns + p * factor.kColumns);
      factor.product(outer, p, 0, filled_up<T>(count), left_columns, 0, height, [&](Index m, const Number<T>* found) {
        Number<T>* to = target + m * factor.columns;
        factor.vectors(p, found, [&](Index u, auto n, Vec<T> sum) {
          store<Number<T>>(to + u, fresh ? sum : load<Number<T>>(to + u, n) + sum, n);
        });
      });
    }
  }

  // A tile's columns of a, side by side; their sums over the rows are added to `total`. Whole vectors are copied:
  // what is copied of one row beyond the tile's columns, the next row overwrites.
  T* pack_left(const Team& team, const T* a, Index apart, Index count, Index height, Number<T>* total) const {
    constexpr int vectors = int(ceil_div(WideTiles<T>::most, kLanes<T>));
    T* to = left + team.id * left_size();
    Vec<T> sum[vectors];
    for (int v = 0; v < vectors; ++v) sum[v] = splat<T>(0);
    for (Index k = 0; k < count; ++k)
      UNROLL for (int v = 0; v < vectors; ++v) {
        const Vec<T> row = load<T>(a + k * apart + v * kLanes<T>);
        Factor<T>::put(to + k / Factor<T>::kDeep * Factor<T>::kDeep * height + v * kVector<T>, k, row);
        sum[v] += row;
      }
    Number<T> sums_of[vectors * kLanes<T>];
    for (int v = 0; v < vectors; ++v) store<Number<T>>(sums_of + v * kLanes<T>, sum[v]);
    for (Index m = 0; m < height && total; ++m) total[m] += sums_of[m];
    return to;
  }
};

}  // namespace
