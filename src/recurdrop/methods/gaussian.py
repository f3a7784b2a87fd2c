"""Gaussian dropout: Srivastava et al. 2014, section 10."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, choice, rate
from recurdrop.plan import Noise, Where

SITES = ("input", "weight_ih", "weight_hh", "recurrent", "candidate", "cell", "output")


@dataclass(frozen=True)
class Gaussian(Method):
    """Gaussian dropout: multiply by a normal variable with the mean and variance of inverted dropout.

    Equation:
        v ← v ⊙ ε, ε ~ N(1, p / (1 - p)).
    Sites:
        The one named by `site`, in every layer: any that multiplies, but for the carried state.
    Shared over:
        Nothing with `per="step"`; time with `per="sequence"`. At the weights: time and batch.
    Evaluation:
        Identity.
    Source:
        Srivastava et al. 2014, JMLR 15:1929, section 10. p = 0.5 gives their σ = 1.
    Authors' code:
        For feed-forward networks. The multiplier is unbounded and can change sign: at `recurrent` and `cell` prefer
        small p. p must be below 1, where the variance is infinite.
    """

    name: ClassVar[str] = "gaussian"
    cite: ClassVar[str] = "Srivastava et al. 2014, JMLR 15:1929"
    sharing: ClassVar[str] = "nothing (time, per sequence)"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.5}

    p: Rate = rate(0.5, "the drop probability of the matching dropout, below 1, or one for each layer", open_high=True)
    site: str = choice("output", SITES, "any multiplying site")
    per: str = choice("step", ("step", "sequence"), "how long a mask lives")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """A normal multiplier at one site of every layer."""
        p = self.rate_at("p", where.layer, where.num_layers)
        shared = frozenset({"gate"} if self.per == "step" else {"gate", "time"})
        if self.site.startswith("weight"):
            shared = frozenset({"batch"})
        return (self.noise(self.site, p, law="gaussian", shared=shared),)
