"""What a method is: checked numbers, and a plan for each layer. A method knows sites, not cells."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from recurdrop.errors import UndefinedSiteError, invalid
from recurdrop.plan import Noise, Where, check_cell
from recurdrop.sites import CELLS, SITES, Cell

if TYPE_CHECKING:
    from typing_extensions import Self

Rate = float | Sequence[float]
"""A probability in [0, 1], or one for each place that it governs."""


def real(name: str, value: object, *, high: float = math.inf, open_high: bool = False) -> float:
    """Return `value` as a float in [0, high], or in [0, high) if `open_high`.

    Any real number type will do: Python's, NumPy's, a tensor or array without axes.

    Raises:
        ValueError: a bool, string, NaN, infinity, or a number out of range.
    """
    number: object = value
    if _axes(value) == 0:
        number = value.item()  # type: ignore[attr-defined]
    ok = isinstance(number, numbers.Real) and not isinstance(number, bool)
    if ok and math.isfinite(number) and (0 <= number < high or (number == high and not open_high)):  # type: ignore[arg-type, operator]
        return float(number)  # type: ignore[arg-type]
    bracket = ")" if open_high else "]"
    rule = f"{name} must be a number " + (f"in [0, {high:g}{bracket}" if high < math.inf else "of 0 or more")
    remedy = (
        "Give the probability to drop (for zoneout: to keep the old value), e.g. 0.5"
        if high == 1
        else "Give a standard deviation, e.g. 0.075"
    )
    raise invalid(rule, value, remedy + ".")


def rates(name: str, value: object, *, open_high: bool = False) -> float | tuple[float, ...]:
    """Return `value` as a probability, or a tuple of one for each place.

    Raises:
        ValueError: as for `real`; an empty list.
    """
    if _axes(value) == 1:
        value = value.tolist()  # type: ignore[attr-defined]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if not value:
            raise invalid(f"{name} must be a number or a list with one number a place", value, "Give 0 for no noise.")
        return tuple(real(f"{name}[{i}]", v, high=1, open_high=open_high) for i, v in enumerate(value))
    return real(name, value, high=1, open_high=open_high)


def _axes(value: object) -> int | None:
    """Return how many axes a tensor or array has; None for anything else. It needs neither torch nor NumPy."""
    is_array = hasattr(value, "item") and hasattr(value, "tolist")
    return value.ndim if is_array and isinstance(getattr(value, "ndim", None), int) else None  # type: ignore[attr-defined]


def _field(default: Any, check: Callable[[str, Any], Any], doc: str, **metadata: Any) -> Any:
    return dataclasses.field(default=default, metadata={"check": check, "doc": doc, **metadata})


def rate(default: Rate | None, doc: str, *, optional: bool = False, open_high: bool = False) -> Any:
    """Declare a field that holds a probability, or one for each place."""

    def check(name: str, value: object) -> float | tuple[float, ...] | None:
        return None if optional and value is None else rates(name, value, open_high=open_high)

    return _field(default, check, doc, rate=True)


def deviation(default: float, doc: str) -> Any:
    """Declare a field that holds a standard deviation."""
    return _field(default, real, doc, deviation=True)


def choice(default: str, options: Sequence[str], doc: str) -> Any:
    """Declare a field that holds one of a few words."""

    def check(name: str, value: object) -> str:
        if value not in options or not isinstance(value, str):
            raise invalid(f"{name} must be one of {', '.join(map(repr, options))}", value, "Choose one of them.")
        return value

    return _field(default, check, doc, options=tuple(options))


def switch(default: bool, doc: str) -> Any:
    """Declare a field that is on or off."""

    def check(name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise invalid(f"{name} must be True or False", value, "Give a bool.")
        return value

    return _field(default, check, doc, options=(True, False))


def at(name: str, value: Rate, index: int, count: int) -> float:
    """Return the rate for place `index` of the `count` places that `value` governs.

    Raises:
        ValueError: a list whose length is not `count`.
    """
    if not isinstance(value, Sequence):
        return value
    if len(value) != count:
        raise invalid(
            f"{name} governs {count} place{'s' * (count != 1)} in this stack and must have as many values",
            list(value),
            "Give one number for all, or a list of that length.",
        )
    return value[index]


def times(value: Rate | None, factor: float) -> Rate | None:
    """Return a rate, or each of several, multiplied; None for None."""
    if value is None:
        return None
    return tuple(v * factor for v in value) if isinstance(value, Sequence) else value * factor


@dataclass(frozen=True)
class Method:
    """Base of every method: a frozen dataclass whose fields are checked when it is made.

    A subclass says which noise it puts where (`plan`), and describes itself: `name` for the command line, `cite`,
    `sharing`, `published_rates` with which `published()` makes it, and a docstring with the sections that
    `recurdrop methods` prints. `by_default` is False where it only spells another library's arguments: `compare` then
    runs it when it is named.
    """

    name: ClassVar[str]
    cite: ClassVar[str]
    sharing: ClassVar[str]
    published_rates: ClassVar[Mapping[str, Any]] = {}
    by_default: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check = field.metadata.get("check")
            if check is not None:
                label = f"{field.name} of {type(self).__name__}"
                object.__setattr__(self, field.name, check(label, getattr(self, field.name)))

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Return the noise that this method puts into the layer `where`."""
        raise TypeError(f"{type(self).__name__} does not say where its noise enters: define plan(where).")

    def noise(self, site: str, rate: float, **rest: Any) -> Noise:
        """Make a `Noise` that carries this method's name."""
        return Noise(site, rate, method=type(self).__name__, **rest)

    def rate_at(self, field: str, index: int, count: int) -> float:
        """Return the rate in `field` for place `index` of `count`."""
        return at(f"{field} of {type(self).__name__}", getattr(self, field), index, count)

    def explicit(self, where: Where) -> Self:
        """Return the method with what it fills in for the layer `where` written out."""
        return self

    def scaled(self, factor: float) -> Self:
        """Return the method with every rate and deviation multiplied by `factor`; a rate of None stays None.

        Raises:
            ValueError: the class has no field made by `rate` or `deviation`, or a product breaks its rule.
        """
        fields = [f.name for f in dataclasses.fields(self) if f.metadata.keys() & {"rate", "deviation"}]
        if not fields:
            raise invalid(
                "a method whose noise is scaled needs rates", type(self).__name__, "Declare its fields with rate()."
            )
        return dataclasses.replace(self, **{name: times(getattr(self, name), factor) for name in fields})

    @classmethod
    def published(cls) -> Self:
        """Return the method at the rates that its authors published."""
        return cls(**cls.published_rates)

    @classmethod
    def cells(cls) -> tuple[Cell, ...]:
        """Return the kinds of cell on which the method is defined."""
        return tuple(cell for cell in CELLS if cls._fits(Where(cell, 0, 2)))

    @classmethod
    def _fits(cls, where: Where) -> bool:
        try:
            for noise in cls.published().plan(where):
                check_cell(noise.method, noise.site, where)
        except UndefinedSiteError:
            return False
        return True

    @classmethod
    def sites(cls) -> tuple[str, ...]:
        """Return the sites at which the published form acts, over both layers of a stack of two."""
        cell = (cls.cells() or CELLS)[0]
        found = {n.site for layer in (0, 1) for n in cls.published().plan(Where(cell, layer, 2))}
        return tuple(site for site in SITES if site in found)
