"""What every backend is given and gives back: one layer in one direction, tensors only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from recurdrop.sites import SITES, Cell, Masks
from recurdrop.tracing import exporting, lacks_rules, transformed

Mode = Literal["LSTM", "GRU", "RNN_TANH", "RNN_RELU"]
CELL: dict[Mode, Cell] = {"LSTM": "LSTM", "GRU": "GRU", "RNN_TANH": "RNN", "RNN_RELU": "RNN"}


class Weights(NamedTuple):
    """The parameters of one layer in one direction, as torch stores them.

    Attributes:
        w_ih: (G·H, I), gates in torch's order.
        w_hh: (G·H, P), P the width of h.
        b_ih: (G·H,), or None without biases.
        b_hh: (G·H,), or None.
        w_hr: (P, H) with `proj_size`, or None.
    """

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    w_hr: Tensor | None = None


class Call(NamedTuple):
    """One layer in one direction, to be computed.

    Attributes:
        mode: torch's name of the cell.
        x: (T, B, I), unmasked.
        h0: (B, P).
        c0: (B, H) for LSTM, else None.
        weights: unmasked.
        masks: at every site; see `Masks`.
        lengths: (B,) int64, each in [0, T], or None when every example has T steps.
        reverse: whether the direction is from each example's last step to its first.
    """

    mode: Mode
    x: Tensor
    h0: Tensor
    c0: Tensor | None
    weights: Weights
    masks: Masks
    lengths: Tensor | None
    reverse: bool


class Result(NamedTuple):
    """What came of a `Call`.

    Attributes:
        y: (T, B, P), h after the output site; 0 past an example's length.
        h: (T, B, P), before the output site; 0 past an example's length.
        c: (T, B, H) for LSTM, 0 past an example's length; None for other cells, or where the backend can't tell.
        h_n: (B, P), after each example's last step in this direction.
        c_n: (B, H) for LSTM, else None.
    """

    y: Tensor
    h: Tensor
    c: Tensor | None
    h_n: Tensor
    c_n: Tensor | None


@dataclass(frozen=True)
class Problem:
    """The facts of a call that a backend may look at before it says whether it can run it.

    Attributes:
        mode: torch's name of the cell.
        dtype: of the input.
        device: its kind, e.g. "cpu".
        in_loop: sites inside the time loop that have a mask.
        gated_input: whether the input has a mask a gate.
        per_example: whether a matrix has a mask an example.
        ragged: whether examples differ in length.
        steps: whether c of every step is asked for.
        compiled: whether `torch.compile` is tracing it, gradients included.
        learned: sites at the input and inside the loop whose mask asks for a gradient.
        transformed: whether `torch.func` or forward-mode differentiation is at work.
        no_rules: whether it is one that torch's fused kernels have no rules for, `torch.vmap` or forward mode.
        exported: whether it is traced for a program that runs without recurdrop.
    """

    mode: Mode
    dtype: torch.dtype
    device: str
    in_loop: tuple[str, ...]
    gated_input: bool
    per_example: bool
    ragged: bool
    steps: bool
    compiled: bool = False
    learned: tuple[str, ...] = ()
    transformed: bool = False
    no_rules: bool = False
    exported: bool = False

    @classmethod
    def bare(cls, mode: Mode, x: Tensor, *, ragged: bool) -> Problem:
        """Return the facts of a call without noise."""
        return cls(mode, x.dtype, x.device.type, (), False, False, ragged, False)

    @classmethod
    def of(cls, call: Call, *, steps: bool = False) -> Problem:
        """Read the facts off a call."""
        masks = call.masks
        matrices = (masks.weight_ih, masks.weight_hh)
        in_loop = tuple(n for n, s in SITES.items() if s.in_loop and getattr(masks, n) is not None)
        return cls(
            mode=call.mode,
            dtype=call.x.dtype,
            device=call.x.device.type,
            in_loop=in_loop,
            gated_input=masks.input is not None and masks.input.dim() == 4,
            per_example=any(
                part.dim() == 3
                for mask in matrices
                if mask is not None
                for part in (mask if isinstance(mask, tuple) else (mask,))
            ),
            ragged=call.lengths is not None,
            steps=steps and call.mode == "LSTM",
            compiled=torch.compiler.is_compiling() and torch.is_grad_enabled(),
            learned=tuple(n for n in ("input", *in_loop) if _asks_gradient(getattr(masks, n))),
            transformed=transformed(),
            no_rules=lacks_rules(),
            exported=exporting(),
        )


def _asks_gradient(mask: Tensor | None) -> bool:
    return mask is not None and mask.requires_grad and torch.is_grad_enabled()
