"""Dropout of whole sequences outside the recurrent layers: locked, and of any noise shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid
from recurdrop.masks import draw_keep, inverted
from recurdrop.nn.noise_module import NoiseModule, Sequences, data_of, multiplier_dtype, multiply
from recurdrop.nn.sequences import rows_of


class LockedDropout(NoiseModule):
    """Dropout whose mask is the same at every step of a sequence.

    Equation:
        y_t = x_t ⊙ m / (1 - p), the bits m 0 with probability p; m (B, F), for all t.
    Shared over:
        Time. Each example and feature has its own bit; `Dropout(p, noise_shape=...)` has other sharings.
    Evaluation:
        Off: y = x. p = 0 draws nothing; p = 1 gives zeros.
    Source:
        Gal & Ghahramani 2016, arXiv:1512.05287; under this name Merity et al. 2018, arXiv:1708.02182. Between and
        around rd.LSTM, rd.GRU and rd.RNN, `rd.Locked` does the same inside the layer.
    Authors' code:
        The first release of awd-lstm-lm drew (T, 1, F) for (T, B, F): fresh at each step and shared by the batch.
        Its numbers of August 2017 were made that way.

    Args:
        p: the probability to drop, in [0, 1]; as an attribute, may be reassigned at any time.
        batch_first: whether tensors are (B, T, F) rather than (T, B, F), as in torch's recurrent layers. It is not
            guessed: with the wrong one, the mask would be shared by examples and fresh at each step.

    Raises:
        ValueError: p outside [0, 1].
    """

    def __init__(self, p: float = 0.5, *, batch_first: bool = False) -> None:
        super().__init__(p)
        self.batch_first = batch_first

    @property
    def batch_axis(self) -> int:
        """The axis of examples."""
        return 0 if self.batch_first else 1

    def forward(self, input: Sequences, *, mask: Tensor | None = None) -> Any:
        """Drop features of whole sequences.

        Args:
            input: (T, B, F), (B, T, F) with `batch_first`, one sequence (T, F), or a `PackedSequence`, in which row r
                of step t has the mask of its example.
            mask: what `sample_mask` returned: this mask, in training and evaluation alike.

        Returns:
            What the input was, dropped.

        Raises:
            ValueError: an input of other axes or of integers, or a mask that does not fit.
        """
        mask = self._mask(input, mask, data_of(input).shape)
        return input if mask is None else multiply(input, mask)

    def _draw(self, input: Sequences, generator: torch.Generator | None) -> Tensor:
        x = data_of(input)
        dtype, packed = multiplier_dtype(x), isinstance(input, PackedSequence)
        if x.dim() not in ((2,) if packed else (2, 3)):
            name = type(self).__name__
            raise invalid(f"{name} takes (T, B, F), (B, T, F) or (T, F)", tuple(x.shape), "Merge feature axes first.")
        if isinstance(input, PackedSequence):
            batch = int(input.batch_sizes[0])
        else:
            batch = x.shape[self.batch_axis] if x.dim() == 3 else 1
        keep = draw_keep(self.p, (batch, x.shape[-1]), device=x.device, generator=generator)
        mask = inverted(keep, self.p, dtype)
        if isinstance(input, PackedSequence):
            return mask[rows_of(input)[1].to(x.device)]
        if x.dim() == 2:
            return mask
        return mask.unsqueeze(1 - self.batch_axis)

    def extra_repr(self) -> str:
        """Return the arguments, for the module's text."""
        return f"p={self.p:g}, batch_first={self.batch_first}"


class SpatialDropout1D(LockedDropout):
    """Locked dropout by its name in Keras: whole channels of channels-last sequences are dropped.

    Equation:
        As `LockedDropout`; with `batch_first=True` that is Keras's layer, whose noise shape is (B, 1, F).
    Shared over:
        Time.
    Evaluation:
        Off.
    Source:
        Tompson et al. 2015, arXiv:1411.4280, who drop channels of images; Keras's `SpatialDropout1D` for sequences.
        Torch's `nn.Dropout1d` takes (B, F, T): on (B, T, F) it drops whole steps instead.

    Args:
        p: the probability to drop a channel, in [0, 1].
        batch_first: True for (B, T, F), Keras's only layout, False for (T, B, F). Without a default, since Keras and
            torch's recurrent layers differ.

    Raises:
        ValueError: p outside [0, 1].
    """

    def __init__(self, p: float = 0.5, *, batch_first: bool) -> None:
        super().__init__(p, batch_first=batch_first)


class Dropout(NoiseModule):
    """Dropout with a mask shared over any axes, as Keras's `Dropout(rate, noise_shape)`.

    Equation:
        y = x ⊙ m / (1 - p), the bits m 0 with probability p; m has the noise shape.
    Shared over:
        The axes that have 1 in `noise_shape`. On (B, T, F): (None, 1, None) is locked dropout, (None, None, 1) drops
        whole steps, (1, None, None) shares one mask among the examples. With None, nothing is shared.
    Evaluation:
        Off: y = x. p = 0 draws nothing; p = 1 gives zeros.
    Source:
        Srivastava et al. 2014, JMLR 15. Unlike `torch.nn.Dropout` its mask is a value (`sample_mask`, `mask=`), and
        the same on CPU and GPU for one seed.

    Args:
        p: the probability to drop, in [0, 1]; as an attribute, may be reassigned at any time.
        noise_shape: for each axis of the input its size, None for the same, or 1 to share; None for no sharing.

    Raises:
        ValueError: p outside [0, 1], or a noise shape with anything but None and integers above 0.
    """

    def __init__(self, p: float = 0.5, *, noise_shape: Sequence[int | None] | None = None) -> None:
        super().__init__(p)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        for size in self.noise_shape or ():
            if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
                raise invalid("noise_shape holds None and integers above 0", noise_shape, "Give 1 to share an axis.")

    def forward(self, input: Sequences, *, mask: Tensor | None = None) -> Any:
        """Drop elements.

        Args:
            input: a tensor with as many axes as the noise shape; a `PackedSequence` if that is None.
            mask: what `sample_mask` returned: this mask, in training and evaluation alike.

        Returns:
            What the input was, dropped.

        Raises:
            ValueError: an input that the noise shape does not broadcast to, or of integers; a mask that does not fit.
        """
        mask = self._mask(input, mask, data_of(input).shape)
        return input if mask is None else multiply(input, mask)

    def _draw(self, input: Sequences, generator: torch.Generator | None) -> Tensor:
        x = data_of(input)
        dtype, shape = multiplier_dtype(x), self._shape(input, x)
        sizes = (math.prod(shape[:-2]), *shape[-2:]) if len(shape) > 2 else shape
        keep = draw_keep(self.p, sizes, device=x.device, generator=generator)
        return inverted(keep, self.p, dtype).reshape(shape)

    def _shape(self, input: Sequences, x: Tensor) -> tuple[int, ...]:
        if self.noise_shape is None:
            return tuple(x.shape)
        if isinstance(input, PackedSequence):
            raise invalid("a noise shape goes with padded tensors", "a PackedSequence", "Use LockedDropout for it.")
        if len(self.noise_shape) == x.dim():
            shape = tuple(n if s is None else s for s, n in zip(self.noise_shape, x.shape, strict=True))
            if all(s in (1, n) for s, n in zip(shape, x.shape, strict=True)):
                return shape
        raise invalid(
            f"the input must have the axes of noise_shape={self.noise_shape}",
            tuple(x.shape),
            "Give one entry for each axis: None, 1, or the axis's size.",
        )

    def extra_repr(self) -> str:
        """Return the arguments, for the module's text."""
        return f"p={self.p:g}, noise_shape={self.noise_shape}"
