"""What a hand-written time loop is given, saves and returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Loop(NamedTuple):
    """A recurrence whose input products are already made. Shapes as in `contract`; lengths are folded into the zones.

    Attributes:
        mode: torch's name of the cell.
        x: (T, B, G·H), W x + b of every step, with b' where it adds up (all gates but the GRU's n).
        h0: (B, P).
        c0: (B, H) for LSTM, else None.
        w_hh: (G·H, P).
        b_hn: (H,), the GRU's bias inside the reset, or None.
        w_hr: (P, H) with a projection, else None.
        recurrent: mask, as in `Masks`.
        candidate: mask.
        cell: mask.
        zone_c: mask.
        zone_h: mask.
        detach: mask.
        reverse: from the last step to the first.
    """

    mode: str
    x: Tensor
    h0: Tensor
    c0: Tensor | None
    w_hh: Tensor
    b_hn: Tensor | None
    w_hr: Tensor | None
    recurrent: Tensor | None
    candidate: Tensor | None
    cell: Tensor | None
    zone_c: Tensor | None
    zone_h: Tensor | None
    detach: Tensor | None
    reverse: bool

    @property
    def cell_state(self) -> Tensor:
        """c_0 of an LSTM."""
        if self.c0 is None:
            raise TypeError("an LSTM has a cell state c0")
        return self.c0

    def order(self) -> range:
        """The steps in the order of the recurrence."""
        time = len(self.x)
        return range(time - 1, -1, -1) if self.reverse else range(time)


class Saved(NamedTuple):
    """What the forward returns and the backward needs.

    Attributes:
        h: (T, B, P), after each step.
        c: (T, B, H), after each step; empty without a cell state.
        gates: (T, B, K·H), what the cell's loop says it saves.
    """

    h: Tensor
    c: Tensor
    gates: Tensor


class Gradients(NamedTuple):
    """The gradients of a `Loop`'s fields of the same names."""

    x: Tensor
    h0: Tensor
    c0: Tensor | None
    w_hh: Tensor
    b_hn: Tensor | None
    w_hr: Tensor | None
