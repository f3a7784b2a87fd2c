"""Plain dropout: Hinton et al. 2012, Srivastava et al. 2014."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, choice, rate
from recurdrop.plan import Noise, Where

SITES = ("input", "recurrent", "candidate", "cell", "output")


@dataclass(frozen=True)
class Dropout(Method):
    """Plain dropout: fresh bits for every step, example and unit, at one site of every layer.

    Equation:
        v ← v ⊙ m / (1 - p), m ~ Bernoulli(1 - p); v is x_t at the input, h_t at the output, h_{t-1} on its way into
        the gates at `recurrent`, g_t or n_t at `candidate`, c_t at `cell`.
    Sites:
        The one named by `site`, in every layer. At `output` (default) that is what `torch.nn.Dropout` after each
        layer does, the last one included. At `recurrent` it is the naive baseline of the literature. At `cell` the
        scale 1 / (1 - p) compounds over time: use `RNNDrop`.
    Shared over:
        Nothing; `Locked` shares over time.
    Evaluation:
        Identity.
    Source:
        Hinton et al. 2012, arXiv:1207.0580; Srivastava et al. 2014, JMLR 15:1929.
    Authors' code:
        Scaled at test time by 1 - p instead of in training; equal for feed-forward use.
    """

    name: ClassVar[str] = "dropout"
    cite: ClassVar[str] = "Srivastava et al. 2014, JMLR 15:1929"
    sharing: ClassVar[str] = "nothing"
    published_rates: ClassVar[dict[str, object]] = {"p": 0.5}

    p: Rate = rate(0.5, "probability to drop, or one for each layer")
    site: str = choice("output", SITES, "where: input, recurrent, candidate, cell or output")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Noise at one site of every layer."""
        shared = frozenset({"gate"})
        return (self.noise(self.site, self.rate_at("p", where.layer, where.num_layers), shared=shared),)
