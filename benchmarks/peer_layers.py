"""What people write in PyTorch when they want recurrent dropout: a loop over cells, or a dropped recurrent matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from benchmarks.cases import Case


class CellLoop(nn.Module):
    """A Python loop over a cell of torch.nn, with one mask a sequence on the hidden state that enters it.

    Taggers and parsers do it so; the GRU's interpolation then sees the masked state too.
    """

    def __init__(self, case: Case, p: float) -> None:
        super().__init__()
        self.cell = getattr(nn, f"{case.cell}Cell")(case.input, case.hidden)
        self.p = p

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        h = x.new_zeros(x.shape[1], self.cell.hidden_size)
        state: Any = (h, h) if isinstance(self.cell, nn.LSTMCell) else h
        mask = dropout(torch.ones_like(h), self.p, self.training)
        outputs = []
        for x_t in x:
            if isinstance(state, tuple):
                state = self.cell(x_t, (state[0] * mask, state[1]))
                outputs.append(state[0])
            else:
                state = self.cell(x_t, state * mask)
                outputs.append(state)
        return torch.stack(outputs), state


class DroppedMatrix(nn.Module):
    """A layer of torch.nn whose recurrent matrix is replaced, at each forward, by a dropped copy of a raw parameter."""

    def __init__(self, case: Case, p: float) -> None:
        super().__init__()
        self.inner = getattr(nn, case.cell)(case.input, case.hidden)
        self.raw = nn.Parameter(self.inner.weight_hh_l0.detach().clone())
        del self.inner.weight_hh_l0
        self.p = p

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Any:
        # view_as, since what dropout returns at rate 0 is the parameter, which would be registered a second time
        self.inner.weight_hh_l0 = dropout(self.raw, self.p, self.training).view_as(self.raw)
        return self.inner(x, state)
