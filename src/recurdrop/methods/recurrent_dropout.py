"""Recurrent dropout without memory loss: Semeniuta et al. 2016."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, choice, rate
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class RecurrentDropout(Method):
    """Recurrent dropout without memory loss: masks on the candidate update only.

    Equation:
        LSTM: c_t = f_t ⊙ c_{t-1} + i_t ⊙ d(g_t)
        GRU:  h_t = z_t ⊙ h_{t-1} + (1 - z_t) ⊙ d(n_t)     in torch's z; the paper's is 1 - z
        d(v) = v ⊙ m / (1 - p), or v ⊙ m with classic scaling. What the state already holds is never masked.
    Sites:
        `candidate` of every layer. Not defined for RNN, which has no additive update.
    Shared over:
        Nothing with `per="step"`; time with `per="sequence"`.
    Evaluation:
        Identity with `scaling="inverted"`; with `"classic"` the candidate is multiplied by 1 - p.
    Source:
        Semeniuta, Severyn, Barth 2016, arXiv:1603.05118, eq. 9 and 13. The rate 0.25 per step is their best together
        with non-recurrent dropout.
    Authors' code:
        Classic scaling; the paper's text discusses both. The scale enters additively, so either is safe.
    """

    name: ClassVar[str] = "recurrent_dropout"
    cite: ClassVar[str] = "Semeniuta et al. 2016, arXiv:1603.05118"
    sharing: ClassVar[str] = "nothing (time, per sequence)"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.25}

    p: Rate = rate(0.25, "probability to drop, or one for each layer")
    per: str = choice("step", ("step", "sequence"), "how long a mask lives")
    scaling: str = choice("inverted", ("inverted", "classic"), "divide in training, or multiply at evaluation")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Bits on the candidate of every layer."""
        p = self.rate_at("p", where.layer, where.num_layers)
        inverted = self.scaling == "inverted"
        return (
            self.noise(
                "candidate",
                p,
                shared=frozenset({"time"}) if self.per == "sequence" else frozenset(),
                scaled=inverted,
                evaluation=None if inverted else 1 - p,
            ),
        )
