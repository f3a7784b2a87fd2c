"""Contiguous streams for truncated back-propagation through time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Window = tuple[Tensor, Tensor]
"""Words and the words that follow them, both (T, B) int64."""


class Streams:
    """A text cut into `batch` streams that are read side by side, `length` steps at a time.

    Row b of each window goes on where row b of the window before ended, so a state can be carried. The last window may
    be shorter; what does not fill every stream is left out.

    Args:
        ids: word numbers, (N,).
        batch: B, the number of streams.
        length: T, the steps of a window.
    """

    def __init__(self, ids: NDArray[np.int64], batch: int, length: int) -> None:
        steps = (len(ids) - 1) // batch
        inputs, targets = (
            torch.from_numpy(np.ascontiguousarray(part.reshape(batch, steps).T))
            for part in (ids[: steps * batch], ids[1 : steps * batch + 1])
        )
        self._windows = [(inputs[t : t + length], targets[t : t + length]) for t in range(0, steps, length)]

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows)
