"""The specification: one recurrence with every site, one screen a cell.

Plain PyTorch, any floating dtype, differentiable as often as PyTorch is. Every other backend is checked against it,
and it runs what no other backend can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from recurdrop.ops.contract import Call, Problem, Result, Weights
from recurdrop.sites import Affine, Masks

State = tuple[Tensor, Tensor | None]


def supports(problem: Problem) -> str | None:
    """Return None: the reference runs everything."""
    del problem
    return None


def run(call: Call) -> Result:
    """Compute a call step by step."""
    masks, lengths = call.masks, call.lengths
    weights = call.weights._replace(
        w_ih=_affine(call.weights.w_ih, masks.weight_ih), w_hh=_affine(call.weights.w_hh, masks.weight_hh)
    )
    step = _STEPS[call.mode]
    h, c = (_times(s, masks.state) if s is not None else None for s in (call.h0, call.c0))
    if h is None:
        raise TypeError("a recurrence starts from a state h0")
    time = int(call.x.shape[0])
    outputs: list[tuple[Tensor, Tensor, Tensor | None]] = []
    for t in reversed(range(time)) if call.reverse else range(time):
        step_masks: dict[str, Any] = {name: _at(name, mask, t) for name, mask in masks._asdict().items()}
        at = Masks(**step_masks)
        new_h, new_c = step(call.x[t], (h, c), weights, at)
        if lengths is not None:
            inside = (t < lengths)[:, None]
            new_h = torch.where(inside, new_h, h)
            new_c = torch.where(inside, new_c, c) if new_c is not None and c is not None else None
            outputs.append(
                (_times(new_h, at.output) * inside, new_h * inside, None if new_c is None else new_c * inside)
            )
        else:
            outputs.append((_times(new_h, at.output), new_h, new_c))
        h, c = new_h, new_c
    if call.reverse:
        outputs.reverse()
    y, hs, cs = zip(*outputs, strict=True)
    return Result(torch.stack(y), torch.stack(hs), None if c is None else torch.stack(cs), h, c)


def _lstm(x: Tensor, state: State, w: Weights, m: Masks) -> State:
    """a_k = W_k (x ⊙ M_input^k) + b_k + U_k (h' ⊙ M_recurrent^k) + b'_k; all of it stands in docs/equations.md."""
    h, c = state
    if c is None:
        raise TypeError("an LSTM has a cell state c")
    a = _gates(x, w.w_ih, w.b_ih, m.input, 4) + _gates(_pass(h, m.detach), w.w_hh, w.b_hh, m.recurrent, 4)
    i, f, g, o = a.chunk(4, -1)
    i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)
    g = _times(torch.tanh(g), m.candidate)
    c_new = _times(f * c + i * g, m.cell)
    h_new = o * torch.tanh(c_new)
    if w.w_hr is not None:
        h_new = linear(h_new, w.w_hr)
    return _blend(m.zone_h, h, h_new), _blend(m.zone_c, c, c_new)


def _gru(x: Tensor, state: State, w: Weights, m: Masks) -> State:
    """r, z = σ(…), n = tanh(W_n (x ⊙ M_input^n) + b_n + r ⊙ (U_n (h' ⊙ M_recurrent^n) + b'_n))."""
    h, _ = state
    from_x = _gates(x, w.w_ih, w.b_ih, m.input, 3)
    from_h = _gates(_pass(h, m.detach), w.w_hh, w.b_hh, m.recurrent, 3)
    (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x.chunk(3, -1), from_h.chunk(3, -1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    h_new = (1 - z) * _times(n, m.candidate) + z * h
    return _blend(m.zone_h, h, h_new), None


def _rnn(phi: Callable[[Tensor], Tensor]) -> Callable[[Tensor, State, Weights, Masks], State]:
    """h~ = φ(W (x ⊙ M_input) + b + U (h' ⊙ M_recurrent) + b')."""

    def step(x: Tensor, state: State, w: Weights, m: Masks) -> State:
        h, _ = state
        a = _gates(x, w.w_ih, w.b_ih, m.input, 1) + _gates(_pass(h, m.detach), w.w_hh, w.b_hh, m.recurrent, 1)
        return _blend(m.zone_h, h, phi(a)), None

    return step


_STEPS: dict[str, Callable[[Tensor, State, Weights, Masks], State]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN_TANH": _rnn(torch.tanh),
    "RNN_RELU": _rnn(torch.relu),
}


def _at(name: str, mask: Tensor | Affine | None, t: int) -> Tensor | Affine | None:
    if not isinstance(mask, Tensor) or name in ("weight_ih", "weight_hh", "state"):
        return mask
    return mask[t if int(mask.shape[0]) > 1 else 0]


def _times(value: Tensor, mask: Tensor | None) -> Tensor:
    return value if mask is None else value * mask


def _affine(weight: Tensor, mask: Tensor | Affine | None) -> Tensor:
    if isinstance(mask, tuple):
        return weight * mask[0] + mask[1]
    return _times(weight, mask)


def _gates(v: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, gates: int) -> Tensor:
    """Multiply v (B, I), masked as a whole or once a gate, by a matrix (G·H, I) or by one an example (B, G·H, I)."""
    if weight.dim() == 2 and (mask is None or mask.dim() == 2):
        return linear(_times(v, mask), weight, bias)
    inputs = v[:, None] * mask if mask is not None and mask.dim() == 3 else _times(v, mask)[:, None]
    blocks = weight.unflatten(-2, (gates, -1))
    blocks = blocks if weight.dim() == 3 else blocks[None]
    product = torch.einsum("bgi,bghi->bgh", inputs.expand(-1, gates, -1), blocks.expand(len(v), -1, -1, -1)).flatten(1)
    return product if bias is None else product + bias


def _pass(h: Tensor, gradient: Tensor | None) -> Tensor:
    """Return h itself, with its gradient multiplied by `gradient`."""
    return h if gradient is None else h.detach() + gradient * (h - h.detach())


def _blend(zone: Tensor | None, old: Tensor, new: Tensor) -> Tensor:
    """Keep old by the weight zone; by selection where it is a bit, so that what is not taken can't leak as NaN."""
    if zone is None:
        return new
    return torch.where(zone, old, new) if zone.dtype == torch.bool else zone * old + (1 - zone) * new
