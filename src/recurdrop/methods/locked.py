"""Locked dropout, the non-recurrent part of AWD-LSTM: Merity et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, rate
from recurdrop.methods.places import in_places
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class Locked(Method):
    """Locked dropout: one mask a sequence on the input, between the layers and on the last output.

    Equation:
        v_t ← v_t ⊙ m / (1 - p), one m ~ Bernoulli(1 - p) for all t.
    Sites:
        `input` of the first layer (`input`), `output` of every layer but the last (`between`), `output` of the last
        (`output`).
    Shared over:
        Time. Examples and units have masks of their own.
    Evaluation:
        Identity.
    Source:
        Merity, Keskar, Socher 2017, arXiv:1708.02182, section 4.2; Gal & Ghahramani 2016, arXiv:1512.05287.
    Authors' code:
        As released in August 2017 it shared the mask over the batch and drew it afresh at each step; corrected in
        September 2017. This is the text's and the corrected form.
    """

    name: ClassVar[str] = "locked"
    cite: ClassVar[str] = "Merity et al. 2017, arXiv:1708.02182"
    sharing: ClassVar[str] = "time"
    published_rates: ClassVar[dict[str, object]] = {"input": 0.4, "between": 0.25, "output": 0.4}

    input: Rate = rate(0.0, "probability to drop on the first layer's input")
    between: Rate = rate(0.0, "probability to drop between layers, or one for each of the L - 1 connections")
    output: Rate = rate(0.0, "probability to drop on the last layer's output")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Noise in the three places, locked over time."""
        return in_places(self, where, frozenset({"time"}), input=self.input, between=self.between, output=self.output)
