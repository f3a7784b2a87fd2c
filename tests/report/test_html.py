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

import pytest

from recurdrop import report
from recurdrop.records import NONE, Point, Row, RunRecord, Spread
from recurdrop.report import html, plots

HOSTILE = "<script>alert('x')</script>&\"$x_1$"


def run(method: str, seed: int, name: str = "t.txt", epochs: int = 3) -> RunRecord:
    curve = tuple(Point(10 * (i + 1), 4 - i - seed / 10, 4 - i / 2) for i in range(epochs))
    text: dict[str, str | int] = {"name": name, "vocabulary": 9}
    return RunRecord(
        method, f"Noise({method})", "cite", seed, {"lr": 0.01}, text, {"torch": "2.13"},
        {"platform": "Linux", "threads": 1, "backend": "eager"}, curve, (0.1,),
    )  # fmt: skip


def row(method: str, difference: Spread | None) -> Row:
    ppl = Spread(20.0, 0.5)
    return Row(method, f"Noise({method})", "cite", 2, 3.0, ppl, ppl, 1.0, difference, 1, 2.0, ppl, 1.1)


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
    plots.curve(rows[0], short)
    assert drawn[0] == pytest.approx([10, 20, 3.85, 2.85])  # none, train: seeds 1 and 2 give 3.9 and 3.8
    assert drawn[1] == pytest.approx([10, 20, 4.0, 3.5])
    assert bands[0] == (pytest.approx([3.8, 2.8]), pytest.approx([3.9, 2.9]))
    assert len(drawn) == 4


@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_any_number_of_methods_can_be_drawn(count: int) -> None:
    rows, records = comparison(NONE, *(f"m{i}" for i in range(count - 1)))
    assert min(_size(plots.curves(rows, records))) > 100
    assert min(_size(plots.ranking(rows))) > 50


def test_runs_that_diverged_can_be_drawn() -> None:
    rows, records = comparison("awd", NONE)
    rows[0] = dataclasses.replace(rows[0], loss=math.nan, difference=Spread(math.nan, math.nan))
    records[0] = dataclasses.replace(records[0], curve=(Point(10, math.nan, math.nan),))
    assert "diverged" not in Page(html.page(rows, records, "x")).text.split("Conditions")[1]


def test_reports_read_records_only() -> None:
    found = set()
    for path in Path(report.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {*names, node.module or ""} if isinstance(node, ast.ImportFrom) else set(names)
    ours = {name for name in found if name.startswith("recurdrop")}
    assert ours <= {"recurdrop.records", "recurdrop.errors", "recurdrop.report"}
    assert not {"torch", "lightning"} & {name.split(".")[0] for name in found}
    assert "matplotlib.figure" in found
