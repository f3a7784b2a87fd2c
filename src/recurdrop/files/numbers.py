"""Numbers as people write them: decimal commas, separators of thousands, spellings of what is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

MISSING = frozenset(
    {
        "na",
        "n/a",
        "#n/a",
        "n.a.",
        "n.a",
        "#na",
        "nan",
        "-nan",
        "null",
        "none",
        "nil",
        "<na>",
        "?",
        "???",
        ".",
        "..",
        "-",
        "--",
        "---",
        "–",
        "—",
        "\\n",
        "*",
        "missing",
    }
)
"""Spellings, in lower case, that stand for no value among numbers and dates."""
_POINT = re.compile(
    r"[+-]?([1-9]\d{0,2}(,\d{3})+|\d+)(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+([eE][+-]?\d+)?|[+-]?inf(inity)?",
    re.IGNORECASE,
)
_COMMA = re.compile(
    r"[+-]?([1-9]\d{0,2}(\.\d{3})+|\d+)(,\d*)?([eE][+-]?\d+)?|[+-]?,\d+([eE][+-]?\d+)?|[+-]?inf(inity)?",
    re.IGNORECASE,
)
_FORMS = {"point": _POINT, "comma": _COMMA}
_GROUPS = re.compile(r"(?<=\d)[  '’](?=\d{3}(?:\D|$))")


class Numbers(NamedTuple):
    """What a column is as numbers.

    Attributes:
        values: (N,) float64, NaN where a value is missing or wrong.
        wrong: places of what is neither a number nor missing.
        missing: how many are spelled as missing, empty fields left out.
        said: how the numbers were read, "" for plainly.
    """

    values: NDArray[np.float64]
    wrong: NDArray[np.int64]
    missing: int
    said: str


def blank(values: pd.Series, missing: Sequence[str] = ()) -> NDArray[np.bool_]:
    """Say of each text whether it stands for no value."""
    text = values.fillna("").astype(str).str.strip()
    gone: NDArray[np.bool_] = ((text == "") | text.str.lower().isin(MISSING) | text.isin(list(missing))).to_numpy(bool)
    return gone


def read_numbers(values: pd.Series, decimal: str = "auto", missing: Sequence[str] = ()) -> Numbers:
    """Read a column of texts as numbers.

    The decimal sign is that of the reading which more fields follow; where both follow as many, it is the point. A sign
    in groups of three digits, as in 1,234,567, parts thousands.
    """
    import pandas as pd

    gone = blank(values, missing)
    empty = (values.fillna("").astype(str).str.strip() == "").to_numpy(bool)
    text = values.fillna("").astype(str).str.strip()
    numbers = pd.to_numeric(text.where(~gone), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    # pandas takes hexadecimal and underscores for no numbers, as this does; it takes "1." and "inf" for numbers.
    failed = np.isnan(numbers) & ~gone
    spelled = int((gone & ~empty).sum())
    if not failed.any() and decimal != "comma":
        return Numbers(numbers, np.flatnonzero(failed), spelled, "")
    kept = text[~gone].map(lambda cell: _GROUPS.sub("", cell.replace("\u2212", "-")))
    fits = {sign: kept.map(lambda cell, form=form: form.fullmatch(cell) is not None) for sign, form in _FORMS.items()}
    sign = decimal if decimal != "auto" else ("comma" if fits["comma"].sum() > fits["point"].sum() else "point")
    plain = kept.str.replace("." if sign == "comma" else ",", "", regex=False)
    if sign == "comma":
        plain = plain.str.replace(",", ".", regex=False)
    numbers = np.full(len(values), np.nan)
    numbers[~gone] = pd.to_numeric(plain.where(fits[sign]), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(numbers) & ~gone)
    other = "." if sign == "comma" else ","
    said = f"decimal {sign}s" if sign == "comma" else ""
    if kept.str.contains(other, regex=False).any() or (kept != text[~gone]).any():
        said = f"decimal {sign}s, thousands parted"
    return Numbers(numbers, wrong, spelled, f"{said} (data.decimal)" if said else "")
