"""The settings of one training run, checked whole before anything runs."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

from recurdrop.errors import invalid


@dataclass(frozen=True)
class Config:
    """Settings that all runs of a comparison share. The flag of a setting on the command line has its name.

    Attributes:
        cell: "lstm", "gru" or "rnn".
        hidden: width of embedding and recurrent layers.
        layers: recurrent layers.
        vocabulary: the most words to keep; the rest is `<unk>`.
        tokens: the most tokens of the text to use.
        epochs: passes over the training part.
        batch: streams read side by side.
        window: steps of truncated back-propagation.
        lr: learning rate of Adam; over the second half of the updates it falls to 0 in a straight line.
        clip: largest norm of the gradient.

    Raises:
        ValueError: a setting breaks its rule.
    """

    cell: str = "lstm"
    hidden: int = 100
    layers: int = 1
    vocabulary: int = 2000
    tokens: int = 25_000
    epochs: int = 8
    batch: int = 16
    window: int = 20
    lr: float = 0.01
    clip: float = 0.5

    CELLS: ClassVar[tuple[str, ...]] = ("lstm", "gru", "rnn")

    def __post_init__(self) -> None:
        if self.cell not in self.CELLS:
            raise invalid(f"--cell must be one of {', '.join(self.CELLS)}", self.cell, "Choose one of them.")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 2 if field.name == "vocabulary" else 1
            if isinstance(value, int) and value < least:
                remedy = f"The default is {field.default}."
                raise invalid(f"--{field.name} must be {least} or more", value, remedy)
            if isinstance(value, float) and not 0 < value < math.inf:
                raise invalid(f"--{field.name} must be above 0 and finite", value, f"The default is {field.default}.")
