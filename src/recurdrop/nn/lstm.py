"""The LSTM layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recurdrop.nn.base import NoiseLike, Regularized, WhichDetails
from recurdrop.sites import Masks


class LSTM(Regularized, nn.LSTM):
    r"""`torch.nn.LSTM` with noise inside.

    One step, with every site; M multiplies, Z is the weight of the old value, primes are the step before:

        a_k = W_k (x ⊙ M_input^k) + b_k + U_k (h' ⊙ M_recurrent^k) + b'_k          k in i, f, g, o
        i, f, o = σ(a_i), σ(a_f), σ(a_o)      g = tanh(a_g) ⊙ M_candidate
        c~ = (f ⊙ c' + i ⊙ g) ⊙ M_cell        h~ = W_hr (o ⊙ tanh(c~))               W_hr only with proj_size
        c = Z_c ⊙ c' + (1 - Z_c) ⊙ c~         h = Z_h ⊙ h' + (1 - Z_h) ⊙ h~          y = h ⊙ M_output

    With `noise=None` it is `torch.nn.LSTM` itself, random stream included (but for `dropout=` under `torch.compile`,
    which `masks` draws), or gives its results up to rounding by compiled kernels that are faster. Its `state_dict` is
    torch's.

    Args:
        *args: as for `torch.nn.LSTM`: input_size, hidden_size, num_layers=1, bias=True, batch_first=False,
            dropout=0.0, bidirectional=False, proj_size=0, device=None, dtype=None.
        noise: a method or a list of methods; None for none. `rnn.noise` may be reassigned at any time.
        backend: "auto", or the name of the one that must run: "native", "recompute", "torch", "eager" or "reference".
        **kwargs: the same by name.

    Raises:
        ValueError: what torch refuses; methods that exclude each other; an unknown backend.
        UndefinedSiteError: a method that LSTM can't have.
    """

    torch_layer = nn.LSTM

    def __init__(self, *args: Any, noise: NoiseLike = None, backend: str = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._attach(noise, backend)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        masks: Sequence[Masks] | None = None,
        details: WhichDetails = False,
    ) -> Any:
        """Run the layer.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, (T, I), or a `PackedSequence`.
            hx: (h_0, c_0) of shapes (D·L, B, P) and (D·L, B, H), without B for one sequence; zeros if None.
            lengths: (B,) integers in [0, T], for padded input that is not packed; outputs past a length are 0, and an
                example of length 0 hands its state through.
            masks: what `sample_masks` returned: this noise, in training and evaluation alike.
            details: return a third value, `Details`; "raw" leaves out its `c`, which torch's kernels do not give.

        Returns:
            output, (h_n, c_n), as `torch.nn.LSTM`; output is y of the last layer, the states are h and c.

        Raises:
            ValueError: lengths or masks that do not fit.
            BackendError: a forced backend that can't run this call.
        """
        return self._forward(input, hx, lengths, masks, details)
