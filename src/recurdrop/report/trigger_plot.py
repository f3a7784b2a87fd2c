"""A picture of a wave, the triggers in it, and what was detected, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from recurdrop.report.plots import BASE, METHOD, WORSE, png

TRUTH = "#009E73"


def trigger(
    wave: NDArray[Any],
    rate: int,
    probabilities: NDArray[Any],
    step: float,
    detections: Sequence[float],
    events: Sequence[float] | None = None,
    threshold: float = 0.5,
    title: str = "",
) -> bytes:
    """Draw a wave above the probability of the trigger, with events and detections marked in both.

    Args:
        wave: samples, (N,).
        rate: samples a second.
        probabilities: of each frame, (frames,); frame s ends at (s + 1) · `step`.
        step: seconds from frame to frame.
        detections: seconds.
        events: seconds at which triggers end; None where that is not known.
        threshold: of detections.
        title: drawn above, as plain text.
    """
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.2))
    seconds = len(wave) / rate
    above.plot(np.arange(len(wave)) / rate, wave, color=BASE, linewidth=0.5)
    above.set_ylabel("wave", fontsize=9)
    edges = np.arange(len(probabilities) + 1) * step
    below.stairs(probabilities, edges, color=METHOD, fill=True, alpha=0.25, linewidth=0)
    below.stairs(probabilities, edges, baseline=None, color=METHOD, linewidth=1.5)
    below.axhline(threshold, color=BASE, linewidth=1, linestyle=(0, (3, 2)))
    below.set(ylim=(0, 1.14), xlim=(0, seconds), yticks=(0, 0.5, 1))
    below.set_ylabel("probability", fontsize=9)
    below.set_xlabel("seconds", fontsize=9)
    for axes in (above, below):
        for time in events or ():
            axes.axvline(time, color=TRUTH, linewidth=1.6)
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    below.plot(detections, [1.07] * len(detections), "v", color=WORSE, markersize=7, clip_on=False)
    if title:
        above.set_title(title, fontsize=10, loc="left")
    figure.legend(handles=_handles(events is not None), loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    return png(figure)


def _handles(known: bool) -> list[Line2D]:
    found = [
        Line2D([], [], color=METHOD, linewidth=1.5, label="probability"),
        Line2D([], [], color=BASE, linewidth=1, linestyle=(0, (3, 2)), label="threshold"),
        Line2D([], [], color=WORSE, marker="v", linestyle="", label="detection"),
    ]
    return [*found, Line2D([], [], color=TRUTH, linewidth=1.6, label="trigger ends")] if known else found
