"""Every layout that torch's layers take, to padded (T, B, F) and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid
from recurdrop.tracing import exporting


@dataclass(frozen=True)
class Layout:
    """How a caller's sequences are laid out.

    Attributes:
        batch_first: (B, T, F) instead of (T, B, F).
        batched: False for one sequence (T, F).
        packed: the packed input, or None.
        places: (N,), t·B + b of each row of packed data, b in the caller's order.
    """

    batch_first: bool
    batched: bool = True
    packed: PackedSequence | None = None
    places: Tensor | None = None

    def restore(self, y: Tensor) -> Tensor | PackedSequence:
        """Lay out (T, B, F) as the caller's input was."""
        if self.packed is not None:
            rows = _Rows.apply(y.flatten(0, 1), self.places)  # type: ignore[no-untyped-call]
            return repacked(self.packed, rows)
        if not self.batched:
            return y.squeeze(1)
        return y.transpose(0, 1) if self.batch_first else y

    def restore_state(self, state: Tensor) -> Tensor:
        """Drop the batch axis of a state (L, B, H) where the caller's input had none."""
        return state if self.batched else state.squeeze(1)


def read(
    input: Tensor | PackedSequence, lengths: Tensor | list[int] | None, batch_first: bool
) -> tuple[Tensor, Tensor | None, Layout]:
    """Return x (T, B, F) in the caller's order of examples, lengths (B,) or None where all are T, and the layout.

    Steps past a length are set to 0, so that what lies there (NaN, say) can't reach any result or gradient.

    Raises:
        ValueError: lengths beside packed or unbatched input, or of the wrong shape, type or size.
    """
    if isinstance(input, PackedSequence):
        if lengths is not None:
            raise invalid("lengths= goes with padded input", "lengths and a PackedSequence", "Leave lengths out.")
        return _unpack(input, batch_first)
    if input.dim() == 2:
        if lengths is not None:
            raise invalid("lengths= goes with a batch", "one sequence (T, F)", "Leave lengths out.")
        return input.unsqueeze(1), None, Layout(batch_first, batched=False)
    x = input.transpose(0, 1) if batch_first else input
    if lengths is None:
        # As in torch's layers, the caller may change such an input in place before the backward, which reads the copy.
        copied = batch_first and torch.is_grad_enabled() and not exporting()
        return x.contiguous() if copied else x, None, Layout(batch_first)
    counts = _check_lengths(lengths, x)
    inside = torch.arange(len(x), device=x.device)[:, None] < counts
    return torch.where(inside[..., None], x, 0), counts, Layout(batch_first)


def _check_lengths(lengths: Tensor | list[int], x: Tensor) -> Tensor:
    time, batch = x.shape[:2]
    counts = torch.as_tensor(lengths, device=x.device)
    if counts.shape != (batch,) or counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool:
        raise invalid(
            f"lengths must hold one integer for each of the {batch} examples",
            f"shape {tuple(counts.shape)} of {counts.dtype}",
            "Give a tensor of int64 of shape (B,).",
        )
    if not torch.compiler.is_compiling() and batch and (int(counts.min()) < 0 or int(counts.max()) > time):
        raise invalid(f"lengths must lie in [0, {time}]", counts.tolist(), "Clip them, or pad the input further.")
    return counts.long()


def repacked(packed: PackedSequence, data: Tensor) -> PackedSequence:
    """Return a packed sequence of other data, laid out alike."""
    # Not by `_replace`: what Dynamo makes of that has a single part, the tuple of all parts.
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


def rows_of(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """Return the step t and the example b, in the caller's order, of each row of packed data; both on the CPU."""
    sizes = packed.batch_sizes
    order = torch.arange(int(sizes[0]), device="cpu") if packed.sorted_indices is None else packed.sorted_indices.cpu()
    steps = torch.repeat_interleave(torch.arange(len(sizes), device="cpu"), sizes)
    rank = torch.arange(len(steps), device="cpu") - (sizes.cumsum(0) - sizes)[steps]
    return steps, order[rank]


def _unpack(packed: PackedSequence, batch_first: bool) -> tuple[Tensor, Tensor | None, Layout]:
    """Spread the rows of packed data out in one pass; torch's own way takes one for each step and one to sort."""
    data, sizes = packed.data, packed.batch_sizes
    time, batch = len(sizes), int(sizes[0])
    steps, examples = rows_of(packed)
    places = (steps * batch + examples).to(data.device)
    x = data.new_zeros(time * batch, *data.shape[1:]).index_copy(0, places, data).unflatten(0, (time, batch))
    counts = None
    if int(sizes[-1]) < batch:
        counts = torch.bincount(examples, minlength=batch).to(data.device)
    return x, counts, Layout(batch_first, packed=packed, places=places)


class _Rows(torch.autograd.Function):
    """Rows of a tensor, each at most once. torch's own gradient of it adds rows up one by one."""

    @staticmethod
    def forward(y: Tensor, places: Tensor) -> Tensor:
        return y.index_select(0, places)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.rows = len(inputs[0])
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.rows, *gradient.shape[1:]).index_copy(0, places, gradient), None
