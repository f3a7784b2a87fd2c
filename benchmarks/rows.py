"""A row of the final table, and what every group of rows is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.cases import Target
from benchmarks.timing import Times


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        rounds: that count, of each candidate.
        threads: of torch, and of peers.
        wanted: whether a case is to be measured, by name.
    """

    rounds: int
    threads: int
    wanted: Callable[[str], bool]


@dataclass(frozen=True)
class Row:
    """One number and what it must reach.

    Attributes:
        case: its name.
        about: what was compared.
        value: the number; NaN where nothing was measured.
        target: what it must reach, or None where it is only reported.
        beside: further numbers, in the unit of `value` or with their own in the name.
        times: seconds of each candidate.
        wrong: how ours differed from the reference, or what else kept it from being timed.
    """

    case: str
    about: str
    value: float = math.nan
    target: Target | None = None
    beside: Mapping[str, float] = field(default_factory=dict)
    times: Mapping[str, Times] = field(default_factory=dict)
    wrong: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None without one, False for what is wrong."""
        if self.wrong:
            return False
        return None if self.target is None or math.isnan(self.value) else self.target.met(self.value, self.target.must)


Group = Callable[[Settings], Iterator[Row]]
