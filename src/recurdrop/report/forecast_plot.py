"""A picture of forecasts against what was observed."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recurdrop.errors import invalid
from recurdrop.report.plots import png

FORECAST, OBSERVED = "#0072B2", "black"
SHOWN = 1000


def forecast_plot(
    places: NDArray[Any],
    target: NDArray[Any],
    mean: NDArray[Any],
    low: NDArray[Any] | None = None,
    high: NDArray[Any] | None = None,
    *,
    label: str = "",
    level: float = 0.9,
    shown: int = SHOWN,
) -> bytes:
    """Draw observations, forecasts and their intervals over time; return PNG.

    Args:
        places: times (datetime64) or row numbers, (N,), rising.
        target: what was observed, (N,).
        mean: the forecast, (N,).
        low: lower ends of intervals, (N,), or None.
        high: their upper ends.
        label: of the values, such as "T (degC)".
        level: what share the intervals are to hold.
        shown: how many of the first values to draw; more than some thousand can't be told apart.

    Raises:
        ValueError: arrays of different lengths, or without values.
    """
    sizes = [len(each) for each in (places, target, mean, low, high) if each is not None]
    if len(set(sizes)) != 1 or not sizes[0] or (low is None) != (high is None):
        rule = "a forecast plot needs one place, observation and forecast for each value, and both ends or none"
        raise invalid(rule, sizes, "Give arrays of one length.")
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    axes = figure.subplots()
    x = places[:shown]
    if low is not None and high is not None:
        axes.fill_between(
            x, low[:shown], high[:shown], color=FORECAST, alpha=0.2, linewidth=0, label=f"{level:.0%} interval"
        )
    axes.plot(x, target[:shown], color=OBSERVED, linewidth=1.1, label="observed")
    axes.plot(x, mean[:shown], color=FORECAST, linewidth=1.5, label="forecast")
    if np.issubdtype(x.dtype, np.datetime64):
        locator = axes.xaxis.get_major_locator()
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axes.set_xlabel("row")
    axes.set_ylabel(label)
    _plain(axes)
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return png(figure)


def _plain(axes: Axes) -> None:
    axes.margins(x=0.01)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
