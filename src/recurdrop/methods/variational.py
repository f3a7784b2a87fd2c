"""Variational dropout: Gal & Ghahramani 2016."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, rate, switch
from recurdrop.plan import Noise, Where
from recurdrop.sites import Axis


@dataclass(frozen=True)
class Variational(Method):
    """Variational dropout: one mask a sequence, also on the recurrent connections.

    Equation:
        a_k = W_k (x_t ⊙ z_x) + U_k (h_{t-1} ⊙ z_h) + b_k     for each gate k; untied, with z_x^k and z_h^k of its own
        The decoder reads h_t ⊙ z_y. z_x, z_h and z_y are bits divided by 1 - p, fixed for all t. The cell state, the
        GRU's z ⊙ h_{t-1} and the state handed back are not masked.
    Sites:
        `input` and `recurrent` of every layer, `output` of the last.
    Shared over:
        Time, and the gates when tied. Examples, units, layers and directions have masks of their own.
    Evaluation:
        Identity; or Monte Carlo, masks on and probabilities averaged.
    Source:
        Gal & Ghahramani 2016, arXiv:1512.05287, section 4. Their large model: input 0.5, recurrent 0.3, output 0.5,
        with word dropout 0.3 on the embedding, which is outside the layer.
    Authors' code:
        The language models are untied; the tied form is a comment in it, said to be faster and slightly worse.
    """

    name: ClassVar[str] = "variational"
    cite: ClassVar[str] = "Gal & Ghahramani 2016, arXiv:1512.05287"
    sharing: ClassVar[str] = "time (and gates, when tied)"
    published_rates: ClassVar[dict[str, object]] = {"input": 0.5, "recurrent": 0.3, "output": 0.5}

    input: Rate = rate(0.0, "probability to drop on the input of a layer, or one for each layer")
    recurrent: Rate = rate(0.0, "probability to drop h_{t-1} on its way into the gates, or one for each layer")
    output: Rate = rate(0.0, "probability to drop on the last layer's output")
    tied: bool = switch(True, "one mask for all gates; False for one a gate")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Noise on the input and the recurrent connections of every layer, and on the last output."""
        time: frozenset[Axis] = frozenset({"time"})
        gated = time | {"gate"} if self.tied else time
        layer, layers = where.layer, where.num_layers
        noises = [
            self.noise("input", self.rate_at("input", layer, layers), shared=gated),
            self.noise("recurrent", self.rate_at("recurrent", layer, layers), shared=gated),
        ]
        if where.last:
            noises.append(self.noise("output", self.rate_at("output", 0, 1), shared=time))
        return tuple(noises)
