"""Variational dropout as TensorFlow 1's `DropoutWrapper` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurdrop.errors import UndefinedSiteError
from recurdrop.methods.base import Method, Rate, rate
from recurdrop.plan import Noise, Where
from recurdrop.sites import Axis


@dataclass(frozen=True)
class TF1Variational(Method):
    """TensorFlow 1's `DropoutWrapper(variational_recurrent=True)`: one mask a window for the whole batch.

    Equation:
        a_k = W_k (x_t ⊙ z_x) + U_k (h_{t-1} ⊙ z_h) + b_k     for each gate k
        h_t ⊙ z_y goes up. z_x, z_h and z_y are bits divided by 1 - p, one row for all examples, gates and steps. c is
        not masked.
    Sites:
        `input`, `recurrent` and `output` of every layer, as with a wrapper around each cell. The output of one layer is
        the input of the next and is then dropped twice; give a list with 0 where your wrappers do not. TF1 masks the
        state that it stores; on LSTM and RNN only the gate products read h, so that is `recurrent`. A GRU also blends
        it into h_t, where the kept units grow as (1 - p)^-t: `state` above 0 is refused there.
    Shared over:
        Time, batch and gates. Layers and directions have masks of their own.
    Evaluation:
        Identity; in TF1 by feeding keep probabilities of 1, for the wrapper has no training flag.
    Source:
        tensorflow/tensorflow, `python/ops/rnn_cell_wrapper_impl.py`; the method is Gal & Ghahramani 2016,
        arXiv:1512.05287, who draw a mask for each example: `Variational`. The wrapper came without rates; 0.3 and 0.5
        are theirs for the large model.
    Authors' code:
        Takes keep probabilities, 1 - p. It does not mask the initial h_0, and hands back the masked h_n, so that a
        carried state meets the mask of the window before; here h_n is unmasked and every h_{t-1}, h_0 too, meets this
        window's. With h_0 = 0 all outputs are equal. In eager mode its mask is drawn once for the wrapper's life.
    """

    name: ClassVar[str] = "tf1_variational"
    cite: ClassVar[str] = "TensorFlow 1; Gal & Ghahramani 2016, arXiv:1512.05287"
    sharing: ClassVar[str] = "time, batch, gates"
    published_rates: ClassVar[dict[str, object]] = {"state": 0.3, "output": 0.5}
    by_default: ClassVar[bool] = False

    input: Rate = rate(0.0, "probability to drop on a layer's input, 1 - input_keep_prob, or one for each layer")
    state: Rate = rate(0.0, "probability to drop in the stored h, 1 - state_keep_prob, or one for each layer")
    output: Rate = rate(0.0, "probability to drop on a layer's output, 1 - output_keep_prob, or one for each layer")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Noise on the input, the recurrent connections and the output of every layer."""
        x, h, y = (self.rate_at(field, where.layer, where.num_layers) for field in ("input", "state", "output"))
        if h and where.blends_state:
            raise UndefinedSiteError(
                f"TF1Variational acts at the recurrent site; got a cell of kind {where.cell}, where TF1 also masks the "
                "h_{t-1} that is blended into h_t, and kept units grow as (1 - p)^-t. Leave state out, or use "
                "Variational, which masks the gate products alone."
            )
        row: frozenset[Axis] = frozenset({"time", "batch"})
        return (
            self.noise("input", x, shared=row | {"gate"}),
            self.noise("recurrent", h, shared=row | {"gate"}),
            self.noise("output", y, shared=row),
        )
