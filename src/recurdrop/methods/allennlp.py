"""The dropout arguments of AllenNLP's LSTMs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from recurdrop.methods.base import Method, Rate, rate
from recurdrop.methods.locked import Locked
from recurdrop.methods.variational import Variational
from recurdrop.plan import Noise, Where


@dataclass(frozen=True)
class AllenNLP(Method):
    """AllenNLP's `recurrent_dropout_probability` and `layer_dropout_probability`.

    Equation:
        a_k = W_k x_t + U_k (h_{t-1} ⊙ z_h) + b_k     for each gate k
        h_t ⊙ z_y goes up to the next layer. z_h and z_y are bits divided by 1 - p, fixed for all t. It is
        Variational(recurrent=...) with Locked(between=...).
    Sites:
        `recurrent` of every layer, `output` of every layer but the last.
    Shared over:
        Time, and z_h over the gates. Examples, units, layers and directions have masks of their own.
    Evaluation:
        Identity.
    Source:
        allenai/allennlp 2.10, `modules/augmented_lstm.py`, `stacked_bidirectional_lstm.py`; the method is Gal &
        Ghahramani 2016, arXiv:1512.05287. 0.3 is the rate of its dependency parser.
    Authors' code:
        The same with `use_highway=False`; the highway connections of its default are no part of an LSTM. Up to version
        0.8.1 the mask was put on h_t itself, and so on the output and the state handed back. Where an example ends,
        its code cuts the gradient of the final state; here it flows.
    """

    name: ClassVar[str] = "allennlp"
    cite: ClassVar[str] = "AllenNLP 2.10; Gal & Ghahramani 2016, arXiv:1512.05287"
    sharing: ClassVar[str] = "time (recurrent: and gates)"
    published_rates: ClassVar[dict[str, object]] = {"recurrent_dropout_probability": 0.3}
    by_default: ClassVar[bool] = False

    recurrent_dropout_probability: Rate = rate(
        0.0, "probability to drop h_{t-1} on its way into the gates, or one for each layer"
    )
    layer_dropout_probability: Rate = rate(
        0.0, "probability to drop between layers, or one for each of the L - 1 connections"
    )

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """The recurrent part of `Variational` and what `Locked` puts between the layers."""
        recurrent = self.rate_at("recurrent_dropout_probability", where.layer, where.num_layers)
        parts = [
            *Variational(recurrent=recurrent).plan(where),
            *Locked(between=self.layer_dropout_probability).plan(where),
        ]
        ours = [n for n in parts if n.site == "recurrent" or (n.site == "output" and not where.last)]
        return tuple(replace(noise, method="AllenNLP") for noise in ours)
