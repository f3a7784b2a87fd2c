"""The in-layer part of AWD-LSTM: Merity et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, rate
from recurdrop.methods.locked import Locked
from recurdrop.methods.weightdrop import WeightDrop
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class AWD(Method):
    """AWD-LSTM's noise in the layer: weight drop and locked dropout together.

    Equation:
        `WeightDrop(weight)` and `Locked(input, between, output)`.
    Sites:
        `weight_hh` of every layer, `input` of the first, `output` of every layer.
    Shared over:
        Time; the weight mask also over the batch.
    Evaluation:
        Identity.
    Source:
        Merity, Keskar, Socher 2017, arXiv:1708.02182. The defaults are the settings for words of the Penn Treebank.
    Authors' code:
        These are its rates (`dropouti`, `dropouth`, `dropout`, `wdrop`) after the locked masks were corrected; the
        paper's 0.3 between layers belongs to the code before. Its embedding dropout, loss terms and optimizer are
        outside the layer.
    """

    name: ClassVar[str] = "awd"
    cite: ClassVar[str] = "Merity et al. 2017, arXiv:1708.02182"
    sharing: ClassVar[str] = "time (weights: and batch)"

    input: Rate = rate(0.4, "probability to drop on the first layer's input")
    between: Rate = rate(0.25, "probability to drop between layers, or one for each of the L - 1 connections")
    output: Rate = rate(0.4, "probability to drop on the last layer's output")
    weight: Rate = rate(0.5, "probability to drop an element of the recurrent matrix, or one for each layer")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """The plans of both parts."""
        locked = Locked(input=self.input, between=self.between, output=self.output)
        parts = (*WeightDrop(self.weight).plan(where), *locked.plan(where))
        return tuple(replace(noise, method="AWD") for noise in parts)
