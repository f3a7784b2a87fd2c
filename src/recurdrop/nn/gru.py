"""The GRU layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recurdrop.nn.base import NoiseLike, Regularized, WhichDetails
from recurdrop.sites import Masks


class GRU(Regularized, nn.GRU):
    r"""`torch.nn.GRU` with noise inside.

    One step, with every site; M multiplies, Z is the weight of the old value, primes are the step before:

        r, z = σ(a_r), σ(a_z), a_k = W_k (x ⊙ M_input^k) + b_k + U_k (h' ⊙ M_recurrent^k) + b'_k
        n = tanh(W_n (x ⊙ M_input^n) + b_n + r ⊙ (U_n (h' ⊙ M_recurrent^n) + b'_n))
        h~ = (1 - z) ⊙ (n ⊙ M_candidate) + z ⊙ h'
        h = Z_h ⊙ h' + (1 - Z_h) ⊙ h~         y = h ⊙ M_output

    The reset gate acts after the product, as in torch, cuDNN and Keras's default. With `noise=None` it is
    `torch.nn.GRU` itself, or gives its results up to rounding by compiled kernels that are faster. Its `state_dict` is
    torch's.

    Args:
        *args: as for `torch.nn.GRU`: input_size, hidden_size, num_layers=1, bias=True, batch_first=False,
            dropout=0.0, bidirectional=False, device=None, dtype=None.
        noise: a method or a list of methods; None for none. `rnn.noise` may be reassigned at any time.
        backend: "auto", or the name of the one that must run: "native", "recompute", "torch", "eager" or "reference".
        **kwargs: the same by name.

    Raises:
        ValueError: what torch refuses; methods that exclude each other; an unknown backend.
        UndefinedSiteError: a method that GRU can't have.
    """

    torch_layer = nn.GRU

    def __init__(self, *args: Any, noise: NoiseLike = None, backend: str = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._attach(noise, backend)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        masks: Sequence[Masks] | None = None,
        details: WhichDetails = False,
    ) -> Any:
        """Run the layer; arguments as for `LSTM.forward`, with hx one tensor h_0 (D·L, B, H).

        Returns:
            output, h_n, as `torch.nn.GRU`, and `Details` if asked for.

        Raises:
            ValueError: lengths or masks that do not fit.
            BackendError: a forced backend that can't run this call.
        """
        return self._forward(input, hx, lengths, masks, details)
