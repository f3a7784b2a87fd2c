"""The curves of one run as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recurdrop.records import Metric, Point
from recurdrop.report.plots import BASE, METHOD, WORSE, png


def curve(
    points: Sequence[Point],
    title: str,
    metric: Metric,
    baselines: Mapping[str, float] = {},
    published: float | None = None,
) -> bytes:
    """Draw the metric on training and validation part after each epoch, and what it must beat.

    Args:
        points: one an epoch.
        title: above the picture.
        metric: what the curves show.
        baselines: the metric of each, drawn as dotted lines; one that is beyond three times the worst epoch is not.
        published: the value to reach on the validation part, drawn as a dashed line.

    Returns:
        A PNG.
    """
    name, unit, digits = metric.name, metric.unit, metric.digits
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    epochs = range(1, len(points) + 1)
    axes.plot(epochs, [p.train_metric for p in points], color=METHOD, linestyle=(0, (3, 1.5)), label="train")
    axes.plot(epochs, [p.valid_metric for p in points], color=METHOD, linewidth=1.9, label="validation")
    worst = max((abs(p.valid_metric) for p in points if math.isfinite(p.valid_metric)), default=math.nan)
    for label, value in baselines.items():
        if abs(value) <= 3 * worst:
            axes.axhline(value, color=BASE, linestyle=":", label=f"{label}, {value:.{digits}f}")
    if published is not None:
        axes.axhline(published, color=WORSE, linestyle="--", linewidth=1, label=f"published, {published:.{digits}f}")
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{name}, {unit}" if unit else name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return png(figure)
