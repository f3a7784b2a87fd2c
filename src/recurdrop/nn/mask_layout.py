"""Where the examples of a batch are in a layer's input and in its masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def sizes_of(layer: Any, input: Tensor | PackedSequence) -> tuple[int, int]:
    """Return T and B of a recurrent layer's input, for its `sample_masks`."""
    if isinstance(input, PackedSequence):
        return len(input.batch_sizes), int(input.batch_sizes[0])
    if input.dim() == 2:
        return len(input), 1
    return input.shape[int(layer.batch_first)], input.shape[1 - layer.batch_first]


def side_by_side(masks: Iterable[Tensor], axis: int, batch: int) -> Tensor:
    """Put masks for `batch` examples each side by side along that axis, spread out over it where they share it."""
    return torch.cat([m.expand(*(batch if i == axis else -1 for i in range(m.dim()))) for m in masks], axis)
