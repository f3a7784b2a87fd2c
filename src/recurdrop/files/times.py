"""Moments of rows: dates as people write them, and seconds since 1970."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Times = NDArray[np.datetime64]
_GLANCE = 50
_MOSTLY = 0.9
_DIGITS = re.compile(r"(?:.*\d){3}")
_PARTS = r"^\s*(\d{1,2})[-/.](\d{1,2})[-/.](?:\d{4}|\d{2})(?!\d)"
_OFFSET = r":\d{2}.*?([+-]\d{2}:?\d{2}|Z)\s*$"
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = 10**8, 4 * 10**9
"""Seconds since 1970 in 1973 and in 2096: below and above, a number is no time."""


class Dates(NamedTuple):
    """What a column is as dates.

    Attributes:
        times: (N,), without zone, NaT where a row has none.
        undated: places of the rows without a date.
        said: how the dates were read, "" for plainly.
    """

    times: Times
    undated: NDArray[np.int64]
    said: str


def read_dates(values: pd.Series, day_first: str = "auto") -> Dates | None:
    """Read a column as dates; None where fewer than nine rows of ten hold one.

    Of two readings of 01/02/1980 it is the one with which rows are at equal distances; the month first where both are.

    Args:
        values: texts, or dates as Parquet has them.
        day_first: "auto", "yes" or "no".
    """
    import pandas as pd
    from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

    if is_numeric_dtype(values) or not len(values):
        return None
    if is_datetime64_any_dtype(values):
        return _dates(values, "")
    text = values.fillna("").astype(str).str.strip()
    glance = text.iloc[:_GLANCE]
    if glance.str.match(_DIGITS).sum() < _MOSTLY * len(glance) - 1:
        return None
    if pd.to_numeric(glance, errors="coerce").notna().sum() >= len(glance) / 2:
        return None  # numbers, such as years beside columns of months and days
    readings = []
    parts = text.str.extract(_PARTS).astype(float)
    for first in (False, True):
        day, month = (parts[0], parts[1]) if first else (parts[1], parts[0])
        wanted = {"yes": True, "no": False}.get(day_first)
        numbered = bool(parts[0].notna().any())
        if numbered and (wanted not in (None, first) or (month > 12).any() or (day > 31).any()):
            continue
        if not numbered and first:
            continue  # a year first, or months by name, read the same both ways
        try:
            found = _dates(_parsed(text, first), "")
        except (pd.errors.OutOfBoundsDatetime, OverflowError):  # names of months alone are read as of the year 1
            continue
        if len(found.undated) <= max(1, (1 - _MOSTLY) * len(text)) and len(found.undated) < len(text) / 2:
            readings.append((first, found))
    if not readings:
        return None
    first, best = max(readings, key=lambda reading: (-len(reading[1].undated), _regularity(reading[1].times)))
    if len(readings) > 1:
        best = best._replace(said=f"the {'day' if first else 'month'} first (data.day_first)")
    return best


def read_epoch(numbers: NDArray[np.float64]) -> Dates | None:
    """Read whole numbers as seconds since 1970, or thousandths, millionths and so on; None for other numbers."""
    known = numbers[np.isfinite(numbers)]
    if len(known) < 2 or (known != np.round(known)).any():
        return None
    for unit, factor in _UNITS.items():
        if (known >= _EPOCH[0] * factor).all() and (known <= _EPOCH[1] * factor).all():
            whole = np.where(np.isfinite(numbers), numbers, 0).astype(np.int64)
            times = whole.astype(f"datetime64[{unit}]").astype("datetime64[ns]")
            gone = ~np.isfinite(numbers)
            times[gone] = np.datetime64("NaT", "ns")
            return Dates(times, np.flatnonzero(gone), f"{unit} since 1970")
    return None


def _regularity(times: Times) -> float:
    """Return the share of steps that have the most frequent length and go forward."""
    steps = np.diff(times[~np.isnat(times)])
    if not len(steps):
        return 0.0
    days = np.round(steps / np.timedelta64(1, "D"), 6)
    months = (days >= 28) & (days <= 31)
    _, counts = np.unique(days[days > 0], return_counts=True)
    return float(max(counts.max(initial=0), months.sum())) / len(steps)


def _dates(parsed: Any, said: str) -> Dates:
    import pandas as pd

    times: Times = pd.DatetimeIndex(parsed).tz_localize(None).as_unit("ns").to_numpy()
    return Dates(times, np.flatnonzero(np.isnat(times)), said)


def _parsed(text: pd.Series, day_first: bool) -> Any:
    """Return a column as dates, with NaT for what is none; offsets that change within it are counted out."""
    import pandas as pd

    utc = text.str.extract(_OFFSET)[0].nunique() > 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # dates whose form changes between rows
        parsed = pd.to_datetime(text, errors="coerce", dayfirst=day_first, utc=utc)
        rest = parsed.isna() & text.str.match(_DIGITS)
        if rest.any():  # such as midnights without a clock
            others = pd.to_datetime(text[rest], errors="coerce", dayfirst=day_first, utc=utc, format="mixed")
            parsed = pd.Series(pd.DatetimeIndex(parsed).as_unit("ns"), index=text.index)
            if others.notna().any():
                others = pd.DatetimeIndex(others).as_unit("ns")
                zone = parsed.dt.tz
                others = others.tz_localize(zone) if others.tz is None and zone is not None else others
                parsed[rest] = others
    return parsed
