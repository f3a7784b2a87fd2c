"""Statistics over the seeds of a run: the mean, what lies around it, and its interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from recurdrop.records import Spread

# Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom; the last one serves all above (it is a
# little too wide there).
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def deviation(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation; the latter is NaN for one value, and both where a run diverged."""
    if not all(map(math.isfinite, values)):
        return Spread(math.nan, math.nan)
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan)


def interval(values: Sequence[float]) -> Spread:
    """Return mean and half of its 95 % interval by Student's t; the latter is NaN for one value."""
    spread = deviation(values)
    degrees = len(values) - 1
    if degrees < 1:
        return spread
    return Spread(spread.mean, _T95[min(degrees, len(_T95)) - 1] * spread.half / math.sqrt(len(values)))
