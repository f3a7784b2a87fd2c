"""What the modules around the recurrent layers share: a rate, a mask of their own, and one draw a training forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid
from recurdrop.methods.base import real
from recurdrop.nn.given_masks import given_masks
from recurdrop.nn.sequences import repacked

Sequences = Tensor | PackedSequence


class NoiseModule(nn.Module):
    """A module with a mask, drawn from one integer of torch's generator in each training forward.

    A subclass says how its mask is drawn (`_draw`) and what it does (`forward`). At evaluation, and at p = 0, nothing
    is drawn and nothing happens.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    @property
    def p(self) -> float:
        """The probability to drop, in [0, 1]; may be reassigned at any time."""
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        self._p = real(f"p of {type(self).__name__}", p, high=1)

    @property
    def batch_axis(self) -> int | None:
        """The axis of the input's examples; None where the module takes any layout."""
        return None

    def sample_mask(self, input: Sequences, *, generator: torch.Generator | None = None) -> Tensor | None:
        """Draw the mask of one training forward, to be given as `mask=`.

        Args:
            input: what the forward takes; of a float tensor, only its sizes, dtype and device are read.
            generator: torch's default CPU generator if None.

        Returns:
            What broadcasts to the input (of a `PackedSequence`: to its data); None at p = 0. After the same
            `torch.manual_seed`, it is what a training forward draws.
        """
        return self._draw(input, generator) if self.p > 0 else None

    def _draw(self, input: Sequences, generator: torch.Generator | None) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not say how its mask is drawn: define _draw(input, generator).")

    def _mask(self, input: Sequences, given: Tensor | None, shape: torch.Size) -> Tensor | None:
        """Return the mask given if it broadcasts to `shape`, else a drawn one in training, else None."""
        if given is None and self.training:
            given = given_masks(self, input)
        if given is None:
            return self.sample_mask(input) if self.training else None
        fits = given.dim() <= len(shape)
        if not (fits and all(n in (1, m) for n, m in zip(reversed(given.shape), reversed(shape), strict=False))):
            raise invalid(
                f"the mask of {type(self).__name__} must broadcast to {tuple(shape)}",
                tuple(given.shape),
                "Take what sample_mask returns for this input.",
            )
        return given

    def extra_repr(self) -> str:
        """Return the rate, for the module's text."""
        return f"p={self.p:g}"


def data_of(input: Sequences) -> Tensor:
    """Return the tensor that holds the elements."""
    return input.data if isinstance(input, PackedSequence) else input


def multiplier_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of a multiplier: at least float32, since 1 / (1 - p) is off by up to 0.4 % in bfloat16.

    Raises:
        ValueError: the input has no fractions.
    """
    if not (x.is_floating_point() or x.is_complex()):
        raise invalid("dropout multiplies floating-point numbers", str(x.dtype), "Embed token numbers first.")
    return torch.promote_types(x.dtype, torch.float32)


def multiply(input: Sequences, mask: Tensor) -> Sequences:
    """Multiply, and give the result the input's layout and dtype."""
    x = data_of(input)
    y = (x * mask).to(x.dtype)
    return repacked(input, y) if isinstance(input, PackedSequence) else y
