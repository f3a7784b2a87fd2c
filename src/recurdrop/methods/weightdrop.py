"""Weight drop, DropConnect on the recurrent matrix: Merity et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, choice, rate
from recurdrop.methods.matrices import UNITS, on_matrices
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class WeightDrop(Method):
    """Weight drop: DropConnect on the hidden-to-hidden matrix, one mask a forward.

    Equation:
        U~ = U ⊙ M / (1 - p), M ~ Bernoulli(1 - p) of U's shape. The raw U stays as it is; its gradient is dU~ ⊙ M /
        (1 - p).
    Sites:
        `weight_hh` of every layer, in every direction.
    Shared over:
        Time and batch; rows or columns too with `unit="row"` (whole gate units) or `unit="column"` (whole inputs from
        h_{t-1}, which is a recurrent mask per gate shared by the batch).
    Evaluation:
        Identity: the raw matrix.
    Source:
        Merity, Keskar, Socher 2017, arXiv:1708.02182, section 2. p = 0.5 for words.
    Authors' code:
        Replaces the parameter by an attribute, which later versions of torch ignore or freeze; the wrapped matrix of a
        bidirectional layer is the forward one only. Here the dropped matrix is a value and nothing is replaced.
    """

    name: ClassVar[str] = "weightdrop"
    cite: ClassVar[str] = "Merity et al. 2017, arXiv:1708.02182"
    sharing: ClassVar[str] = "time, batch"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.5}

    p: Rate = rate(0.5, "probability to drop, or one for each layer")
    unit: str = choice("element", UNITS, "what is dropped as one")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Bits on the recurrent matrix of every layer."""
        return on_matrices(self, self.rate_at("p", where.layer, where.num_layers), hh=True, ih=False, unit=self.unit)
