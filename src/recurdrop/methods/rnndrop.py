"""RNNDrop: Moon et al. 2015."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, choice, rate
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class RNNDrop(Method):
    """RNNDrop: one mask a sequence on the cell state.

    Equation:
        c_t = m ⊙ (f_t ⊙ c_{t-1} + i_t ⊙ g_t), h_t = o_t ⊙ tanh(c_t); m ~ Bernoulli(1 - p) is fixed for all t and not
        scaled. A dropped unit is zero for the whole sequence.
    Sites:
        `cell` of every layer. LSTM only: GRU and RNN have no cell state, and the extensions found in code differ.
    Shared over:
        Time. Examples, units, layers and directions have masks of their own.
    Evaluation:
        `scaling="paper"`: c_t is multiplied by 1 - p at every step, so that what is k steps old is scaled by
        (1 - p)^k. `scaling="none"`: identity.
    Source:
        Moon et al. 2015, "RNNDROP: a novel dropout for RNNs in ASR", ASRU; the equations as restated in Krueger et al.
        2017 and Semeniuta et al. 2016. The rate is the common 0.5; the paper's was not to be had.
    Authors' code:
        None was published. In training it equals `RecurrentDropout(per="sequence", scaling="classic")` when c_0 = 0.
    """

    name: ClassVar[str] = "rnndrop"
    cite: ClassVar[str] = "Moon et al. 2015, ASRU"
    sharing: ClassVar[str] = "time"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.5}

    p: Rate = rate(0.5, "probability to drop, or one for each layer")
    scaling: str = choice("paper", ("paper", "none"), "the rule at evaluation")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Unscaled bits on the cell state of every layer."""
        p = self.rate_at("p", where.layer, where.num_layers)
        evaluation = 1 - p if self.scaling == "paper" else None
        return (self.noise("cell", p, shared=frozenset({"time"}), scaled=False, evaluation=evaluation),)
