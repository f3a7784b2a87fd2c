// Matrix products, as tiles of a few rows by a few vectors whose sums stay in registers while the inner axis runs.
//
// A tile of M rows and N vectors loads N vectors of the right factor and M numbers of the left one for each step of
// the inner axis, and does M·N multiply-adds with them; the largest tile that fits the registers needs the fewest
// loads. The right factor, usually a weight matrix that is used at every time step, is copied once into panels: for
// each panel of N vectors, the inner axis, and at each of its places the N vectors side by side. A tile then reads
// memory strictly forward. The left factor is read where it lies. `inner` is filled up with zeros to what the
// multiply-add instruction takes at once.
//
// This is not a general matrix product: its results are handed to a function while they are in the first cache, so
// that the cell is computed on them at once. That fusion, and masks inside it, is what a library's product could not
// give.
#pragma once
#include "bfloat16.h"

namespace {

constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
constexpr Index smaller(Index a, Index b) { return a < b ? a : b; }
constexpr Index larger(Index a, Index b) { return a > b ? a : b; }

// Most rows of a tile of N vectors, so that sums, one row of the panel and a broadcast fit the registers.
template <int N>
constexpr int kMostRows = RECURDROP_REGISTERS == 32 ? (N == 4 ? 6 : N == 3 ? 8 : 12) : (N == 4 ? 3 : N == 3 ? 4 : 6);
constexpr int kMostTile = 24;  // rows × vectors, over all N

// Vectors of a panel where no gates have to lie side by side.
constexpr int kWide = 2;

// out[m][v] = Σ_k a(m, k) panel[k][v]. Rows: a(m, k) = a[m · stride + k], for gated tiles that of gate v further on by
// `gate`; otherwise columns: a(m, k) = a[k · M + m], packed, in groups of k as in a panel.
enum class Left { rows, gated, columns };

// Rows of a panel to ask for ahead: the processor's own prefetch stops at the end of a page.
constexpr int kAhead = 16;

template <class T, int M, int N, Left L>
void tile(Index inner, const T* a, Index stride, Index gate, const T* panel, Number<T>* out) {
  using F = Factor<T>;
  Vec<T> sum[M][N];
  UNROLL for (int m = 0; m < M; ++m) {
    UNROLL for (int v = 0; v < N; ++v) sum[m][v] = splat<T>(0);
  }
  // One pointer for three rows: the others are at one and two strides, which is an address and no register.
  const T* base[(M + 2) / 3];
  for (int i = 0; i < (M + 2) / 3; ++i) base[i] = a + 3 * i * stride;
  for (Index k = 0; k < inner; k += F::kDeep) {
    Vec<T> b[N];
    UNROLL for (int v = 0; v < N; ++v) b[v] = F::load(panel + v * kVector<T>);
    UNROLL for (int v = 0; v < N; ++v) prefetch(panel + (v + kAhead * N) * kVector<T>);
    UNROLL for (int m = 0; m < M; ++m) {
      UNROLL for (int v = 0; v < N; ++v) {
        const T* left = L == Left::columns ? a + m * F::kDeep
                                           : base[m / 3] + (m % 3) * stride + (L == Left::gated ? v * gate : 0);
        sum[m][v] = F::multiply_add(left, b[v], sum[m][v]);
      }
    }
    panel += N * kVector<T>;
    a += M * F::kDeep;
    UNROLL for (int i = 0; i < (M + 2) / 3; ++i) base[i] += F::kDeep;
  }
  UNROLL for (int m = 0; m < M; ++m) {
    UNROLL for (int v = 0; v < N; ++v) store<Number<T>>(out + (m * N + v) * kLanes<T>, sum[m][v]);
  }
}

template <class T>
using Tile = void (*)(Index, const T*, Index, Index, const T*, Number<T>*);

template <class T, int N, Left L, int M>
struct TileTable {
  static void fill(Tile<T>* table) {
    table[M] = tile<T, M, N, L>;
    TileTable<T, N, L, M - 1>::fill(table);
  }
};
template <class T, int N, Left L>
struct TileTable<T, N, L, 0> {
  static void fill(Tile<T>*) {}
};

// The tiles of N vectors by their number of rows.
template <class T, int N, Left L = Left::rows>
struct Tiles {
  static constexpr int most = kMostRows<N>;
  Tile<T> of[most + 1];
  Tiles() { TileTable<T, N, L, most>::fill(of); }

  // Cut `rows` into tiles as even as possible, and give each one's sums to use(first row, rows, sums); `soon` is told
  // which rows come next.
  template <class Use, class Soon>
  INLINE void product(Index inner, const T* a, Index stride, Index gate, const T* panel, Index rows, Use use,
                      Soon soon) const {
    alignas(64) Number<T> sums[kMostTile * kLanes<T>];
    const Index count = ceil_div(rows, most);
    for (Index i = 0; i < count; ++i) {
      const Index first = rows * i / count, height = rows * (i + 1) / count - first;
      soon(first, int(height));
      of[height](inner, a + first * stride, stride, gate, panel, sums);
      use(first, int(height), sums);
    }
  }
  template <class Use>
  INLINE void product(Index inner, const T* a, Index stride, Index gate, const T* panel, Index rows, Use use) const {
    product(inner, a, stride, gate, panel, rows, use, [](Index, int) {});
  }
};

// Where number k of the inner axis stands in a panel of n vectors.
template <class T>
INLINE T* in_panel(T* panel, int n, Index k) {
  return panel + k / Factor<T>::kDeep * n * kVector<T>;
}

// The zeros that fill up rows of n numbers.
template <class T>
void fill_up(T* rows, Index count, Index n, Index stride) {
  for (Index i = 0; i < count; ++i)
    for (Index k = n; k < filled_up<T>(n); ++k) rows[i * stride + k] = T{};
}

// Copy a vector's worth of columns of all `inner` rows into a panel: panel[k][lane] = source[k][0 .. valid).
template <class T>
void pack_rows(T* panel, int n, const T* source, Index stride, Index inner, int valid) {
  for (Index k = 0; k < inner; ++k) Factor<T>::put(in_panel(panel, n, k), k, load<T>(source + k * stride, valid));
}

// The same from a transposed source: panel[k][l] = source[l][k].
template <class T>
void pack_columns(T* panel, int n, const T* source, Index stride, Index inner, int valid) {
  using F = Factor<T>;
  for (Index k = 0; k < inner; k += kVector<T>) {
    const int columns = int(smaller(inner - k, kVector<T>));
    Vec<T> v[kLanes<T>];
    UNROLL for (int l = 0; l < kLanes<T>; ++l)
      v[l] = l < valid ? F::load(source + l * stride + k, columns) : splat<T>(0);
    transpose<Number<T>>(v);
    for (int l = 0; l * F::kDeep < columns; ++l) F::store(in_panel(panel, n, k + l * F::kDeep), v[l]);
  }
}

}  // namespace
