"""DropConnect: Wan et al. 2013."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, choice, rate, switch
from recurdrop.methods.matrices import UNITS, check_matrices, on_matrices
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class DropConnect(Method):
    """DropConnect: bits on the elements of the weight matrices.

    Equation:
        W~ = W ⊙ M / (1 - p), M ~ Bernoulli(1 - p) of W's shape.
    Sites:
        `weight_hh` (`hh`), `weight_ih` (`ih`) or both, in every layer and direction.
    Shared over:
        Time, and the batch unless `per_example=True`, which draws a matrix for each example as the paper does: memory
        and time of B matrices, on the reference backend.
    Evaluation:
        Identity, the mean weights.
    Source:
        Wan et al. 2013, "Regularization of neural networks using DropConnect", ICML; p = 0.5.
    Authors' code:
        For feed-forward layers, not scaled in training; at test it samples from a Gaussian fitted to each unit's input
        instead of taking mean weights. Every recurrent use shares M over the batch, as the default here.
    """

    name: ClassVar[str] = "dropconnect"
    cite: ClassVar[str] = "Wan et al. 2013, ICML"
    sharing: ClassVar[str] = "time (and batch, unless per example)"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.5}

    p: Rate = rate(0.5, "probability to drop, or one for each layer")
    hh: bool = switch(True, "on the hidden-to-hidden matrix")
    ih: bool = switch(False, "on the input-to-hidden matrix")
    unit: str = choice("element", UNITS, "what is dropped as one")
    per_example: bool = switch(False, "one mask for each example")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_matrices("DropConnect", self.hh, self.ih)

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Bits on the chosen matrices of every layer."""
        p = self.rate_at("p", where.layer, where.num_layers)
        return on_matrices(self, p, hh=self.hh, ih=self.ih, unit=self.unit, per_example=self.per_example)
