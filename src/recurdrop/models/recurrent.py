"""The recurrent layers of a small model, as settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import recurdrop as rd
from recurdrop.errors import invalid
from recurdrop.methods import Method, parse
from recurdrop.nn.base import Regularized

CELLS: dict[str, Callable[..., Regularized]] = {"lstm": rd.LSTM, "gru": rd.GRU, "rnn": rd.RNN}


@dataclass(frozen=True)
class RecurrentSettings:
    """What the models of most tasks have in common.

    Attributes:
        cell: "lstm", "gru" or "rnn".
        hidden: H, width of the recurrent layers.
        layers: how many.
        noise: methods in the layers, as `recurdrop.methods.parse` reads them.

    Raises:
        ValueError: a setting breaks its rule.
    """

    cell: str = "lstm"
    hidden: int = 100
    layers: int = 1
    noise: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise invalid(f"cell must be one of {', '.join(CELLS)}", self.cell, "Choose one of them.")
        for name in ("hidden", "layers"):
            if getattr(self, name) < 1:
                raise invalid(f"{name} must be 1 or more", getattr(self, name), "Give e.g. 1.")
        self.methods()

    def methods(self) -> tuple[Method, ...]:
        """Return the noise as methods.

        Raises:
            ValueError: one that there is not, or a rate that breaks its rule.
        """
        return tuple(parse(text) for text in self.noise)

    def rnn(self, width: int, *, bidirectional: bool = False, batch_first: bool = False) -> Regularized:
        """Make the layers.

        Args:
            width: of their input.
            bidirectional: whether they read both ways.
            batch_first: whether tensors are (B, T, ·).

        Raises:
            ValueError: noise that the cell has no place for, or rates that don't fit the layers.
        """
        return CELLS[self.cell](
            width,
            self.hidden,
            self.layers,
            noise=self.methods(),
            bidirectional=bidirectional,
            batch_first=batch_first,
        )
