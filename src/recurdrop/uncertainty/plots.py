"""Pictures of calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recurdrop.errors import invalid
from recurdrop.uncertainty.calibration import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

# Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_GREY = "#7f7f7f"


def plot_coverage(
    levels: Sequence[float], shares: Mapping[str, Tensor | Sequence[float]], *, axes: Axes | None = None
) -> Axes:
    """Draw the share of observations inside intervals against the intervals' levels.

    Args:
        levels: nominal levels, rising.
        shares: for each curve its label and one share a level, as `coverage` gives.
        axes: where to draw; a new figure if None.

    Returns:
        The axes; `axes.figure.savefig(path)` writes them.

    Raises:
        ValueError: a curve with another number of shares than levels.
        ModuleNotFoundError: matplotlib is missing; the extra `report` has it.
    """
    axes = _axes(axes, "nominal level of the interval", "share of observations inside")
    for color, (label, values) in zip(_COLORS * len(shares), shares.items(), strict=False):
        if len(values) != len(levels):
            raise invalid(f"{label!r} must have one share a level", len(values), f"There are {len(levels)} levels.")
        heights = [0.0, *map(float, values)]
        axes.plot([0, *levels], heights, "o-", color=color, linewidth=1.9, markersize=4, label=label)
    axes.legend(frameon=False, fontsize=9)
    return axes


def plot_reliability(reliability: Reliability, *, axes: Axes | None = None) -> Axes:
    """Draw accuracy against confidence, a bar for each bin that is not empty, and the expected calibration error.

    Args:
        reliability: from `rd.uncertainty.reliability`.
        axes: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is missing; the extra `report` has it.
    """
    axes = _axes(axes, "confidence", "accuracy")
    edges, counts, confidence, accuracy = (part.cpu().numpy() for part in reliability)
    filled = counts > 0
    confidence, accuracy = confidence[filled], accuracy[filled]
    axes.bar(
        edges[:-1][filled],
        accuracy,
        (edges[1:] - edges[:-1])[filled],
        align="edge",
        color=_COLORS[0],
        alpha=0.35,
        edgecolor=_COLORS[0],
    )
    axes.plot(confidence, accuracy, "o", color=_COLORS[0], markersize=4)
    axes.set_title(f"expected calibration error {reliability.error:.3f}", fontsize=10, loc="left")
    return axes


def _axes(axes: Any, x: str, y: str) -> Any:
    if axes is None:
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('plots need matplotlib: pip install "recurdrop[report]"') from error
        axes = Figure(figsize=(4.4, 4.2), layout="constrained").subplots()
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=(0, (3, 2)), label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=x, ylabel=y, aspect="equal")
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes
