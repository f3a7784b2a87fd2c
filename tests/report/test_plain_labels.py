from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from recurdrop.records import NONE, Metric, Point, Row, RunRecord, Spread
from recurdrop.report import curve_plot, plots
from recurdrop.report.forecast_plot import forecast_plot
from recurdrop.report.overfitting_plot import overfitting_plot
from recurdrop.report.trigger_plot import trigger

WRONG = r"price [$\frac$]"  # can't be drawn as mathematics
METRIC = Metric(WRONG, WRONG)
POINTS = (Point(10, 5.0, 5.1, 150.0, 160.0), Point(20, 4.0, 4.5, 55.0, 90.0))
VALUES = np.arange(4.0)
NOTHING = Spread(float("nan"), float("nan"))


def record(method: str, p: float | None) -> RunRecord:
    return RunRecord(
        "forecast", method, f"{WRONG}()", "", {"p": p}, 1, {}, {}, METRIC, WRONG, {}, {}, POINTS, (0.1,)
    )  # fmt: skip


def row(method: str, baseline: bool = False) -> Row:
    value = Spread(90.0, 0.0)
    loss, difference = (float("nan"), None) if baseline else (4.5, Spread(-0.1, 0.05))
    return Row(method, "", "", 0 if baseline else 1, loss, value, value, 1.0, difference, 1, 2.0, NOTHING, 1.1)


RECORDS = [record(NONE, None), record(WRONG, 0.1), record("other", 0.2)]
ROWS = [row(WRONG), row("other"), dataclasses.replace(row(NONE), difference=None), row(WRONG, baseline=True)]


@pytest.mark.parametrize(
    ("draw", "count"),
    [
        (lambda: curve_plot.curve(POINTS, WRONG, METRIC, {WRONG: 90.0}), 3),
        (lambda: forecast_plot(VALUES, VALUES, VALUES, label=WRONG), 1),
        (lambda: overfitting_plot({WRONG: ([1.0], [2.0])}, baseline=(WRONG, 1.0), label=WRONG), 3),
        (lambda: trigger(VALUES, 4, VALUES, 0.25, [], title=WRONG), 1),
        (lambda: plots.curve(ROWS[0], ROWS, RECORDS), 3),
        (lambda: plots.curves(ROWS, RECORDS), 3),
        (lambda: plots.ranking(ROWS, RECORDS), 2),
        (lambda: plots.rates(RECORDS), 2),
    ],
    ids=["curve", "forecast", "overfitting", "trigger", "method", "methods", "ranking", "rates"],
)
def test_names_from_data_are_drawn_as_they_are(
    monkeypatch: pytest.MonkeyPatch, draw: Callable[[], bytes], count: int
) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def kept(figure: Figure, *args: object, **options: object) -> None:
        figures.append(figure)
        save(figure, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", kept)
    assert draw().startswith(b"\x89PNG")
    texts = [artist for artist in figures[0].findobj(Text) if isinstance(artist, Text) and artist.get_visible()]
    assert sum(WRONG in text.get_text() for text in texts) == count
