from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recurdrop.files.reading import Reading
from recurdrop.report import trigger_plot
from recurdrop.train.run import Run
from waves import wav

Command = Callable[..., Any]
RATE = 1000


def forecast(*_: object, samples: int) -> SimpleNamespace:
    row = np.arange(3.0)
    return SimpleNamespace(rows=np.arange(3), times=None, target=row, mean=row + samples, low=row, high=row)


def translate(_: object, sentences: Sequence[str], beam: int) -> list[str]:
    return [sentence.upper() * beam for sentence in sentences]


def classify(_: object, texts: Sequence[str], *, samples: int) -> torch.Tensor:
    return torch.tensor([[1.0, 0.0] if text else [0.25, 0.75] for text in texts])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make every folder a run of a kind, with a task that says what is known."""
    trigger = SimpleNamespace(
        mel=SimpleNamespace(rate=RATE, step=10), detect=lambda *_: (np.array([0.1, 0.9]), [0.08]), report={}
    )
    tasks = {
        "forecast": SimpleNamespace(forecast=forecast, series=SimpleNamespace(scale=1.0), report={}),
        "translate": SimpleNamespace(translate=translate, report={}),
        "classify": SimpleNamespace(classify=classify, data=SimpleNamespace(classes=("full", "empty")), report={}),
        "trigger": trigger,
        "speech": trigger,
    }

    def of(kind: str) -> None:
        recipe = SimpleNamespace(
            kind=kind, data=SimpleNamespace(target="y", threshold=0.5, text="said", **vars(Reading()))
        )
        found = SimpleNamespace(recipe=recipe, task=tasks[kind], model=lambda: SimpleNamespace(stride=4))
        monkeypatch.setattr(Run, "open", lambda *_: found)

    return of


@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [
        ("forecast", ["nonexistent.csv"], "files"),
        ("forecast", ["--beam", 2], "--beam"),
        ("classify", ["a.txt", "--beam", 2], "--beam"),
        ("classify", ["a.txt", "--part", "valid"], "--part"),
        ("classify", ["a.txt", "--picture", "a.png"], "--picture"),
        ("translate", ["a.txt", "--samples", 3], "--samples"),
        ("translate", ["a.txt", "--part", "train"], "--part"),
        ("trigger", ["a.wav", "--samples", 3], "--samples"),
        ("trigger", ["a.wav", "--beam", 2], "--beam"),
        ("speech", ["a.wav", "--samples", 3], "--samples"),
        ("speech", ["a.wav", "--beam", 2], "--beam"),
        ("speech", ["a.wav", "--picture", "a.png"], "--picture"),
    ],
)
def test_what_a_kind_does_not_take_is_refused(
    recurdrop: Command, run: Callable[[str], None], kind: str, given: list[object], named: str
) -> None:
    run(kind)
    found = recurdrop("predict", "r", *given)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(f"recurdrop: a {kind} run takes no {named}; got ")
    assert found.err.count("\n") == 1


def test_a_forecast_reads_part_and_samples(recurdrop: Command, run: Callable[[str], None]) -> None:
    run("forecast")
    found = recurdrop("predict", "r", "--part", "valid", "--samples", 2)
    assert found.out.splitlines()[:2] == ["time,observed,forecast,low,high", "0,0,2,0,0"]


def test_every_line_of_a_text_is_one_example(recurdrop: Command, run: Callable[[str], None]) -> None:
    text = Path("a.txt")
    text.write_bytes("one\u2028still one\r\n\r\ntwo\x0bstill two\n".encode())
    lines = ["one\u2028still one", "", "two\x0bstill two"]
    run("translate")
    rows = list(csv.reader(io.StringIO(recurdrop("predict", "r", text, "--beam", 2).out, newline="\n")))
    assert rows == [["source", "translation"], *([line, line.upper() * 2] for line in lines)]
    run("classify")
    rows = list(csv.reader(io.StringIO(recurdrop("predict", "r", text).out, newline="\n")))
    assert rows[0] == ["label", "full", "empty", "text"]
    assert [(row[0], row[-1]) for row in rows[1:]] == [("full", lines[0]), ("empty", ""), ("full", lines[2])]


def test_frames_of_the_picture_are_as_long_as_those_of_the_model(
    recurdrop: Command, run: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.wav").write_bytes(wav([0] * 119, RATE))
    steps: list[float] = []
    monkeypatch.setattr(trigger_plot, "trigger", lambda *given, **_: steps.append(given[3]) or b"png")
    run("trigger")
    assert recurdrop("predict", "r", "a.wav", "--picture", "a.png").out == "file,seconds\na.wav,0.080\n"
    assert steps == [0.04]
    assert Path("a.png").read_bytes() == b"png"


def test_a_picture_that_can_not_be_written_is_one_line(recurdrop: Command, run: Callable[[str], None]) -> None:
    run("forecast")
    found = recurdrop("predict", "r", "--picture", "no/folder.png")
    assert (found.code, found.out) == (2, "")
    assert found.err == (
        "recurdrop: --picture must be a file that can be written; got 'no/folder.png (No such file or directory)'. "
        "Name one in a folder that exists.\n"
    )


def test_a_table_of_texts_gives_its_column(recurdrop: Command, run: Callable[[str], None], tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    run("classify")
    (tmp_path / "new.tsv").write_text("mark\tsaid\n1\tone two\n2\tthree\n")
    (tmp_path / "lines.txt").write_text("four\n")
    found = recurdrop("predict", "o", "new.tsv", "lines.txt")
    assert [row[-1] for row in csv.reader(io.StringIO(found.out))] == ["text", "one two", "three", "four"]
    (tmp_path / "other.tsv").write_text("mark\ttold\n1\tone two\n")
    refused = recurdrop("predict", "o", "other.tsv")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("recurdrop: data.text must name a column of the table; got 'said'")


def test_one_sample_is_no_average(recurdrop: Command, run: Callable[[str], None]) -> None:
    run("forecast")
    found = recurdrop("predict", "r", "--samples", 1)
    assert (found.code, found.out) == (2, "")
    assert found.err == "recurdrop: --samples must be 0 for none, or 2 or more; got 1. Give e.g. 10.\n"


def test_tables_of_every_form_give_their_texts(recurdrop: Command, run: Callable[[str], None], tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    run("classify")
    (tmp_path / "NEW.CSV").write_text("said,id\ngood,1\n,2\n")
    (tmp_path / "test.tsv").write_text("1\t7\t9\ta\tfine film\n0\t8\t2\tdull\n")
    found = recurdrop("predict", "o", "NEW.CSV", "test.tsv")
    rows = list(csv.reader(io.StringIO(found.out)))
    assert [row[-1] for row in rows] == ["text", "good", "", "a\tfine film", "dull"]
    assert [row[0] for row in rows] == ["label", "full", "empty", "full", "full"]


def test_a_text_that_a_spreadsheet_would_run_is_made_harmless(
    run: Callable[[str], None], recurdrop: Command, tmp_path: Path
) -> None:
    run("translate")
    (tmp_path / "a.txt").write_text("=cmd|' /c calc'!a1\n-1.5\n@sum\nplain\n")
    result = recurdrop("predict", "r", tmp_path / "a.txt")
    rows = list(csv.reader(io.StringIO(result.out)))[1:]
    assert [row[0] for row in rows] == ["'=cmd|' /c calc'!a1", "-1.5", "'@sum", "plain"]


def test_numbers_are_printed_with_the_digits_that_tell_them_apart() -> None:
    from recurdrop.cli.predict import _exact, _rounded

    assert [_exact(x) for x in (1234567.25, 3.0, 1e200)] == ["1234567.25", "3", "1e+200"]
    assert _rounded(1234567.2512, 1e-5 * 0.3) == "1234567.2512"
    assert _rounded(0.123456789, 1e-5) == "0.123457"
