"""The plain RNN layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recurdrop.nn.base import NoiseLike, Regularized, WhichDetails
from recurdrop.sites import Masks


class RNN(Regularized, nn.RNN):
    r"""`torch.nn.RNN` with noise inside.

    One step, with every site; M multiplies, Z is the weight of the old value, primes are the step before:

        h~ = φ(W (x ⊙ M_input) + b + U (h' ⊙ M_recurrent) + b')       φ = tanh or ReLU
        h = Z_h ⊙ h' + (1 - Z_h) ⊙ h~         y = h ⊙ M_output

    With `noise=None` it is `torch.nn.RNN` itself, or gives its results up to rounding by compiled kernels that are
    faster. Its `state_dict` is torch's.

    Args:
        *args: as for `torch.nn.RNN`: input_size, hidden_size, num_layers=1, nonlinearity='tanh', bias=True,
            batch_first=False, dropout=0.0, bidirectional=False, device=None, dtype=None.
        noise: a method or a list of methods; None for none. `rnn.noise` may be reassigned at any time.
        backend: "auto", or the name of the one that must run: "native", "recompute", "torch", "eager" or "reference".
        **kwargs: the same by name.

    Raises:
        ValueError: what torch refuses; methods that exclude each other; an unknown backend.
        UndefinedSiteError: a method that RNN can't have.
    """

    torch_layer = nn.RNN

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
            output, h_n, as `torch.nn.RNN`, and `Details` if asked for.

        Raises:
            ValueError: lengths or masks that do not fit.
            BackendError: a forced backend that can't run this call.
        """
        return self._forward(input, hx, lengths, masks, details)
