"""Pictures of a comparison as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from recurdrop.records import NONE, Row, RunRecord

# Okabe and Ito's palette, which colour-blind readers can tell apart; line style says train or validation as well.
METHOD, BASE, WORSE = "#0072B2", "#7f7f7f", "#D55E00"
_PANELS = 4


def _curve(axes: Axes, runs: Sequence[RunRecord], color: str) -> None:
    """Draw mean losses over seeds against updates, with the range over seeds as a band."""
    steps = min(len(run.curve) for run in runs)
    updates = [point.update for point in runs[0].curve[:steps]]
    for part, style, width in (("train", (0, (3, 1.5)), 1.3), ("valid", "-", 1.9)):
        losses = np.array([[getattr(point, part) for point in run.curve[:steps]] for run in runs])
        axes.plot(updates, losses.mean(0), color=color, linestyle=style, linewidth=width)
        axes.fill_between(updates, losses.min(0), losses.max(0), color=color, alpha=0.18, linewidth=0)


def _panel(axes: Axes, row: Row, runs: dict[str, list[RunRecord]]) -> None:
    _curve(axes, runs[NONE], BASE)
    if row.method != NONE:
        _curve(axes, runs[row.method], METHOD)
    axes.set_title(row.method, fontsize=10, loc="left", parse_math=False)
    if row.difference is not None and math.isfinite(row.difference.mean):
        text = f"{row.difference.mean:+.3f}".replace("-", "−")
        axes.set_title(text, fontsize=9, loc="right", color=METHOD if row.difference.mean < 0 else WORSE)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], color=METHOD, linewidth=1.9, label="method, validation"),
        Line2D([], [], color=METHOD, linewidth=1.3, linestyle=(0, (3, 1.5)), label="method, train"),
        Line2D([], [], color=BASE, linewidth=1.9, label="none, validation"),
        Line2D([], [], color=BASE, linewidth=1.3, linestyle=(0, (3, 1.5)), label="none, train"),
    ]


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def _by_method(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    runs: dict[str, list[RunRecord]] = {}
    for record in records:
        runs.setdefault(record.method, []).append(record)
    return runs


def curve(row: Row, records: Sequence[RunRecord]) -> bytes:
    """Draw training and validation loss of one method against none's."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    _panel(axes, row, _by_method(records))
    axes.set_xlabel("optimizer updates")
    axes.set_ylabel("loss, nats per token")
    axes.legend(handles=_handles()[2 * (row.method == NONE) :], frameon=False, fontsize=9)
    return png(figure)


def curves(rows: Sequence[Row], records: Sequence[RunRecord]) -> bytes:
    """Draw one small panel a method, best first, each against none's curves, all on the same axes."""
    runs = _by_method(records)
    shown = [row for row in rows if row.method != NONE] or list(rows)
    columns = min(_PANELS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(max(2.6 * columns, 6.4), 2.2 * lines + 0.8), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, row in zip(grid.flat, shown, strict=False):
        _panel(axes, row, runs)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in grid.flat[: len(shown)][-columns:]:
        axes.tick_params(labelbottom=True)
    figure.legend(handles=_handles(), loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    figure.supxlabel("optimizer updates", fontsize=9)
    figure.supylabel("loss, nats per token", fontsize=9)
    return png(figure)


def ranking(rows: Sequence[Row]) -> bytes:
    """Draw each method's paired difference to none with its 95 % interval, best on top."""
    shown = [row for row in rows if row.difference is not None and math.isfinite(row.difference.mean)]
    figure = Figure(figsize=(7.2, 0.28 * len(shown) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(shown):
        if row.difference is not None:
            half = 0.0 if math.isnan(row.difference.half) else row.difference.half
            color = METHOD if row.difference.mean + half < 0 else WORSE if row.difference.mean - half > 0 else BASE
            axes.errorbar(row.difference.mean, place, xerr=half, fmt="o", markersize=5, capsize=3, color=color)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [row.method for row in shown], parse_math=False)
    axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    axes.set_xlabel("validation loss less that of none, nats per token (left is better)")
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return png(figure)
