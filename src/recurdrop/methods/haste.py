"""The two regularizers of Haste's layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, rate
from recurdrop.methods.weightdrop import WeightDrop
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class Haste(Method):
    """Haste's `dropout` and `zoneout`: weight drop, and zoneout of h alone.

    Equation:
        U~ = U ⊙ M / (1 - dropout)                   M one matrix of bits a forward
        h_t = d ⊙ h_{t-1} + (1 - d) ⊙ h~_t           the bits d 1 with probability zoneout
        c is never zoned. It is WeightDrop(dropout) with Zoneout(c=0, h=zoneout).
    Sites:
        `weight_hh` and `zone_h` of every layer and direction.
    Shared over:
        M: time and batch. d: nothing.
    Evaluation:
        The raw matrix; for zoneout the expectation at every step, which is not "off".
    Source:
        lmnt-com/haste, `frameworks/pytorch/lstm.py`, `gru.py`, `base_rnn.py`; the methods are Merity et al. 2017,
        arXiv:1708.02182, and Krueger et al. 2017, arXiv:1606.01305. The rates 0.05 and 0.1 are those of its README.
    Authors' code:
        Its `dropout` is not what the word means elsewhere: no activation is dropped. One layer in one direction, no
        plain RNN. The release of July 2020, the last on PyPI, computes wrong gradients for the GRU's zoneout; its
        backward works in training mode only.
    """

    name: ClassVar[str] = "haste"
    cite: ClassVar[str] = "Haste 0.5; Merity et al. 2017, Krueger et al. 2017"
    sharing: ClassVar[str] = "nothing (weights: time, batch)"
    published_rates: ClassVar[dict[str, object]] = {"dropout": 0.05, "zoneout": 0.1}
    by_default: ClassVar[bool] = False

    dropout: Rate = rate(0.0, "probability to drop an element of the recurrent matrix, or one for each layer")
    zoneout: Rate = rate(0.0, "probability to keep h_{t-1}, or one for each layer")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Bits on the recurrent matrix, and bits that keep the old h."""
        p, z = (self.rate_at(field, where.layer, where.num_layers) for field in ("dropout", "zoneout"))
        weights = (replace(noise, method="Haste") for noise in WeightDrop(p).plan(where))
        return *weights, self.noise("zone_h", z, scaled=False, evaluation=z)
