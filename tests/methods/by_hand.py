"""The cells in plain Python numbers, unit by unit: two steps, three units, no tensor operation of the library."""

from __future__ import annotations

import math

import torch

import recurdrop as rd

Vector = list[float]
TIME, WIDTH, HIDDEN = 2, 2, 3


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def layer(kind: type, noise: object, **options: object):
    """A layer whose every weight is another number."""
    made = kind(WIDTH, HIDDEN, noise=noise, dtype=torch.float64, **options)
    count = 0
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.tensor([math.sin(1.7 * (count + k)) for k in range(p.numel())]).view_as(p))
            count += p.numel()
    return made


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x (2, 1, 2), h_0 and c_0 (1, 1, 3)."""
    x = torch.tensor([[[0.3, -1.1]], [[0.9, 0.4]]], dtype=torch.float64)
    h = torch.tensor([[[0.2, -0.5, 0.7]]], dtype=torch.float64)
    c = torch.tensor([[[-0.4, 0.6, 1.3]]], dtype=torch.float64)
    return x, h, c


def product(w: torch.Tensor, v: Vector, mask: list[Vector] | None = None) -> Vector:
    """W v, row by row; `mask` has one vector a gate."""
    rows = []
    for index, row in enumerate(w.tolist()):
        m = [1.0] * len(v) if mask is None else mask[index // HIDDEN]
        rows.append(sum(a * b * k for a, b, k in zip(row, v, m, strict=True)))
    return rows


def pre(made, x: Vector, h: Vector, m_x=None, m_h=None, w_ih=None, w_hh=None) -> tuple[Vector, Vector]:
    """W x + b and U h + b' of all gates."""
    w_ih = made.weight_ih_l0 if w_ih is None else w_ih
    w_hh = made.weight_hh_l0 if w_hh is None else w_hh
    from_x = [a + b for a, b in zip(product(w_ih, x, m_x), made.bias_ih_l0.tolist(), strict=True)]
    from_h = [a + b for a, b in zip(product(w_hh, h, m_h), made.bias_hh_l0.tolist(), strict=True)]
    return from_x, from_h


def lstm_gates(made, x: Vector, h: Vector, **noise) -> list[tuple[float, float, float, float]]:
    """(i, f, g, o) of every unit."""
    from_x, from_h = pre(made, x, h, **noise)
    a = [p + q for p, q in zip(from_x, from_h, strict=True)]
    return [
        (sigmoid(a[u]), sigmoid(a[HIDDEN + u]), math.tanh(a[2 * HIDDEN + u]), sigmoid(a[3 * HIDDEN + u]))
        for u in range(HIDDEN)
    ]


def gru_gates(made, x: Vector, h: Vector, **noise) -> list[tuple[float, float, float]]:
    """(r, z, n) of every unit."""
    from_x, from_h = pre(made, x, h, **noise)
    found = []
    for u in range(HIDDEN):
        r, z = (sigmoid(from_x[k * HIDDEN + u] + from_h[k * HIDDEN + u]) for k in (0, 1))
        found.append((r, z, math.tanh(from_x[2 * HIDDEN + u] + r * from_h[2 * HIDDEN + u])))
    return found


def rnn_units(made, x: Vector, h: Vector, **noise) -> Vector:
    from_x, from_h = pre(made, x, h, **noise)
    return [math.tanh(p + q) for p, q in zip(from_x, from_h, strict=True)]


def at(mask: torch.Tensor, t: int) -> list:
    """The values of a mask at step t for the only example; of a shared axis, its one value."""
    row = mask[t if len(mask) > 1 else 0, 0]
    return row.tolist()


def lstm_steps(made, step) -> tuple[list[Vector], Vector]:
    """Run `step(t, x, h, c) -> (h, c)` over both steps; returns h of each step and the last c."""
    x, h, c = data()
    state, hs = (h[0, 0].tolist(), c[0, 0].tolist()), []
    for t in range(TIME):
        state = step(t, x[t, 0].tolist(), *state)
        hs.append(state[0])
    return hs, state[1]


def one_state_steps(made, step) -> list[Vector]:
    """Run `step(t, x, h) -> h` over both steps."""
    x, h, _ = data()
    state, hs = h[0, 0].tolist(), []
    for t in range(TIME):
        state = step(t, x[t, 0].tolist(), state)
        hs.append(state)
    return hs


def run(made, masks):
    """Run the layer itself on the same data; returns output (2, 3) and the final states as lists."""
    x, h, c = data()
    hx = (h, c) if isinstance(made, rd.LSTM) else h
    y, state = made(x, hx, masks=masks)
    return y[:, 0].tolist(), [s[0, 0].tolist() for s in (state if isinstance(state, tuple) else (state,))]


def close(found, expected) -> None:
    a, b = torch.tensor(found, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    assert (a - b).abs().max() < 1e-13, f"{found}, by hand {expected}"
