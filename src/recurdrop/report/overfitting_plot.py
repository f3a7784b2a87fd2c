"""Overfitting and its cure in one picture: curves of training and validation, without and with regularization."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from recurdrop.errors import invalid
from recurdrop.report.plots import DOTTED, level, png

# Okabe and Ito's palette, as in `report.plots`; grey is the run without regularization.
COLORS = ("#7f7f7f", "#0072B2", "#D55E00", "#009E73", "#CC79A7")
_DASHED = (0, (3, 1.5))
_LONG = 45

Curves = tuple[Sequence[float], Sequence[float]]
"""Values after each epoch: on the training part, on the validation part."""


def overfitting_plot(
    runs: Mapping[str, Curves],
    *,
    baseline: tuple[str, float] | None = None,
    label: str = "loss",
    higher_is_better: bool = False,
) -> bytes:
    """Draw the runs on the same axes, the best epoch of each marked, and the baseline as a level line; return PNG.

    Args:
        runs: curves by the run's name, first that without regularization; up to five.
        baseline: a name and its value on the validation part.
        label: of the values, such as "MAE, degC".
        higher_is_better: which epoch is the best.

    Raises:
        ValueError: no runs or more than five, a run without epochs, or one whose curves differ in length.
    """
    if not 1 <= len(runs) <= len(COLORS):
        raise invalid(f"the picture holds 1 to {len(COLORS)} runs", len(runs), "Draw several pictures.")
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    handles: list[Line2D] = []
    levels: list[float] = []
    for (name, (train, valid)), color in zip(runs.items(), COLORS, strict=False):
        if len(train) != len(valid) or not len(valid):
            rule = f"run {name!r} must have one value of each part for every epoch, one or more"
            raise invalid(rule, (len(train), len(valid)), "Give curves of one length.")
        epochs = range(1, len(valid) + 1)
        axes.plot(epochs, train, color=color, linestyle=_DASHED, linewidth=1.3)
        axes.plot(epochs, valid, color=color, linewidth=1.9)
        best = (max if higher_is_better else min)(range(len(valid)), key=valid.__getitem__)
        axes.plot(best + 1, valid[best], "o", color=color, markersize=6)
        levels.append(valid[best])
        handles.append(Line2D([], [], color=color, linewidth=1.9, label=f"{name}, best {valid[best]:.4g}"))
    axes.set_ylim(_heights(runs.values(), levels))
    axes.set_xlim(left=max(axes.get_xlim()[0], 0.5))
    if baseline is not None:
        near = level(axes, baseline[1])
        text = f"{baseline[0]}, validation" if near else f"{baseline[0]}, {baseline[1]:.4g} (not in the picture)"
        handles.append(Line2D([], [], color="black", linewidth=1.3, linestyle=DOTTED if near else "", label=text))
    handles.append(Line2D([], [], color="black", linewidth=1.9, label="validation"))
    handles.append(Line2D([], [], color="black", linewidth=1.3, linestyle=_DASHED, label="training"))
    axes.set_xlabel("epoch (dot: best on validation)")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    columns = 1 if max(map(len, runs)) > _LONG else 2
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=9)
    return png(figure)


def _heights(runs: Iterable[Curves], best: Sequence[float]) -> tuple[float, float] | None:
    """Return the limits of all that is finite but the first tenth of the epochs, whose fall would flatten the rest."""
    late = [value for curves in runs for curve in curves for value in curve[len(curve) // 10 :]]
    shown = [value for value in (*late, *best) if math.isfinite(value)]
    if not shown or min(shown) == max(shown):
        return None
    margin = 0.05 * (max(shown) - min(shown))
    return min(shown) - margin, max(shown) + margin
