from __future__ import annotations

import struct

import numpy as np
import pytest
from matplotlib.figure import Figure

from recurdrop.report.plots import METHOD, WORSE
from recurdrop.report.trigger_plot import TRUTH, trigger

WAVE = np.sin(np.arange(8000) / 5)
PROBABILITIES = np.array([0.1, 0.8, 0.9, 0.2])


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    kept: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: object, **kwargs: object) -> None:
        kept.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


def test_the_picture_shows_wave_probability_events_and_detections(figures: list[Figure]) -> None:
    png = trigger(WAVE, 4000, PROBABILITIES, 0.5, [1.0], [0.9, 1.7], 0.6, "3 in $x_1$")
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (936, 468)
    above, below = figures[0].axes
    np.testing.assert_allclose(above.lines[0].get_xydata(), np.stack([np.arange(8000) / 4000, WAVE], 1))
    steps = [patch.get_data() for patch in below.patches]
    assert all(np.array_equal(data.values, PROBABILITIES) for data in steps)
    assert steps[0].edges.tolist() == [0, 0.5, 1, 1.5, 2]
    for axes in (above, below):
        assert [line.get_xdata()[0] for line in axes.lines if line.get_color() == TRUTH] == [0.9, 1.7]
    assert [list(line.get_xdata()) for line in below.lines if line.get_color() == WORSE] == [[1.0]]
    assert below.lines[0].get_ydata()[0] == 0.6
    assert below.patches[1].get_edgecolor()[:3] == pytest.approx([int(METHOD[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    assert below.get_xlim() == (0, 2)
    assert above.get_title(loc="left") == "3 in $x_1$"
    texts = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert texts == ["probability", "threshold", "detection", "trigger ends"]


def test_events_need_not_be_known(figures: list[Figure]) -> None:
    assert trigger(WAVE, 4000, PROBABILITIES, 0.5, []) == trigger(WAVE, 4000, PROBABILITIES, 0.5, [])
    assert all(line.get_color() != TRUTH for axes in figures[0].axes for line in axes.lines)
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["probability", "threshold", "detection"]
