"""h-detach: Arpit et al. 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, rate
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class HDetach(Method):
    """h-detach: stop the gradient through h_{t-1} into the gates at random steps.

    Equation:
        a_k = W_k x_t + U_k D_t(h_{t-1}) + b_k; D_t(v) = v, and its gradient is multiplied by a bit that is 0 with
        probability p. The gradient along the cell state, and along the GRU's z ⊙ h_{t-1}, always passes.
    Sites:
        `detach` of every layer.
    Shared over:
        Batch and units: one bit a step, as in the authors' code.
    Evaluation:
        Identity, forward and backward.
    Source:
        Arpit et al. 2018, arXiv:1810.03023. p = 0.25.
    Authors' code:
        LSTM, and switched off for the last 40 epochs. On an RNN, where all memory goes through the gates, it truncates
        the gradient at random.
    """

    name: ClassVar[str] = "hdetach"
    cite: ClassVar[str] = "Arpit et al. 2018, arXiv:1810.03023"
    sharing: ClassVar[str] = "batch, units"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.25}

    p: Rate = rate(0.25, "probability to stop the gradient at a step, or one for each layer")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """One bit a step on the gradient of every layer."""
        p = self.rate_at("p", where.layer, where.num_layers)
        return (self.noise("detach", p, shared=frozenset({"batch", "unit"}), scaled=False),)
