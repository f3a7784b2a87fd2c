from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recurdrop.records import Metric, Point
from recurdrop.report import curve_plot

PERPLEXITY = Metric("perplexity", digits=1)
POINTS = [Point(10, 5.0, 5.1, 150.0, 160.0), Point(20, 4.0, 4.5, 55.0, 90.0), Point(30, 3.9, 4.6, 50.0, 100.0)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Axes]:
    """Draw, and return the axes instead of the picture."""
    figures: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        figures.append(figure)
        return b""

    monkeypatch.setattr(curve_plot, "png", keep)

    def draw(*args: object, **kwargs: object) -> Axes:
        curve_plot.curve(*args, **kwargs)  # type: ignore[arg-type]
        (axes,) = figures[-1].axes
        return axes

    return draw


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axes.get_lines()
    }


def test_the_lines_are_the_metric_after_each_epoch(drawn: Callable[..., Axes]) -> None:
    axes = drawn(POINTS, "my $x_1$", PERPLEXITY)
    assert lines(axes) == {
        "train": ([1, 2, 3], [150.0, 55.0, 50.0]),
        "validation": ([1, 2, 3], [160.0, 90.0, 100.0]),
    }
    assert (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) == ("my $x_1$", "epoch", "perplexity")
    assert drawn(POINTS, "", Metric("MAE", "°C")).get_ylabel() == "MAE, °C"


def test_baselines_are_there_where_they_are_near(drawn: Callable[..., Axes]) -> None:
    others = {"word frequencies": 480.0, "uniform": 480.1, "below": 12.345}
    found = lines(drawn(POINTS, "", PERPLEXITY, others, published=114.5))
    assert found.keys() == {
        "train", "validation", "word frequencies, 480.0", "below, 12.3", "published, 114.5",
    }  # fmt: skip
    assert found["word frequencies, 480.0"][1] == [480.0, 480.0]
    assert found["below, 12.3"][1] == [12.345, 12.345]
    assert found["published, 114.5"][1] == [114.5, 114.5]


@pytest.mark.parametrize("worst", [math.inf, math.nan])
def test_epochs_without_a_value_do_not_bring_far_baselines_in(drawn: Callable[..., Axes], worst: float) -> None:
    points = [Point(1, 800.0, 800.0, worst, worst), *POINTS]
    found = lines(drawn(points, "", PERPLEXITY, {"near": 100.0, "far": 9999.0}))
    assert found.keys() == {"train", "validation", "near, 100.0"}
    assert lines(drawn(points[:1], "", PERPLEXITY, {"near": 100.0})).keys() == {"train", "validation"}


def test_the_picture_is_a_png_that_is_the_same_each_time() -> None:
    page = curve_plot.curve(POINTS, "run", PERPLEXITY, {"word frequencies": 300.0}, 114.5)
    assert page.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", page[16:24]) == (832, 546)
    assert page == curve_plot.curve(POINTS, "run", PERPLEXITY, {"word frequencies": 300.0}, 114.5)
    diverged = [*POINTS, Point(40, math.inf, math.nan, math.inf, math.nan)]
    assert curve_plot.curve(diverged, "no $formula_{$", PERPLEXITY).startswith(b"\x89PNG")
