"""What is measured and what must be reached, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import recurdrop as rd
from recurdrop.sites import GATES, Cell

Noise = rd.Method | tuple[rd.Method, ...] | None


@dataclass(frozen=True)
class Case:
    """One layer and one batch.

    Attributes:
        cell: LSTM, GRU or RNN.
        input: I, width of the input.
        hidden: H, width of the layer.
        batch: B, examples.
        time: T, steps of the longest example.
    """

    cell: Cell
    input: int
    hidden: int
    batch: int
    time: int

    @property
    def flops(self) -> int:
        """Of the products of one training step: the forward, and twice that for the gradients."""
        return 3 * 2 * self.time * self.batch * GATES[self.cell] * self.hidden * (self.input + self.hidden)

    def __str__(self) -> str:
        width = f"{self.hidden}" if self.input == self.hidden else f"{self.input}→{self.hidden}"
        return f"{self.cell} {width}, B {self.batch}, T {self.time}"


@dataclass(frozen=True)
class Target:
    """What a number must reach, and what it aims for; both are upper bounds if `most`."""

    must: float
    aim: float | None = None
    most: bool = False

    def met(self, value: float, bound: float) -> bool:
        """Compare to the two digits that the table shows."""
        return round(value, 2) <= bound if self.most else round(value, 2) >= bound


CASES = {
    "lstm-650": Case("LSTM", 650, 650, 20, 35),
    "lstm-1150": Case("LSTM", 1150, 1150, 20, 70),
    "lstm-256": Case("LSTM", 256, 256, 64, 100),
    "lstm-64": Case("LSTM", 128, 64, 32, 80),
    "gru-256": Case("GRU", 256, 256, 64, 100),
    "rnn-256": Case("RNN", 256, 256, 64, 100),
    "gru-32": Case("GRU", 14, 32, 128, 120),
}

PADDED = {
    "lstm-650": Target(1.0, 1.25),
    "lstm-1150": Target(1.0, 1.25),
    "lstm-256": Target(1.15, 1.5),
    "lstm-64": Target(1.3, 2),
    "gru-256": Target(2.2, 3),
    "rnn-256": Target(2, 3),
    "gru-32": Target(5, 9),
}
PACKED = {
    "lstm-650": Target(2, 3.5),
    "lstm-256": Target(2, 3.5),
    "gru-256": Target(2, 3.5),
    "lstm-64": Target(4, 8),
    "gru-32": Target(4, 8),
}
OUTSIDE = Target(0.95)
EVALUATION = Target(1.0)
PEERS = Target(2, 4)
NOISE = Target(1.10, 1.03, most=True)
RATE = Target(0.70, 0.85)
MEMORY = Target(1.0, 0.8, most=True)
IMPORT_MS = Target(50, 20, most=True)

RATE_CASES = tuple(name for name, case in CASES.items() if case.hidden >= 256)
MEMORY_CASES = {f"{name} long": replace(CASES[name], time=400) for name in ("lstm-256", "gru-256")}

MAIN = "variational"
"""The noise whose ratio is the row of the table; the others stand beside it."""
_CELLS: tuple[Cell, ...] = ("LSTM", "GRU", "RNN")
_IN_LOOP: dict[str, tuple[rd.Method, tuple[Cell, ...]]] = {
    MAIN: (rd.Variational(recurrent=0.3), _CELLS),
    "keras": (rd.Keras(dropout=0.2, recurrent_dropout=0.2), _CELLS),
    "zoneout": (rd.Zoneout(), _CELLS),
    "rnndrop": (rd.RNNDrop(0.25), ("LSTM",)),
    "recurrent dropout": (rd.RecurrentDropout(0.25), ("LSTM", "GRU")),
}
OUTSIDE_METHODS: dict[str, Noise] = {
    "zaremba": rd.Zaremba(0.5),
    "locked": rd.Locked(input=0.4, output=0.4),
    "weightdrop": rd.WeightDrop(0.5),
    "awd": rd.AWD(),
    "weight noise": rd.WeightNoise(),
}


def in_loop(cell: Cell) -> dict[str, Noise]:
    """Return the methods that act inside the loop and are defined for a cell, the main one first."""
    return {name: method for name, (method, cells) in _IN_LOOP.items() if cell in cells}


def every_site(cell: Cell) -> Noise:
    """Return methods that together put noise at every site that a cell has inside the loop, afresh at each step."""
    recurrent = rd.Dropout(0.3, site="recurrent")
    return {
        "LSTM": (recurrent, rd.RecurrentDropout(), rd.Dropout(0.1, site="cell"), rd.Zoneout()),
        "GRU": (recurrent, rd.RecurrentDropout(), rd.Zoneout()),
        "RNN": (recurrent, rd.Zoneout()),
    }[cell]


@dataclass(frozen=True)
class Pair:
    """Two sizes whose times per flop should be alike: an odd one and its even neighbour, or a long and a short one."""

    odd: Case
    even: Case


_BATCHES, _WIDTHS = Case("LSTM", 256, 256, 32, 50), Case("LSTM", 256, 256, 20, 35)
GROWTH = (
    {
        f"B {b} | {c}": Pair(replace(_BATCHES, batch=b), replace(_BATCHES, batch=c))
        for b, c in ((1, 2), (7, 8), (33, 32))
    }
    | {
        f"H {h} | {k}": Pair(replace(_WIDTHS, input=h, hidden=h), replace(_WIDTHS, input=k, hidden=k))
        for h, k in ((50, 48), (257, 256), (1000, 1024))
    }
    | {
        "T 400 | 50": Pair(replace(_BATCHES, time=400), replace(_BATCHES, time=50)),
        "B 256 | 32": Pair(replace(_BATCHES, batch=256), replace(_BATCHES, batch=32)),
    }
)
