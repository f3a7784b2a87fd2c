"""The two dropout arguments of Keras's recurrent layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, rate
from recurdrop.plan import Noise, Where
from recurdrop.sites import Axis


@dataclass(frozen=True)
class Keras(Method):
    """Keras's `dropout` and `recurrent_dropout`, as in Keras 3.8 and newer.

    Equation:
        a_k = W_k (x_t ⊙ z_x^k) + U_k (h_{t-1} ⊙ z_h^k) + b_k; bits divided by 1 - p, fixed for all t. The GRU's
        z ⊙ h_{t-1} is not masked.
    Sites:
        `input` (`dropout`) and `recurrent` (`recurrent_dropout`) of every layer.
    Shared over:
        Time. With `recurrent_dropout` above 0 each gate has masks of its own at both sites, as Keras's
        implementation 1, which it then forces; with `dropout` alone the gates share one.
    Evaluation:
        Identity.
    Source:
        keras-team/keras, `layers/rnn/dropout_rnn_cell.py`, `lstm.py`, `gru.py`; the method is Gal & Ghahramani 2016,
        arXiv:1512.05287. The rates 0.2, 0.2 are those of the weather forecasting example.
    Authors' code:
        Keras 3.0 to 3.7 tied the gates and let the masked h_{t-1} into the GRU's interpolation, so that states grew as
        (1 - p)^-t; here the state is never masked. Keras's LSTM and GRU ignore a rate of exactly 1; here it gives
        zeros.
    """

    name: ClassVar[str] = "keras"
    cite: ClassVar[str] = "Keras 3.8+; Gal & Ghahramani 2016, arXiv:1512.05287"
    sharing: ClassVar[str] = "time (and gates, without recurrent_dropout)"
    published_rates: ClassVar[dict[str, object]] = {"dropout": 0.2, "recurrent_dropout": 0.2}

    dropout: Rate = rate(0.0, "probability to drop on the input of a layer, or one for each layer")
    recurrent_dropout: Rate = rate(0.0, "probability to drop h_{t-1} on its way into the gates, or one for each layer")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Noise on the input and the recurrent connections of every layer."""
        p = self.rate_at("dropout", where.layer, where.num_layers)
        q = self.rate_at("recurrent_dropout", where.layer, where.num_layers)
        shared: frozenset[Axis] = frozenset({"time"}) if q else frozenset({"time", "gate"})
        return self.noise("input", p, shared=shared), self.noise("recurrent", q, shared=shared)
