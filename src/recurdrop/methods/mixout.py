"""Mixout: Lee et al. 2020."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from recurdrop.errors import invalid
from recurdrop.methods.base import Method, Rate, rate, switch
from recurdrop.methods.matrices import check_matrices, on_matrices
from recurdrop.plan import Noise, Where

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Mixout(Method):
    """Mixout: replace random weights by those of a reference model, for fine-tuning.

    Equation:
        W~ = ((1 - M) ⊙ W + M ⊙ R - p R) / (1 - p), M ~ Bernoulli(p) of W's shape, so that E[W~] = W. At p = 1, W~ = R.
    Sites:
        `weight_hh` (`hh`) and `weight_ih` (`ih`) of every layer and direction.
    Shared over:
        Time and batch.
    Evaluation:
        Identity: the raw matrices.
    Source:
        Lee, Cho, Kang 2020, arXiv:1909.11299, eq. 3. They fine-tune with p = 0.7 to 0.9.
    Authors' code:
        For linear layers, biases excluded. `reference="initial"` is a copy of the weights at the first forward in
        training after `noise` was set, or before that at the layer's `take_reference()`: call it before a checkpoint is
        loaded, as `recurdrop train` does, or give the pre-trained `state_dict` of the layer.
    """

    name: ClassVar[str] = "mixout"
    cite: ClassVar[str] = "Lee et al. 2020, arXiv:1909.11299"
    sharing: ClassVar[str] = "time, batch"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.7}

    p: Rate = rate(0.7, "probability to take the reference's weight, or one for each layer")
    reference: str | Mapping[str, Tensor] = field(
        default="initial", compare=False, metadata={"doc": '"initial", or the state_dict of a layer of the same shape'}
    )
    hh: bool = switch(True, "on the hidden-to-hidden matrix")
    ih: bool = switch(True, "on the input-to-hidden matrix")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_matrices("Mixout", self.hh, self.ih)
        if self.reference != "initial" and not isinstance(self.reference, Mapping):
            raise invalid(
                'reference of Mixout must be "initial" or a state_dict', self.reference, "Give one of the two."
            )

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """A mixture with the reference on the chosen matrices of every layer."""
        p = self.rate_at("p", where.layer, where.num_layers)
        reference = None if isinstance(self.reference, str) else self.reference
        return on_matrices(self, p, hh=self.hh, ih=self.ih, law="mixture", reference=reference)
