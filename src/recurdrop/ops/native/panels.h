// Right factors of products laid out in panels (see `tile.h`), and the products with them.
//
// `GatePanels` is for the products W_ih x and W_hh h of the forward. One panel holds the same units of all gates, so
// that a tile's sums contain everything that the cell needs to compute these units. `WidePanels` is for products that
// no cell follows: the gradients of x, h and the weights, and the projection of an LSTM with proj_size.
#pragma once
#include "layout.h"

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
    return {arena.take<T>(count(hidden) * filled_up<T>(inner) * kVectors * kLanes<T>), inner, hidden};
  }
  T* panel(Index p) const { return data + p * filled_up<T>(inner) * kVectors * kLanes<T>; }

  template <class Gate>
  void pack(const T* w, Gate gate, Range panels) const {
    for (Index p = panels.first; p < panels.last; ++p)
      for (int v = 0; v < kVectors; ++v) {
        const Index u = p * kUnitsWide + v % Cell::kUnits * kLanes<T>;
        const int valid = int(larger(0, smaller(hidden - u, kLanes<T>)));
        pack_columns<T>(panel(p) + v * kVector<T>, kVectors,
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
  static INLINE void gates(const Number<T>* sums, int m, int j, Vec<T>* found) {
    for (int s = 0; s < Cell::kGates; ++s)
      found[s] = load<Number<T>>(sums + (m * kVectors + s * Cell::kUnits + j) * kLanes<T>);
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
  Index inner, columns;  // inner: filled up

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
    auto each = [&](Index first, int height, const Number<T>* sums) {
      for (int m = 0; m < height; ++m) use(first + m, sums + m * vectors * kLanes<T>);
    };
    if (vectors == kWide)
      tiles.wide.product(inner, a, stride, 0, panel(p, k), rows, each);
    else
      tiles.narrow.product(inner, a, stride, 0, panel(p, k), rows, each);
  }
  // Call use(first column, lanes in use, sums) for each vector of a row's sums.
  template <class Use>
  INLINE void vectors(Index p, const Number<T>* sums, Use use) const {
    for (int j = 0; j < wide(p); ++j) {
      const Index u = p * kColumns + j * kLanes<T>;
      const Vec<T> found = load<Number<T>>(sums + j * kLanes<T>);
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
        pack(panel(p) + j * kVector<T>, wide(p), u, int(smaller(columns - u, kLanes<T>)));
      }
  }
};

}  // namespace
