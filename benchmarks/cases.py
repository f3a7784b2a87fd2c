"""The cases, as data: a layer and its sizes."""

from __future__ import annotations

from dataclasses import dataclass

import recurdrop as rd


@dataclass(frozen=True)
class Case:
    """One stack of layers and one batch.

    Attributes:
        cell: LSTM, GRU or RNN.
        input: width of the input.
        hidden: width of the layers.
        layers: their number.
        batch: examples.
        time: steps.
    """

    cell: str
    input: int
    hidden: int
    layers: int
    batch: int
    time: int

    def __str__(self) -> str:
        return f"{self.cell} {self.layers}×{self.hidden}, I {self.input}, B {self.batch}, T {self.time}"


CASES = {
    "zaremba-medium": Case("LSTM", 650, 650, 2, 20, 35),
    "lstm-256": Case("LSTM", 256, 256, 1, 64, 100),
    "lstm-64": Case("LSTM", 128, 64, 1, 32, 80),
    "gru-256": Case("GRU", 256, 256, 1, 64, 100),
    "gru-weather": Case("GRU", 14, 32, 1, 128, 120),
    "rnn-256": Case("RNN", 256, 256, 1, 64, 100),
}

NOISES: dict[str, rd.Method | list[rd.Method] | None] = {
    "none": None,
    "zaremba": rd.Zaremba(0.5),
    "locked": rd.Locked(input=0.4, between=0.25, output=0.4),
    "weightdrop": rd.WeightDrop(0.5),
    "variational": rd.Variational(input=0.5, recurrent=0.3, output=0.5),
    "keras": rd.Keras(dropout=0.2, recurrent_dropout=0.2),
    "zoneout": rd.Zoneout(h=0.05),
}
