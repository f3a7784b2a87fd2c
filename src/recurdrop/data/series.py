"""Time series in tables: columns, missing values, times, split, scale."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurdrop.data.tables import column
from recurdrop.errors import invalid

if TYPE_CHECKING:
    import pandas as pd

Times = NDArray[np.datetime64]
_GLANCE = 50
_FORWARD = 0.9


@dataclass(frozen=True, eq=False)
class Series:
    """A series in rows of equal distance, oldest first, every column with mean 0 and deviation 1 in the training rows.

    Attributes:
        columns: names of the F features.
        values: (N, F) float32.
        place: of the target among the columns.
        observed: (N,) bool, False where the target was missing and stands filled.
        center: mean of the target over the training rows, in its unit.
        scale: its standard deviation there.
        ends: the rows behind the last of the training, validation and test part.
        times: (N,) of the rows, None without a column of dates.
        replaced: how many values of a column were missing and are filled.
        report: what was found and done, by column, for people.
    """

    columns: tuple[str, ...]
    values: Tensor
    place: int
    observed: Tensor
    center: float
    scale: float
    ends: tuple[int, int, int]
    times: Times | None
    replaced: Mapping[str, int]
    report: Mapping[str, str]

    @property
    def target(self) -> Tensor:
        """The target (N,), scaled."""
        return self.values[:, self.place]

    def in_unit(self, scaled: Tensor) -> Tensor:
        """Return values of the target in its unit."""
        return scaled * self.scale + self.center


def prepare(
    frame: pd.DataFrame,
    target: str,
    *,
    features: Sequence[str] = (),
    date: str | None = None,
    split: Sequence[float] = (0.7, 0.15, 0.15),
    sentinels: Sequence[float] = (-9999.0,),
) -> Series:
    """Make a series of a table.

    A missing value (empty, NaN, infinite, or a sentinel) is replaced by the last valid one of its column, leading ones
    by the first valid one. Mean and standard deviation, with the divisor N, are of the training rows after that.

    Args:
        frame: rows from old to new.
        target: column to forecast.
        features: columns to forecast from, the target's own past being always among them; empty for every column of
            numbers but those that only count the rows. What is constant in the training rows is left out.
        date: column of the rows' times; None for the first that holds dates, "" for none.
        split: training, validation and test part, in this order: shares below 1, or numbers of rows.
        sentinels: numbers that stand for a missing value.

    Raises:
        ValueError: a column is missing or has no numbers, the target is constant, rows don't run from old to new,
            or there are fewer rows than the split needs; the message says what to do.
    """
    from pandas.api.types import is_numeric_dtype

    report: dict[str, str] = {}
    column(frame, target, "target")
    name, times = _times(frame, date)
    if name is not None and times is not None:
        report[name] = _told(times)
    numbers: dict[str, NDArray[np.float64]] = {}
    if features:
        chosen = [*features, *([] if target in features else [target])]
        numbers = {each: _numbers(column(frame, each, "features"), each) for each in chosen}
    else:
        for each in frame.columns:
            if each != target and not is_numeric_dtype(frame[each]):
                report.setdefault(each, "left out: not numbers")
                continue
            found = _numbers(frame[each], each)
            if each != target and _counts_rows(found):
                report[each] = "left out: it counts the rows"
                continue
            numbers[each] = found
    missing = {each: ~np.isfinite(x) | np.isin(x, list(sentinels)) for each, x in numbers.items()}
    for each in [each for each, gone in missing.items() if gone.all()]:
        if each == target:
            raise invalid("the target must have values", f"{target!r} without any", "Choose another column.")
        del numbers[each]
        report[each] = "left out: all values missing"
    replaced = {each: int(missing[each].sum()) for each in numbers if missing[each].any()}
    for each, count in replaced.items():
        report[each] = f"{count:,} of {len(frame):,} values missing, the last valid one in their place"
    ends = _ends(len(frame), split)
    filled = {each: _filled(x, missing[each]) for each, x in numbers.items()}
    for each, x in list(filled.items()):
        if np.ptp(x[: ends[0]]) > 0:  # a deviation of 0 may be rounded to something else
            continue
        if each == target:
            given = f"{target!r}, always {x[0]:g}"
            raise invalid("the target must vary in the training rows", given, "Choose another column, or more rows.")
        del filled[each]
        replaced.pop(each, None)
        report[each] = "left out: constant in the training rows"
    values = np.column_stack(list(filled.values()))
    center, scale = values[: ends[0]].mean(0), values[: ends[0]].std(0)
    place = list(filled).index(target)
    scaled = (values - center) / scale
    return Series(
        tuple(filled),
        torch.from_numpy(scaled.astype(np.float32)),
        place,
        torch.from_numpy(~missing[target]),
        float(center[place]),
        float(scale[place]),
        ends,
        times,
        replaced,
        report,
    )


def check_split(split: Sequence[float]) -> None:
    """Refuse what is neither three shares that sum to 1 or less nor three numbers of rows.

    Raises:
        ValueError: so it is.
    """
    shares = all(0 < part < 1 for part in split) and sum(split) <= 1 + 1e-9
    rows = all(part >= 1 and math.isfinite(part) and part == int(part) for part in split)
    if len(split) != 3 or not (shares or rows):
        rule = "split must be three shares that sum to 1 or less, or three numbers of rows"
        raise invalid(rule, tuple(split), "Give e.g. (0.7, 0.15, 0.15).")


def interval(times: Times) -> np.timedelta64:
    """Return the usual distance of neighbouring rows: the median."""
    median: np.timedelta64 = np.median(np.diff(times).astype(np.int64)).astype(np.int64).astype("timedelta64[ns]")
    return median


def _ends(rows: int, split: Sequence[float]) -> tuple[int, int, int]:
    check_split(split)
    if split[0] >= 1:
        if sum(split) > rows:
            raise invalid(f"split must need no more than the {rows} rows there are", tuple(split), "Lower it.")
        a, b, c = (int(end) for end in accumulate(split))
    else:
        a, b, c = (round(rows * share) for share in accumulate(split))
    if not 0 < a < b < c:
        raise invalid("every part of the split must have rows", (a, b - a, c - b), f"There are {rows} rows in all.")
    return a, b, min(c, rows)


def _numbers(values: pd.Series, name: str) -> NDArray[np.float64]:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    found: NDArray[np.float64] = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(found) & values.notna().to_numpy())
    if len(wrong):
        rule = f"column {name!r} must hold numbers"
        remedy = "Choose another column, or leave the field empty where there is no value."
        raise invalid(rule, f"{values.iloc[wrong[0]]!s} in row {wrong[0] + 1}", remedy)
    return found


def _counts_rows(x: NDArray[np.float64]) -> bool:
    steps = np.diff(x)
    return len(x) > 2 and steps[0] != 0 and bool((steps == steps[0]).all())


def _filled(x: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    last = np.maximum.accumulate(np.where(missing, 0, np.arange(len(x))))
    first = int(np.argmin(missing))
    filled: NDArray[np.float64] = x[np.maximum(last, first)]
    return filled


def _times(frame: pd.DataFrame, date: str | None) -> tuple[str | None, Times | None]:
    if date == "":
        return None, None
    if date is not None:
        times = _parsed(column(frame, date, "date"))
        if times is None:
            raise invalid(f"column {date!r} must hold dates", str(frame[date].iloc[0]), "Choose another column.")
        return date, times
    for name in frame.columns:
        times = _parsed(frame[name])
        if times is not None:
            return name, times
    return None, None


def _parsed(values: pd.Series) -> Times | None:
    """Return the dates in a column, None where it holds others things or numbers alone."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(values) or not len(values):
        return None
    for parsed in _readings(values):
        if parsed.isna().any():
            continue
        try:
            times: Times = pd.DatetimeIndex(parsed).tz_localize(None).as_unit("ns").to_numpy()
        except pd.errors.OutOfBoundsDatetime:  # names of months alone are read as of the year 1
            continue
        _check_order(times, str(values.name))
        return times
    return None


def _check_order(times: Times, name: str) -> None:
    """Refuse a shuffled table, and series one after the other; let clocks be set back and a few rows be swapped."""
    if len(times) < 2:
        return
    steps = np.diff(times)
    forward = int((steps > np.timedelta64(0, "ns")).sum())
    worst = int(steps.argmin())
    if forward < _FORWARD * len(steps):
        places, what = (0, -1), f"{{}} to {{}}, where {forward:,} of {len(steps):,} steps go forward"
    elif -2 * steps[worst] > times.max() - times.min():
        places, what = (worst, worst + 1), "{} is followed by {}"
    else:
        return
    rule = f"rows must run from old to new by column {name!r}, one moment each"
    given = what.format(*(str(times[place])[:19] for place in places))
    remedy = 'Sort the table by it, take one series of several, or name another column as date ("" for none).'
    raise invalid(rule, given, remedy)


def _readings(values: pd.Series) -> Iterator[Any]:
    """Yield a column as dates, month first and day first, with NaT for what is none."""
    import pandas as pd

    for day_first in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # dates whose form changes between rows
            for part in (values.iloc[:_GLANCE], values):  # text that is no date takes long
                try:
                    parsed = pd.to_datetime(part, errors="coerce", dayfirst=day_first)
                except ValueError:  # offsets that change with the clocks
                    parsed = pd.to_datetime(part, errors="coerce", dayfirst=day_first, utc=True)
                if parsed.isna().any():
                    break
        yield parsed


def _told(times: Times) -> str:
    if len(times) < 2:
        return "times"
    usual = interval(times)
    gaps = int((np.diff(times) != usual).sum())
    minutes = usual / np.timedelta64(1, "m")
    text = f"{minutes / 1440:g} d" if minutes >= 1440 else f"{minutes:g} min"
    return f"times, {text} apart" + (f", {gaps} steps of another length" if gaps else "")
