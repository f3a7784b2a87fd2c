"""Every layout that torch's layers take, to padded (T, B, F) and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from recurdrop.errors import invalid


@dataclass(frozen=True)
class Layout:
    """How a caller's sequences are laid out.

    Attributes:
        batch_first: (B, T, F) instead of (T, B, F).
        batched: False for one sequence (T, F).
        packed: the packed input, or None.
    """

    batch_first: bool
    batched: bool = True
    packed: PackedSequence | None = None

    def restore(self, y: Tensor, lengths: Tensor | None) -> Tensor | PackedSequence:
        """Lay out (T, B, F) as the caller's input was; lengths are needed for packed input."""
        if self.packed is not None:
            return _pack_like(self.packed, y, lengths)
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
        x, counts = pad_packed_sequence(input)
        ragged = int(counts.min()) < len(x)
        return x, counts.to(x.device) if ragged else None, Layout(batch_first, packed=input)
    if input.dim() == 2:
        if lengths is not None:
            raise invalid("lengths= goes with a batch", "one sequence (T, F)", "Leave lengths out.")
        return input.unsqueeze(1), None, Layout(batch_first, batched=False)
    x = input.transpose(0, 1) if batch_first else input
    if lengths is None:
        return x, None, Layout(batch_first)
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


def _pack_like(packed: PackedSequence, y: Tensor, lengths: Tensor | None) -> PackedSequence:
    if packed.sorted_indices is not None:
        y = y.index_select(1, packed.sorted_indices)
    if lengths is None:
        data = y.flatten(0, 1)
    else:
        ordered = lengths if packed.sorted_indices is None else lengths[packed.sorted_indices]
        data = pack_padded_sequence(y, ordered.cpu()).data
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
