"""State reset: forget the carried state now and then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, rate
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class StateReset(Method):
    """State reset: start an example's window from zero with some probability.

    Equation:
        h_0 ← m h_0, c_0 ← m c_0, one bit m for an example that is 0 with probability p.
    Sites:
        `state` of every layer.
    Shared over:
        Time, units, layers and directions: one bit an example and forward.
    Evaluation:
        Identity.
    Source:
        Melis, Dyer, Blunsom 2018, arXiv:1707.05589, in code (`drop_state_probability`); also Zolna et al. 2018,
        arXiv:1711.00066, in code. p = 0.01.
    Authors' code:
        The latter resets the whole batch at once.
    """

    name: ClassVar[str] = "state_reset"
    cite: ClassVar[str] = "Melis et al. 2018, arXiv:1707.05589 (code)"
    sharing: ClassVar[str] = "time, units, layers, directions"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.01}

    p: float = rate(0.01, "probability to reset an example's state")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """One bit an example, the same in every layer."""
        shared = frozenset({"unit"})
        return (self.noise("state", self.rate_at("p", 0, 1), shared=shared, scaled=False, across_layers=True),)
