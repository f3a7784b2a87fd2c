"""From tables of plain values, as TOML and JSON have them, to dataclasses of settings: all mistakes at once."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_LONGEST = 100
"""Characters of a value that a message shows."""


def read_settings(cls: type[T], table: Mapping[str, Any], where: str, problems: list[str]) -> T | None:
    """Make a dataclass from a table.

    Args:
        cls: a dataclass whose fields are int, float, bool, str, tuples of them, or one of these or None.
        table: its values by field; whole numbers serve as floats, lists as tuples.
        where: the table's name, for messages.
        problems: gets a line for each key that there is not, value of another type, key that is missing, and rule of
            the class that is broken.

    Returns:
        The dataclass; None if there was a problem.
    """
    before = len(problems)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints, values = get_type_hints(cls), {}
    for key, value in table.items():
        if key not in fields:
            problems.append(f"{where} has no {key!r}{closest(key, fields)}")
        elif _fits(value, hints[key]):
            values[key] = _converted(value, hints[key])
        else:
            problems.append(f"{where}.{key} must be {type_name(hints[key])}; got {_shown(value)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in table:
            problems.append(f"{where}.{name} is missing")
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return None


def closest(key: str, known: Iterable[str]) -> str:
    """Return ", did you mean …?" for a key much like one that is known, else the known ones."""
    known = list(known)
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"


def plain(settings: Any) -> dict[str, Any]:
    """Return a dataclass of settings as a table that `read_settings` takes, without what is as by default."""
    found = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if repr(getattr(settings, field.name)) != repr(field.default)
    }
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def added_later(default: Any) -> Any:
    """Declare a setting that came to its class after runs had been saved without it.

    `identity` leaves it out while it has its default, so that runs which were saved before it existed still open.

    Args:
        default: the value with which everything is as it was before the setting existed.
    """
    return dataclasses.field(default=default, metadata={"added_later": True})


def identity(settings: Any) -> str:
    """Return a text that is the same for the same settings, in whichever version of this library they were made.

    It is the dataclass's `repr` without the fields that are declared with `added_later` and have their default.
    """
    shown = (
        f"{field.name}={getattr(settings, field.name)!r}"
        for field in dataclasses.fields(settings)
        if not (field.metadata.get("added_later") and repr(getattr(settings, field.name)) == repr(field.default))
    )
    return f"{type(settings).__qualname__}({', '.join(shown)})"


def type_name(hint: Any) -> str:
    """Say what a value of a type is, for people."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "nothing"}
    return " or ".join(
        f"a list, each {type_name(get_args(choice)[0])}" if get_origin(choice) is tuple else names[choice]
        for choice in _choices(hint)
        if choice is not types.NoneType
    )


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    for choice in _choices(hint):
        if get_origin(choice) is tuple:
            if isinstance(value, list | tuple) and all(_fits(item, get_args(choice)[0]) for item in value):
                return True
        elif choice is float:
            if isinstance(value, int | float) and not isinstance(value, bool) and _has_bits(value):
                return True
        elif isinstance(value, choice) and isinstance(value, bool) == (choice is bool) and _has_bits(value):
            return True
    return False


def _has_bits(value: Any) -> bool:
    """Return whether a number is none of those that TOML can write and no computer computes with."""
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _shown(value: Any) -> str:
    """Return a value as a line can hold it."""
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _converted(value: Any, hint: Any) -> Any:
    choices = _choices(hint)
    if isinstance(value, list | tuple):
        (inner,) = (choice for choice in choices if get_origin(choice) is tuple)
        return tuple(_converted(item, get_args(inner)[0]) for item in value)
    return float(value) if isinstance(value, int) and float in choices and int not in choices else value
