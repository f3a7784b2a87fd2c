"""Windows of a time series, cut when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.kinds.forecast.data import Series


@dataclass(frozen=True)
class Windows:
    """What an example is: rows t - (T - 1)·step, ..., t - step, t of every column, and the target at row t + horizon.

    Attributes:
        lookback: rows that a window spans; T = ⌈lookback / step⌉ of them are in it.
        step: rows from one in the window to the next.
        horizon: rows from the last one of the window to the target.
        stride: rows from one example to the next.

    Raises:
        ValueError: one of them is below 1, or `step` exceeds `lookback`.
    """

    lookback: int
    step: int
    horizon: int
    stride: int

    def __post_init__(self) -> None:
        for name in ("lookback", "step", "horizon", "stride"):
            if getattr(self, name) < 1:
                raise invalid(f"{name} must be 1 row or more", getattr(self, name), "Give a larger number.")
        if self.step > self.lookback:
            raise invalid(f"step must not exceed the lookback of {self.lookback} rows", self.step, "Lower it.")

    @property
    def offsets(self) -> Tensor:
        """The rows of a window less t, (T,), oldest first."""
        return torch.arange(0, self.lookback, self.step).neg().flip(0)

    def last_rows(self, series: Series, part: int) -> Tensor:
        """Return t of every example of a part, oldest first.

        An example belongs to the part that its target lies in. Its window may reach back into the part before, whose
        rows are known by then. Where the target is missing there is no example.

        Args:
            series: the series.
            part: 0 for training, 1 for validation, 2 for test.

        Raises:
            ValueError: the part has no example.
        """
        start, end = (0, *series.ends)[part : part + 2]
        reach = self.horizon - int(self.offsets[0])
        targets = torch.arange(min(max(start, reach), end), end, self.stride)
        targets = targets[series.observed[targets]]
        if not len(targets):
            name = ("training", "validation", "test")[part]
            rule = f"the {name} part must have an example, which takes {reach + 1} rows with its target"
            given = f"{end if part == 0 else end - start} rows"
            raise invalid(rule, given, "Lower --window (data.lookback) or --horizon, or give more rows.")
        return targets - self.horizon

    def cut(self, values: Tensor, last: Tensor) -> Tensor:
        """Return windows (B, T, F) of values (N, F), given their last rows (B,)."""
        return values[last[:, None] + self.offsets]


def spread_over(rows: Tensor, count: int) -> Tensor:
    """Return `count` of the rows, evenly from the first to the last; all if there are no more."""
    if count >= len(rows):
        return rows
    return rows[torch.linspace(0, len(rows) - 1, count).round().long()]


class WindowBatches(Sequence[tuple[Tensor, Tensor]]):
    """Batches of windows (B, T, F) and scaled targets (B,), each cut when it is asked for.

    Args:
        series: the series.
        windows: what an example is.
        last: the last rows of the examples in their order.
        batch: B; the last batch may be smaller.
    """

    def __init__(self, series: Series, windows: Windows, last: Tensor, batch: int) -> None:
        self._series, self._windows = series, windows
        self._rows = last.split(batch)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        last = self._rows[index]
        windows, series = self._windows, self._series
        return windows.cut(series.values, last), series.target[last + windows.horizon]
