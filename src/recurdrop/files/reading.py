"""Settings of how a table is read: each names a guess that would be made without it."""

from __future__ import annotations

from dataclasses import dataclass

from recurdrop.errors import invalid
from recurdrop.tables import added_later

AUTO = "auto"
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
_CHOICES = {
    "delimiter": (AUTO, *DELIMITERS),
    "header": (AUTO, "yes", "no"),
    "decimal": (AUTO, "point", "comma"),
    "day_first": (AUTO, "yes", "no"),
    "undated": ("refuse", "drop"),
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a table is read. Whatever is "auto" is guessed from the file, and the guess is said.

    Attributes:
        delimiter: what parts the fields: "auto", "comma", "semicolon", "tab" or "pipe".
        header: whether the first line names the columns: "auto", "yes" or "no"; without it their names are numbers.
        encoding: as Python calls it, such as "cp1252" or "gbk"; "auto" to detect it.
        decimal: the sign in front of decimals: "auto", "point" or "comma".
        missing: further spellings of a value that is missing, besides an empty field and, among numbers, NA and such.
        day_first: whether 01/02/1980 is in February: "auto", "yes" or "no".
        undated: what becomes of a row without a date in the column of dates: "refuse" or "drop".

    Raises:
        ValueError: a setting breaks its rule.
    """

    delimiter: str = added_later(AUTO)
    header: str = added_later(AUTO)
    encoding: str = added_later(AUTO)
    decimal: str = added_later(AUTO)
    missing: tuple[str, ...] = added_later(())
    day_first: str = added_later(AUTO)
    undated: str = added_later("refuse")

    def check_reading(self) -> None:
        """Refuse a word that a setting does not have."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                rule = f"data.{name} must be one of {', '.join(choices)}"
                raise invalid(rule, getattr(self, name), "Choose one of them.")


AS_GUESSED = Reading()
"""Everything as by default."""
