from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from recurdrop.report.forecast_plot import forecast_plot
from recurdrop.report.overfitting_plot import overfitting_plot

TIMES = np.datetime64("2020-01-01", "ns") + np.arange(300) * np.timedelta64(1, "h")
VALUES = np.sin(np.arange(300) / 9)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved from now on."""
    figures: list[Figure] = []
    save = Figure.savefig

    def kept(figure: Figure, *args: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return figures


@pytest.mark.parametrize("places", [TIMES, np.arange(300)])
def test_a_forecast_is_drawn_with_its_band(drawn: list[Figure], places: Any) -> None:
    png = forecast_plot(places, VALUES, VALUES + 0.1, VALUES - 1, VALUES + 1, label="T ($C_2$)", shown=250)
    assert png.startswith(b"\x89PNG")
    axes = drawn[0].axes[0]
    observed, forecast = axes.lines
    np.testing.assert_array_equal(observed.get_ydata(), VALUES[:250])
    np.testing.assert_array_equal(forecast.get_ydata(), VALUES[:250] + 0.1)
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(1 + VALUES[:250].max())
    assert band[:, 1].min() == pytest.approx(VALUES[:250].min() - 1)
    assert axes.get_ylabel() == "T ($C_2$)"
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["90% interval", "observed", "forecast"]
    assert png == forecast_plot(places, VALUES, VALUES + 0.1, VALUES - 1, VALUES + 1, label="T ($C_2$)", shown=250)


def test_a_forecast_needs_no_band(drawn: list[Figure]) -> None:
    forecast_plot(TIMES, VALUES, VALUES)
    assert not drawn[0].axes[0].collections


@pytest.mark.parametrize("arrays", [(VALUES[:3],), (VALUES, VALUES), (VALUES, VALUES, VALUES[:2]), (VALUES[:0],) * 2])
def test_arrays_that_do_not_fit_are_refused(arrays: tuple[Any, ...]) -> None:
    mean, *ends = arrays
    target = mean if len(mean) == 0 else VALUES
    with pytest.raises(ValueError, match="one place, observation and forecast"):
        forecast_plot(TIMES[: len(target)], target, mean, *ends)


def test_runs_are_drawn_with_their_best_epoch_and_the_baseline(drawn: list[Figure]) -> None:
    runs = {"none": ([3.0, 2.0, 1.0], [3.0, 2.5, 4.0]), "dropout": ([3.0, 2.5], [3.0, 2.75])}
    png = overfitting_plot(runs, baseline=("persistence", 2.9), label="MAE, degC")
    assert png.startswith(b"\x89PNG")
    axes = drawn[0].axes[0]
    lines = [np.array(line.get_xydata()).tolist() for line in axes.lines]
    assert lines[:3] == [[[1, 3], [2, 2], [3, 1]], [[1, 3], [2, 2.5], [3, 4]], [[2, 2.5]]]
    assert lines[5] == [[2, 2.75]]
    assert {y for _, y in lines[6]} == {2.9}
    assert axes.get_ylabel() == "MAE, degC"
    texts = [text.get_text() for text in drawn[0].legends[0].texts]
    assert texts == ["none, best 2.5", "dropout, best 2.75", "persistence, validation", "validation", "training"]
    overfitting_plot({"none": ([1.0, 2.0], [0.5, 0.7])}, higher_is_better=True, baseline=("majority", 9.0))
    assert np.array(drawn[1].axes[0].lines[2].get_xydata()).tolist() == [[2, 0.7]]
    assert len(drawn[1].axes[0].lines) == 3
    assert drawn[1].legends[0].texts[1].get_text() == "majority, 9 (not in the picture)"


def test_the_first_epochs_do_not_flatten_the_rest(drawn: list[Figure]) -> None:
    falling = [100.0, 50.0, *(10.0 - n / 10 for n in range(18))]
    overfitting_plot({"late": (falling, falling)})
    assert drawn[0].axes[0].get_ylim() == pytest.approx((8.3 - 0.085, 10 + 0.085))
    overfitting_plot({"early": (falling, [1.0, 2.0, *falling[2:]])})
    assert drawn[1].axes[0].get_ylim() == pytest.approx((1 - 0.45, 10 + 0.45))
    overfitting_plot({"diverged": (falling, [*falling[:19], math.inf])})
    assert drawn[2].axes[0].get_ylim() == pytest.approx((8.3 - 0.085, 10 + 0.085))


@pytest.mark.parametrize(
    "runs", [{}, {"a": ([1.0], [1.0, 2.0])}, {"a": ([], [])}, dict.fromkeys("abcdef", ([1.0], [1.0]))]
)
def test_runs_that_can_not_be_drawn_are_refused(runs: Any) -> None:
    with pytest.raises(ValueError, match=r"1 to 5 runs|one value of each part"):
        overfitting_plot(runs)
