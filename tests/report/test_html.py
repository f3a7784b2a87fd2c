from __future__ import annotations

import ast
import base64
import dataclasses
import json
import math
import re
import struct
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from recurdrop import report
from recurdrop.records import NONE, Metric, Point, Row, RunRecord, Spread
from recurdrop.report import html, plots

HOSTILE = "<script>alert('x')</script>&\"$x_1$"


METRIC = Metric("MAE", "degC", digits=3)
NAN = math.nan


def run(method: str, seed: int, name: str = "t.txt", epochs: int = 3, **arguments: Any) -> RunRecord:
    losses = [(4 - i - seed / 10, 4 - i / 2) for i in range(epochs)]
    curve = tuple(Point(10 * (i + 1), *pair, *(10 * loss for loss in pair)) for i, pair in enumerate(losses))
    return RunRecord(
        "forecast", method, f"{method.partition(':')[0].title()}()", "cite", arguments, seed, {"training.lr": 0.01},
        {"name": name, "train": 9}, METRIC, "standard deviations", {"torch": "2.13"},
        {"platform": "Linux", "threads": 1, "backend": "eager"}, curve, (0.1,),
    )  # fmt: skip


def row(method: str, difference: Spread | None) -> Row:
    value = Spread(20.0, 0.5)
    return Row(method, f"Noise({method})", "cite", 2, 3.0, value, value, 1.0, difference, 1, 2.0, value, 1.1)


def baseline(name: str, metric: float, loss: float = NAN) -> Row:
    nothing = Spread(NAN, NAN)
    return Row(name, "", "", 0, loss, nothing, Spread(metric, NAN), NAN, None, 0, NAN, nothing, NAN)


def comparison(*methods: str, name: str = "t.txt") -> tuple[list[Row], list[RunRecord]]:
    rows = [row(method, None if method == NONE else Spread(-0.1, 0.05)) for method in methods]
    return rows, [run(method, seed, name) for method in methods for seed in (1, 2)]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_opens_alone() -> None:
    text = html.page(*comparison("awd", "locked", NONE), "recurdrop compare")
    page = Page(text)
    assert len(page.links) == 2
    for link in page.links:
        start, data = link.split(",")
        assert start == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\(|https?://", text)


def test_whatever_comes_from_outside_is_escaped() -> None:
    text = html.page(*comparison(HOSTILE, NONE, name=HOSTILE), HOSTILE)
    page = Page(text)
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 5  # heading, title, verdict, table, command


def test_the_page_shows_each_row_and_the_conditions() -> None:
    text = html.page(*comparison("awd", NONE), "recurdrop compare --seeds 2")
    page = Page(text)
    assert text.count('<tr class="winner"><td class="left">awd<') == 1
    assert text.count('<tr class="none"><td class="left">none<') == 1
    for words in ("awd leads", "−0.100 ± 0.050", "Noise(awd)", "recurdrop compare --seeds 2", "2.13", "0.01", "eager"):
        assert words in page.text
    assert page.tags.count("tr") == 1 + 2 + 1 + 2 + 5
    assert "Task: forecast." in page.text


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_write_leaves_a_whole_folder(tmp_path: Path) -> None:
    rows, records = comparison("zoneout:h=0.1", NONE)
    page = html.write(tmp_path, rows, records, "recurdrop compare", {"zoneout:h=0.1": "zoneout-h-0.1", NONE: NONE})
    assert page == tmp_path / "report.html"
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    pictures = {"curves.png", "ranking.png", "curves/none.png", "curves/zoneout-h-0.1.png"}
    assert found == pictures | {"report.html", "summary.json"}
    assert min(min(_size((tmp_path / picture).read_bytes())) for picture in pictures) > 100
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [r["method"] for r in summary["rows"]] == ["zoneout:h=0.1", NONE]
    assert summary["rows"][1]["difference"] is None


def test_curves_draw_means_and_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn: list[list[float]] = []
    bands: list[tuple[list[float], list[float]]] = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **_: drawn.append([*x, *y]))
    monkeypatch.setattr(Axes, "fill_between", lambda self, x, low, high, **_: bands.append((list(low), list(high))))
    rows, records = comparison("awd", NONE)
    short = [dataclasses.replace(record, curve=record.curve[:2]) if record.seed == 2 else record for record in records]
    plots.curve(rows[0], rows, short)
    assert drawn[0] == pytest.approx([10, 20, 3.85, 2.85])  # none, train: seeds 1 and 2 give 3.9 and 3.8
    assert drawn[1] == pytest.approx([10, 20, 4.0, 3.5])
    assert bands[0] == (pytest.approx([3.8, 2.8]), pytest.approx([3.9, 2.9]))
    assert len(drawn) == 4


@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_any_number_of_methods_can_be_drawn(count: int) -> None:
    rows, records = comparison(NONE, *(f"m{i}" for i in range(count - 1)))
    assert min(_size(plots.curves(rows, records))) > 100
    assert min(_size(plots.ranking(rows, records))) > 50


def test_runs_that_diverged_can_be_drawn() -> None:
    rows, records = comparison("awd", NONE)
    rows[0] = dataclasses.replace(rows[0], loss=math.nan, difference=Spread(math.nan, math.nan))
    records[0] = dataclasses.replace(records[0], curve=(Point(10, *[math.nan] * 4),))
    assert "diverged" not in Page(html.page(rows, records, "x")).text.split("Conditions")[1]


def test_baselines_are_rows_of_the_page_but_no_methods(tmp_path: Path) -> None:
    rows, records = comparison("awd", NONE)
    rows.insert(0, baseline("persistence", 19.0))
    page = Page(html.page(rows, records, "x"))
    assert page.text.count("persistence (baseline)") == 1
    assert page.tags.count("tr") == 1 + 3 + 1 + 2 + 5
    assert '<tr class="winner"><td class="left">awd<' in html.page(rows, records, "x")
    html.write(tmp_path, rows, records, "x", {"awd": "awd", NONE: NONE})
    assert {path.name for path in (tmp_path / "curves").iterdir()} == {"awd.png", "none.png"}
    assert [r["seeds"] for r in json.loads((tmp_path / "summary.json").read_text())["rows"]] == [0, 2, 2]


@pytest.mark.parametrize(
    ("baselines", "first", "label", "level"),
    [
        ([], [10, 20, 30, 3.85, 2.85, 1.85], "loss, standard deviations", None),
        ([baseline("mean", 21.0, 3.0)], [10, 20, 30, 3.85, 2.85, 1.85], "loss, standard deviations", 3.0),
        # one without a loss: all in the metric, and the best baseline is the one with the best metric
        (
            [baseline("mean", 31.0, 3.0), baseline("last", 25.0)],
            [10, 20, 30, 38.5, 28.5, 18.5], "MAE, degC", 25.0,
        ),
        ([baseline("far", 4000.0)], [10, 20, 30, 38.5, 28.5, 18.5], "MAE, degC", None),
    ],
)  # fmt: skip
def test_curves_are_of_the_loss_unless_a_baseline_has_none(
    monkeypatch: pytest.MonkeyPatch, baselines: list[Row], first: list[float], label: str, level: float | None
) -> None:
    from matplotlib.axes import Axes

    plot, axhline = Axes.plot, Axes.axhline
    drawn: list[list[float]] = []
    levels: list[float] = []
    labels: list[str] = []

    def plotted(self: Axes, x: Any, y: Any, **rest: Any) -> Any:
        drawn.append([*x, *y])
        return plot(self, x, y, **rest)

    def lined(self: Axes, y: float, **rest: Any) -> Any:
        levels.append(y)
        return axhline(self, y, **rest)

    monkeypatch.setattr(Axes, "plot", plotted)
    monkeypatch.setattr(Axes, "axhline", lined)
    monkeypatch.setattr(Axes, "set_ylabel", lambda self, text: labels.append(text))
    rows, records = comparison("awd", NONE)
    plots.curve(rows[0], [*rows, *baselines], records)
    assert drawn[0] == pytest.approx(first)
    assert labels == [label]
    assert levels == ([] if level is None else [level])
    assert min(_size(plots.curves([*rows, *baselines], records))) > 100


ZONEOUT = {"c": None, "shared_mask": False}


def test_lines_of_rates_join_runs_that_differ_in_one_argument() -> None:
    labels = {
        NONE: {},
        "zoneout:h=0.3": {**ZONEOUT, "h": 0.3},
        "zoneout:h=0.1": {**ZONEOUT, "h": 0.1},
        "zoneout:c=0.2,h=0.1": {**ZONEOUT, "c": 0.2, "h": 0.1},
        "zoneout:c=0.2,h=0.2": {**ZONEOUT, "c": 0.2, "h": 0.2},
        "zaremba:0.5": {"p": 0.5},
        "locked:0.1,0.1": {"input": 0.1, "output": 0.1},
        "locked:0.4,0.4": {"input": 0.4, "output": 0.4},
        "mixout": {"p": 0.5, "reference": "initial"},
        "mixout:0.5,zero": {"p": 0.5, "reference": "zero"},
    }
    records = [run(label, seed, **arguments) for label, arguments in labels.items() for seed in (1, 2)]
    assert plots.rate_lines(records) == {
        "Zoneout, h": [(0.1, "zoneout:h=0.1"), (0.3, "zoneout:h=0.3")],
        "Zoneout, h (c 0.2)": [(0.1, "zoneout:c=0.2,h=0.1"), (0.2, "zoneout:c=0.2,h=0.2")],
        "Locked, input = output": [(0.1, "locked:0.1,0.1"), (0.4, "locked:0.4,0.4")],
    }


def test_rates_are_drawn_where_a_method_has_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    one = [run(NONE, 1), run("zaremba:0.5", 1, p=0.5)]
    assert plots.rates(one) is None
    more = [*one, run("zaremba:0.2", 1, p=0.2, epochs=2)]
    rows = [row(label, Spread(-0.1, 0.05)) for label in ("zaremba:0.2", "zaremba:0.5")] + [row(NONE, None)]
    names = {NONE: "n", "zaremba:0.2": "a", "zaremba:0.5": "b"}
    html.write(tmp_path, rows, more, "x", names)
    assert min(_size((tmp_path / "rates.png").read_bytes())) > 100
    assert len(Page(html.page(rows, more, "x")).links) == 3
    drawn: list[list[float]] = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, *_, **__: drawn.append([*x, *y]))
    monkeypatch.setattr(Axes, "legend", lambda self, **_: None)
    plots.rates(more)
    assert drawn[0] == pytest.approx([0.2, 0.5, 3.5, 3.0])  # the best epochs' losses: of two, and of three epochs
    assert len(drawn) == 1 + 2


def test_reports_read_records_only() -> None:
    found = set()
    for path in Path(report.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {*names, node.module or ""} if isinstance(node, ast.ImportFrom) else set(names)
    ours = {name for name in found if name.startswith("recurdrop")}
    assert {".".join(name.split(".")[:2]) for name in ours} <= {
        "recurdrop.records",
        "recurdrop.measured",
        "recurdrop.spread",
        "recurdrop.errors",
        "recurdrop.report",
    }
    assert not {"torch", "lightning"} & {name.split(".")[0] for name in found}
    assert "matplotlib.figure" in found


def test_colours_say_better_or_worse_where_the_interval_does() -> None:
    from recurdrop.records import Spread
    from recurdrop.report.plots import BASE, METHOD, WORSE, _color

    found = [
        _color(Spread(mean, half))
        for mean, half in ((-0.2, 0.1), (0.2, 0.1), (-0.1, 0.2), (0.1, 0.2), (-0.1, float("nan")))
    ]
    assert found == [METHOD, WORSE, BASE, BASE, BASE]
