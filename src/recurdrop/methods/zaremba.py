"""Non-recurrent dropout: Pham et al. 2013, Zaremba et al. 2014."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, at, rate
from recurdrop.methods.places import in_places
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class Zaremba(Method):
    """Non-recurrent dropout: every connection that goes up, none that goes through time.

    Equation:
        a_t^l = W^l D(h_t^{l-1}) + U^l h_{t-1}^l + b, with h^0 the input and D(v) = v ⊙ m / (1 - p), fresh m for every
        step, example and unit; the prediction reads D(h_t^L).
    Sites:
        `input` of the first layer, `output` of every layer: L + 1 places, each connection dropped once.
    Shared over:
        Nothing.
    Evaluation:
        Identity.
    Source:
        Zaremba, Sutskever, Vinyals 2014, arXiv:1409.2329, eq. 7-9; Pham et al. 2013, arXiv:1312.4569. Their medium
        model has p = 0.5, the large one 0.65.
    Authors' code:
        The same. torch's `dropout=` is the part between the layers only.
    """

    name: ClassVar[str] = "zaremba"
    cite: ClassVar[str] = "Zaremba et al. 2014, arXiv:1409.2329"
    sharing: ClassVar[str] = "nothing"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.5}

    p: Rate = rate(0.5, "probability to drop, or one for each of the L + 1 places from the input up")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Noise on the input, between the layers and on the last output."""
        count = where.num_layers + 1
        rates = [at("p of Zaremba", self.p, i, count) for i in range(count)]
        return in_places(self, where, frozenset(), input=rates[0], between=tuple(rates[1:-1]) or 0.0, output=rates[-1])
