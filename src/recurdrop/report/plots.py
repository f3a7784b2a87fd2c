"""Pictures of a comparison as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from recurdrop.records import NONE, Row, RunRecord, Spread
from recurdrop.report.tables import best_baseline, named

# Okabe and Ito's palette, which colour-blind readers can tell apart; line style says train or validation as well.
METHOD, BASE, WORSE = "#0072B2", "#7f7f7f", "#D55E00"
LINES = (METHOD, WORSE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHED, DOTTED = (0, (3, 1.5)), (0, (1, 1.5))
_PANELS = 4


class _Curves(NamedTuple):
    """What curves are drawn of: the loss; the metric where a baseline has nothing else.

    Attributes:
        suffix: of the fields of `Point`.
        label: of the axis.
        baseline: the best one's name, "" without any.
        level: its value.
    """

    suffix: str
    label: str
    baseline: str
    level: float

    @classmethod
    def of(cls, rows: Sequence[Row], run: RunRecord) -> _Curves:
        best = best_baseline(rows, run.metric)
        if any(row.baseline and not math.isfinite(row.loss) for row in rows):
            suffix, label, level = "_metric", named(run.metric), best.valid.mean if best else math.nan
        else:
            suffix, label, level = "", f"loss, {run.loss_unit}", best.loss if best else math.nan
        return cls(suffix, label, best.method if best else "", level)


def _curve(axes: Axes, runs: Sequence[RunRecord], color: str, suffix: str) -> None:
    """Draw means over seeds against updates, with the range over seeds as a band."""
    steps = min(len(run.curve) for run in runs)
    updates = [point.update for point in runs[0].curve[:steps]]
    for part, style, width in (("train", DASHED, 1.3), ("valid", "-", 1.9)):
        values = np.array([[getattr(point, part + suffix) for point in run.curve[:steps]] for run in runs])
        dot = "o" if steps == 1 else ""
        axes.plot(updates, values.mean(0), color=color, linestyle=style, linewidth=width, marker=dot)
        axes.fill_between(updates, values.min(0), values.max(0), color=color, alpha=0.18, linewidth=0)


def _color(difference: Spread) -> str:
    """Return the colour of better or worse where the interval leaves out 0, grey where it doesn't or is unknown."""
    if not abs(difference.mean) > difference.half:
        return BASE
    return METHOD if difference.mean < 0 else WORSE


def _panel(axes: Axes, row: Row, runs: dict[str, list[RunRecord]], what: _Curves) -> None:
    _curve(axes, runs[NONE], BASE, what.suffix)
    if row.method != NONE:
        _curve(axes, runs[row.method], METHOD, what.suffix)
    axes.set_title(row.method, fontsize=10, loc="left")
    if row.difference is not None and math.isfinite(row.difference.mean):
        text = f"{row.difference.mean:+.3f}".replace("-", "−")
        axes.set_title(text, fontsize=9, loc="right", color=_color(row.difference))
    _plain(axes)


def level(axes: Axes, value: float) -> bool:
    """Draw a baseline where it leaves the curves at least half of the height; say whether it was drawn."""
    low, high = axes.get_ylim()
    near = 2 * low - high <= value <= 2 * high - low
    if near:
        axes.axhline(value, color="black", linestyle=DOTTED, linewidth=1.3)
    return near


def _plain(axes: Axes) -> None:
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _handles(what: _Curves, drawn: bool) -> list[Line2D]:
    lines = [
        Line2D([], [], color=METHOD, linewidth=1.9, label="method, validation"),
        Line2D([], [], color=METHOD, linewidth=1.3, linestyle=DASHED, label="method, train"),
        Line2D([], [], color=BASE, linewidth=1.9, label="none, validation"),
        Line2D([], [], color=BASE, linewidth=1.3, linestyle=DASHED, label="none, train"),
    ]
    if math.isfinite(what.level):
        label = f"{what.baseline}, {what.level:.4g}{'' if drawn else ' (not in the picture)'}"
        lines.append(Line2D([], [], color="black", linewidth=1.3, linestyle=DOTTED if drawn else "", label=label))
    return lines


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, all its text as it stands: a dollar in the name of a column starts no mathematics."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def _by_method(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    runs: dict[str, list[RunRecord]] = {}
    for record in records:
        runs.setdefault(record.method, []).append(record)
    return runs


def curve(row: Row, rows: Sequence[Row], records: Sequence[RunRecord]) -> bytes:
    """Draw training and validation of one method against none's, and the best baseline."""
    what = _Curves.of(rows, records[0])
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    _panel(axes, row, _by_method(records), what)
    handles = _handles(what, level(axes, what.level))
    axes.set_xlabel("optimizer updates")
    axes.set_ylabel(what.label)
    axes.legend(handles=handles[2 * (row.method == NONE) :], frameon=False, fontsize=9)
    return png(figure)


def curves(rows: Sequence[Row], records: Sequence[RunRecord]) -> bytes:
    """Draw one small panel a method, best first, each against none's curves and the best baseline, on the same axes."""
    runs, what = _by_method(records), _Curves.of(rows, records[0])
    ran = [row for row in rows if not row.baseline]
    shown = [row for row in ran if row.method != NONE] or ran
    columns = min(_PANELS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(max(2.6 * columns, 6.4), 2.2 * lines + 0.8), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, row in zip(grid.flat, shown, strict=False):
        _panel(axes, row, runs, what)
    drawn = [level(axes, what.level) for axes in grid.flat[: len(shown)]]
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in grid.flat[: len(shown)][-columns:]:
        axes.tick_params(labelbottom=True)
    handles = _handles(what, any(drawn))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(columns + 1, 5), frameon=False, fontsize=9)
    figure.supxlabel("optimizer updates", fontsize=9)
    figure.supylabel(what.label, fontsize=9)
    return png(figure)


def ranking(rows: Sequence[Row], records: Sequence[RunRecord]) -> bytes:
    """Draw each method's paired difference to none with its 95 % interval, best on top."""
    shown = [row for row in rows if row.difference is not None and math.isfinite(row.difference.mean)]
    figure = Figure(figsize=(7.2, 0.28 * len(shown) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(shown):
        if row.difference is not None:
            half = 0.0 if math.isnan(row.difference.half) else row.difference.half
            color = _color(row.difference)
            axes.errorbar(row.difference.mean, place, xerr=half, fmt="o", markersize=5, capsize=3, color=color)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [row.method for row in shown])
    axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    axes.set_xlabel(f"validation loss less that of none, {records[0].loss_unit} (left is better)")
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return png(figure)


def rates(records: Sequence[RunRecord]) -> bytes | None:
    """Draw validation loss at the best epoch against each rate of which there are several, one line a method.

    Returns:
        The picture; None where no method ran at several rates.
    """
    runs = _by_method(records)
    lines = rate_lines(records)
    if not lines:
        return None
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    for i, (name, points) in enumerate(lines.items()):
        losses = [(rate, [run.best.valid for run in runs[label]]) for rate, label in points]
        color = LINES[i % len(LINES)]
        axes.plot(*zip(*((rate, np.mean(found)) for rate, found in losses), strict=True), color=color, label=name)
        for rate, found in losses:
            axes.plot([rate] * len(found), found, "o", color=color, markersize=4, alpha=0.6)
    none = float(np.mean([run.best.valid for run in runs[NONE]]))
    axes.axhline(none, color=BASE, linestyle=DASHED, linewidth=1.3, label=NONE)
    _plain(axes)
    axes.set_xlabel("rate")
    axes.set_ylabel(f"validation loss, {records[0].loss_unit}")
    axes.legend(frameon=False, fontsize=9)
    return png(figure)


def rate_lines(records: Sequence[RunRecord]) -> dict[str, list[tuple[float, str]]]:
    """Return rates and labels along each line: runs of one method that differ in one argument, or in equal ones."""
    methods: dict[str, dict[str, dict[str, Any]]] = {}
    for record in records:
        methods.setdefault(record.noise.partition("(")[0], {})[record.method] = record.arguments
    lines: dict[str, list[tuple[float, str]]] = {}
    for method, runs in methods.items():
        first = next(iter(runs.values()))
        varied = [key for key in first if any(values[key] != first[key] for values in runs.values())]
        joint = all(len({repr(values[key]) for key in varied}) == 1 for values in runs.values())
        for keys in [tuple(varied)] if joint and varied else [(key,) for key in varied]:
            for label, values in runs.items():
                others = (f"{key} {values[key]}" for key in varied if key not in keys and values[key] is not None)
                fixed = ", ".join(others)
                if isinstance(values[keys[0]], float):
                    name = f"{method}, {' = '.join(keys)}" + (f" ({fixed})" if fixed else "")
                    lines.setdefault(name, []).append((values[keys[0]], label))
    return {name: sorted(points) for name, points in lines.items() if len(points) > 1}
