"""One picture of a measurement: how many times faster a training step is, case by case.

python -m benchmarks.picture runs/benchmarks.json docs/benchmarks.png
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.cases import CASES

# Okabe and Ito's palette, which colour-blind readers can tell apart.
SERIES = {
    ("padded", "R, variational 0.3"): ("torch.nn without noise", "#0072B2"),
    ("packed", "R, variational 0.3"): ("torch.nn without noise, packed lengths", "#56B4E9"),
    ("peers", "best peer ÷ ours"): (
        "the best peer with recurrent dropout (Keras on JAX or torch, cell loop)",
        "#E69F00",
    ),
}
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)
BAR, GAP = 0.26, 0.35

Values = dict[str, dict[str, float]]


def values(measured: Mapping[str, Any]) -> Values:
    """Return for each group the numbers by case, without what was wrong or not measured."""
    return {
        group: {
            row["case"]: row["value"]
            for row in measured["groups"].get(group, ())
            if row["about"] == about and row["value"] is not None and not row["wrong"]
        }
        for group, about in SERIES
    }


def _bars(axes: Axes, found: Values) -> tuple[list[float], list[str]]:
    """Draw the bars from the top down and return where each case's name goes."""
    places, names, y = [], [], 0.0
    for case in CASES:
        shown = [(group, color) for (group, _), (_, color) in SERIES.items() if case in found[group]]
        if not shown:
            continue
        places.append(y + BAR * (len(shown) - 1) / 2)
        names.append(str(CASES[case]))
        for group, color in shown:
            value = found[group][case]
            axes.barh(y, value - 1, BAR * 0.88, left=1, color=color, zorder=2)
            side = 1 if value >= 1 else -1
            text = f"{value:.1f}" if value >= 10 else f"{value:.2f}"
            axes.annotate(
                text,
                (value, y),
                (4 * side, 0),
                textcoords="offset points",
                va="center",
                ha="left" if side > 0 else "right",
                fontsize=8,
            )
            y += BAR
        y += GAP
    return places, names


def _subtitle(conditions: Mapping[str, Any]) -> str:
    threads = conditions["threads"]
    backend = "native" if "native" in conditions["backends"] else "PyTorch path"
    return (
        f"{conditions['processor']}, {threads} thread{'s' * (threads > 1)}, float32; "
        f"torch {conditions['torch']}, recurdrop {conditions['recurdrop']} ({backend}), "
        f"medians of {conditions['rounds']}"
    )


def picture(measured: Mapping[str, Any]) -> Figure:
    """Draw the ratios as bars from 1, on a logarithmic axis."""
    found = values(measured)
    everything = [value for by_case in found.values() for value in by_case.values()]
    if not everything:
        raise ValueError("the measurement has no ratio to draw; run it with the groups padded, packed and peers")
    cases = sum(any(case in by_case for by_case in found.values()) for case in CASES)
    figure = Figure(figsize=(8.6, 2 + cases * 0.72), layout="constrained")
    axes = figure.subplots()
    places, names = _bars(axes, found)
    axes.axvline(1, color="black", linewidth=0.9, zorder=3)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(0.95, *everything) / 1.05, max(2, *everything) * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.set_yticks(places, names, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("time of the other ÷ ours, measured in turns, on a logarithmic axis", fontsize=9)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    handles = [Line2D([], [], color=color, linewidth=7, label=label) for label, color in SERIES.values()]
    figure.suptitle(
        "A training step with Variational(recurrent=0.3): how many times as fast as", fontsize=12, fontweight="bold"
    )
    axes.set_title(_subtitle(measured["conditions"]), fontsize=8, color="#555555", loc="left")
    figure.legend(handles=handles, loc="outside lower center", ncols=1, frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    picture(json.loads(source.read_text())).savefig(target, dpi=130, metadata={"Software": None})
