"""Zoneout: Krueger et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from recurdrop.errors import invalid
from recurdrop.methods.base import Method, Rate, rate, switch
from recurdrop.plan import Noise, Where
from recurdrop.sites import Axis

if TYPE_CHECKING:
    from typing_extensions import Self

C = 0.5
"""The rate of c where none is given."""


@dataclass(frozen=True)
class Zoneout(Method):
    """Zoneout: units keep their previous value with some probability.

    Equation:
        LSTM:        c~ = f ⊙ c_{t-1} + i ⊙ g
                     c_t = d^c ⊙ c_{t-1} + (1 - d^c) ⊙ c~
                     h_t = d^h ⊙ h_{t-1} + (1 - d^h) ⊙ o ⊙ tanh(c~)     with the un-zoned c~
        GRU and RNN: h_t = d^h ⊙ h_{t-1} + (1 - d^h) ⊙ h~
        The bits d^c and d^h are 1, keep old, with probability c and h.
    Sites:
        `zone_c` (LSTM) and `zone_h` of every layer.
    Shared over:
        Nothing. `shared_mask=True`: d^c and d^h are one mask (then c defaults to h, and both must be equal).
        `stochastic_depth=True`: one bit for all units of a layer at a step, the same for c and h.
    Evaluation:
        The expectation at every step: d is replaced by its probability. That is not "off".
    Source:
        Krueger et al. 2017, arXiv:1606.01305, eq. 4-6. Character models: c 0.5, h 0.05; words: c 0.25, h 0.025.
    Authors' code:
        The scripts take the probability of *updating*; the published numbers were run with the un-zoned c~ in h, as
        here. The TensorFlow gist returns the un-zoned output beside the zoned state; many copies do.
    """

    name: ClassVar[str] = "zoneout"
    cite: ClassVar[str] = "Krueger et al. 2017, arXiv:1606.01305"
    sharing: ClassVar[str] = "nothing"
    published_rates: ClassVar[dict[str, object]] = {"h": 0.05}

    c: Rate | None = rate(None, "probability to keep c_{t-1}; None: 0.5 where there is a cell state", optional=True)
    h: Rate = rate(0.05, "probability to keep h_{t-1}, or one for each layer")
    shared_mask: bool = switch(False, "one mask for c and h")
    stochastic_depth: bool = switch(False, "one bit for all units of a layer")

    @property
    def _joint(self) -> bool:
        return self.shared_mask or self.stochastic_depth

    def explicit(self, where: Where) -> Self:
        """With c written out where there is a cell state, unless c follows h."""
        return replace(self, c=C) if self.c is None and not self._joint and where.has("zone_c") else self

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Bits that keep the old h, and the old c where there is one."""
        joint = self._joint
        h = self.rate_at("h", where.layer, where.num_layers)
        shared: frozenset[Axis] = frozenset({"unit"}) if self.stochastic_depth else frozenset()
        zone_h = self.noise("zone_h", h, shared=shared, scaled=False, evaluation=h)
        if self.c is None and not where.has("zone_c"):
            return (zone_h,)
        c = (h if joint else C) if self.c is None else self.rate_at("c", where.layer, where.num_layers)
        if joint and c != h:
            raise invalid("Zoneout with one mask for c and h needs c = h", {"c": c, "h": h}, "Leave c out.")
        if self.shared_mask and where.projected:
            raise invalid("Zoneout's shared mask needs c and h of one width", "proj_size", "Use it without proj_size.")
        stream = "zone_h" if joint else ""
        return zone_h, self.noise("zone_c", c, shared=shared, scaled=False, evaluation=c, stream=stream)
