"""Weight noise: Graves 2011, 2013."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, deviation, switch
from recurdrop.methods.matrices import check_matrices, on_matrices
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class WeightNoise(Method):
    """Weight noise: a Gaussian added to the weight matrices, drawn once a forward.

    Equation:
        W~ = W + std · ε, ε ~ N(0, 1) of W's shape.
    Sites:
        `weight_hh` (`hh`) and `weight_ih` (`ih`) of every layer and direction.
    Shared over:
        Time and batch.
    Evaluation:
        Identity: the raw matrices.
    Source:
        Graves 2013, arXiv:1308.0850, section 4.2; std = 0.075.
    Authors' code:
        Adds noise to all weights of the network, biases included; here to the matrices of the recurrence.
    """

    name: ClassVar[str] = "weight_noise"
    cite: ClassVar[str] = "Graves 2013, arXiv:1308.0850"
    sharing: ClassVar[str] = "time, batch"
    published_rates: ClassVar[dict[str, object]] = {"std": 0.075}

    std: float = deviation(0.075, "standard deviation of the noise, in the unit of the weights")
    hh: bool = switch(True, "on the hidden-to-hidden matrix")
    ih: bool = switch(True, "on the input-to-hidden matrix")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_matrices("WeightNoise", self.hh, self.ih)

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Gaussian noise added to the chosen matrices of every layer."""
        return on_matrices(self, self.std, hh=self.hh, ih=self.ih, law="additive", scaled=False)
