"""Time series in tables: columns, missing values, times, split, scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.files.numbers import Numbers, read_numbers
from recurdrop.files.reading import AS_GUESSED, Reading
from recurdrop.files.tables import column
from recurdrop.files.times import Dates, Times, read_dates, read_epoch

if TYPE_CHECKING:
    import pandas as pd

_FORWARD = 0.9
_MOSTLY = 0.9
_TRUTHS = {"true": "1", "false": "0"}


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
        actual: (N,) float64, the target in its unit, what is missing filled.
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
    actual: NDArray[np.float64]
    replaced: Mapping[str, int]
    report: Mapping[str, str]

    @property
    def target(self) -> Tensor:
        """The target (N,), scaled."""
        return self.values[:, self.place]

    def in_unit(self, scaled: Tensor) -> Tensor:
        """Return values of the target in its unit, float64: float32 would round what is small beside its mean."""
        return scaled.double() * self.scale + self.center


def prepare(
    frame: pd.DataFrame,
    target: str,
    *,
    features: Sequence[str] = (),
    date: str | None = None,
    split: Sequence[float] = (0.7, 0.15, 0.15),
    sentinels: Sequence[float] = (-9999.0,),
    reading: Reading = AS_GUESSED,
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
        reading: how numbers and dates are read.

    Raises:
        ValueError: a column is missing or has no numbers, the target is constant, rows don't run from old to new,
            or there are fewer rows than the split needs; the message says what to do.
    """
    report: dict[str, str] = {}
    column(frame, target, "target")
    name, dates = _times(frame, date, target, reading)
    if name is not None and dates is not None:
        frame, dates = _dated(frame, dates, name, reading, report)
        _check_order(dates.times, name)
        report[name] = ", ".join(filter(None, (_told(dates.times), dates.said)))
    times = None if dates is None else dates.times
    numbers: dict[str, NDArray[np.float64]] = {}
    if features:
        for each in [*features, *([] if target in features else [target])]:
            numbers[each] = _chosen(column(frame, each, "features"), each, reading, report)
    else:
        for each in frame.columns:
            if each == target:
                numbers[each] = _chosen(frame[each], each, reading, report)
                continue
            if times is not None and each == name and not _is_numeric(frame[each], reading):
                continue
            read = _numbers(frame[each], reading)
            if len(read.wrong):
                report[each] = _why_no_numbers(frame[each], read)
                continue
            if _counts_rows(read.values):
                _check_count(read.values, each, has_times=times is not None or date == "")
                report[each] = "; ".join(filter(None, (report.get(each), "left out: it counts the rows")))
                continue
            _say(report, each, read)
            numbers[each] = read.values
    missing = {each: ~np.isfinite(x) | np.isin(x, list(sentinels)) for each, x in numbers.items()}
    for each in [each for each, gone in missing.items() if gone.all()]:
        if each == target:
            raise invalid("the target must have values", f"{target!r} without any", "Choose another column.")
        del numbers[each]
        report[each] = "left out: all values missing"
    replaced = {each: int(missing[each].sum()) for each in numbers if missing[each].any()}
    for each, count in replaced.items():
        how = report.get(each)
        report[each] = (
            f"{how}; " if how else ""
        ) + f"{count:,} of {len(frame):,} values missing, the last valid one in their place"
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
    place = list(filled).index(target)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        center, scale = values[: ends[0]].mean(0), values[: ends[0]].std(0)
        scaled = ((values - center) / scale).astype(np.float32)
    for each, x, finite in zip(
        filled, values.T, np.isfinite(scaled).all(0) & np.isfinite(scale) & (scale > 0), strict=True
    ):
        if not finite:
            given = f"values from {x.min():g} to {x.max():g}"
            remedy = "Give it another unit, or name such values among data.sentinels."
            raise invalid(f"column {each!r} must have values whose deviation can be told", given, remedy)
    return Series(
        tuple(filled),
        torch.from_numpy(scaled),
        place,
        torch.from_numpy(~missing[target]),
        float(center[place]),
        float(scale[place]),
        ends,
        times,
        values[:, place],
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


def _numbers(values: pd.Series, reading: Reading) -> Numbers:
    """Return a column as numbers, whether they stand in it as such, as truth values or as text."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(values):
        return Numbers(pd.to_numeric(values).to_numpy(dtype=np.float64, na_value=np.nan), np.array([], int), 0, "")
    text = values.fillna("").astype(str)
    lower = text.str.lower()
    return read_numbers(lower.map(_TRUTHS) if lower.isin(_TRUTHS).all() else text, reading.decimal, reading.missing)


def _is_numeric(values: pd.Series, reading: Reading) -> bool:
    return not len(_numbers(values, reading).wrong)


def _chosen(values: pd.Series, name: str, reading: Reading, report: dict[str, str]) -> NDArray[np.float64]:
    """Return a column that must hold numbers."""
    read = _numbers(values, reading)
    if len(read.wrong):
        rule = f"column {name!r} must hold numbers"
        remedy = "Choose another column, mend the field, or name its spelling in data.missing (see also data.decimal)."
        raise invalid(rule, f"{values.iloc[read.wrong[0]]!s} in row {read.wrong[0] + 1}", remedy)
    _say(report, name, read)
    return read.values


def _say(report: dict[str, str], name: str, read: Numbers) -> None:
    if read.said:
        report[name] = read.said


def _why_no_numbers(values: pd.Series, read: Numbers) -> str:
    if len(read.wrong) > (1 - _MOSTLY) * len(values):
        return "left out: not numbers"
    place = read.wrong[0]
    return f"left out: {values.iloc[place]!s:.40} in row {place + 1} is no number (data.missing, data.decimal)"


def _check_count(x: NDArray[np.float64], name: str, *, has_times: bool) -> None:
    """Refuse rows that are counted down: without a column of dates, such a table runs from new to old."""
    if not has_times and x[1] < x[0]:
        rule = f"rows must run from old to new by column {name!r}"
        remedy = 'Sort the table by it, or set data.date="" if it is no time.'
        raise invalid(rule, f"{x[0]:.15g} to {x[-1]:.15g}", remedy)


def _counts_rows(x: NDArray[np.float64]) -> bool:
    steps = np.diff(x)
    return len(x) > 2 and steps[0] != 0 and bool((steps == steps[0]).all())


def _filled(x: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    last = np.maximum.accumulate(np.where(missing, 0, np.arange(len(x))))
    first = int(np.argmin(missing))
    filled: NDArray[np.float64] = x[np.maximum(last, first)]
    return filled


def _times(frame: pd.DataFrame, date: str | None, target: str, reading: Reading) -> tuple[str | None, Dates | None]:
    """Return the column of the rows' times: the one that is named, else the first of dates, else of seconds."""
    if date == "":
        return None, None
    names = list(frame.columns) if date is None else [date]
    for name in names:
        dates = read_dates(column(frame, name, "date"), reading.day_first)
        if dates is not None:
            return name, dates
    for name in names:
        if name == target:
            continue
        read = _numbers(frame[name], reading)
        dates = None if len(read.wrong) else read_epoch(read.values)
        if dates is not None and (date is not None or _runs_one_way(dates.times)):
            return name, dates
    if date is not None:
        raise invalid(f"column {date!r} must hold dates", str(frame[date].iloc[0]), "Choose another column.")
    return None, None


def _runs_one_way(times: Times) -> bool:
    forward = float((np.diff(times) > np.timedelta64(0, "ns")).mean())
    return max(forward, 1 - forward) >= _FORWARD


def _dated(
    frame: pd.DataFrame, dates: Dates, name: str, reading: Reading, report: dict[str, str]
) -> tuple[pd.DataFrame, Dates]:
    """Return the rows that have a date, or refuse the table where one has none."""
    if not len(dates.undated):
        return frame, dates
    first = dates.undated[0]
    shown = f"{frame[name].iloc[first]!s:.40}".strip() or "an empty field"
    if reading.undated == "refuse":
        rule = f"every row must have a date in column {name!r}"
        remedy = 'Mend it, leave such rows out with data.undated="drop", or set data.date="" for no times.'
        raise invalid(rule, f"{shown} in row {first + 1}", remedy)
    report["left out"] = f"{len(dates.undated)} rows without a date in {name!r}, the first is row {first + 1}: {shown}"
    kept = np.delete(np.arange(len(frame)), dates.undated)
    return frame.iloc[kept], dates._replace(times=dates.times[kept], undated=dates.undated[:0])


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


def _told(times: Times) -> str:
    if len(times) < 2:
        return "times"
    usual = interval(times)
    gaps = int((np.diff(times) != usual).sum())
    minutes = usual / np.timedelta64(1, "m")
    text = f"{minutes / 1440:g} d" if minutes >= 1440 else f"{minutes:g} min"
    return f"times, {text} apart" + (f", {gaps} steps of another length" if gaps else "")
