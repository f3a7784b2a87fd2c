"""Noise on the weight matrices, shared by the methods that use it."""

from __future__ import annotations

from typing import Any

from recurdrop.errors import invalid
from recurdrop.methods.base import Method
from recurdrop.plan import Noise
from recurdrop.sites import Axis

UNITS = ("element", "row", "column")
_SHARED: dict[str, frozenset[Axis]] = {
    "element": frozenset(),
    "row": frozenset({"column"}),
    "column": frozenset({"row"}),
}


def check_matrices(name: str, hh: bool, ih: bool) -> None:
    """Refuse weight noise without a matrix.

    Raises:
        ValueError: both switches are off.
    """
    if not (hh or ih):
        raise invalid(f"{name} needs a matrix to act on", "hh=False, ih=False", "Set hh=True or ih=True.")


def on_matrices(
    method: Method, rate: float, *, hh: bool, ih: bool, unit: str = "element", per_example: bool = False, **rest: Any
) -> tuple[Noise, ...]:
    """Put noise on W_hh, W_ih or both of a layer."""
    shared = _SHARED[unit] if per_example else _SHARED[unit] | {"batch"}
    sites = ["weight_hh"] * hh + ["weight_ih"] * ih
    return tuple(method.noise(site, rate, shared=shared, **rest) for site in sites)
