from __future__ import annotations

import csv
import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import language, planned

from recurdrop.kinds.base import Part, Score
from recurdrop.kinds.language.task import LanguageTask
from recurdrop.train.recipe import PublishedNumbers, from_tables
from recurdrop.train.results import Result, append, measure
from recurdrop.train.run import Run

RECIPE = from_tables(
    "small",
    {
        "task": "language",
        "data": {"vocabulary": 50},
        "model": {"vocabulary": 50, "embedding": 6, "widths": [6], "noise": ["zoneout:h=0.3"]},
        "training": {"batch": 4, "epochs": 3, "lr": 1.0, "bptt": 40},
        "published": {"metric": "perplexity", "valid": 9.5},
    },
)
ROW = Result("r", "valid", "perplexity", math.nan, 12.25, 1, 3, 2, 0.5, "1", "2", "a, b", "folder")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    task = planned(language(tmp_path), [5.0, 3.0, 4.0])
    Run(RECIPE, task, None, 1, tmp_path / "run").fit()
    return Run(RECIPE, language(tmp_path), None, 1, tmp_path / "run")


def test_measured_values_are_the_task_s_scores_beside_what_was_published(run: Run) -> None:
    rows = measure(run, 90.0)
    model = run.model()
    assert [(row.part, row.what) for row in rows] == [
        (part, what) for part in ("valid", "test") for what in ("perplexity", "perplexity of word frequencies")
    ]
    for row, baseline in zip(rows[::2], rows[1::2], strict=True):
        part: Part = row.part  # type: ignore[assignment]
        assert row.measured == run.task.score(model, part).metric
        assert baseline.measured == run.task.baselines(part)["word frequencies"].metric
        assert math.isnan(baseline.published)
    assert rows[0].published == 9.5
    assert math.isnan(rows[2].published)
    assert {(row.recipe, row.seed, row.epochs, row.best_epoch, row.minutes) for row in rows} == {
        ("small", 1, 3, 2, 1.5)
    }
    assert {(row.torch, row.folder) for row in rows} == {(torch.__version__, str(run.folder))}
    assert rows[0].machine.endswith(f"{torch.get_num_threads()} threads")


def test_numbers_of_another_measure_are_not_put_beside_it(run: Run) -> None:
    published = PublishedNumbers("bits per character", 1.0, 2.0)
    rows = measure(dataclasses.replace(run, recipe=dataclasses.replace(RECIPE, published=published)), 0.0)
    none = measure(dataclasses.replace(run, recipe=dataclasses.replace(RECIPE, published=None)), 0.0)
    assert all(math.isnan(row.published) for row in rows + none)


def test_samples_further_measures_and_slow_ones_have_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(self: LanguageTask, model: object, part: Part, *, samples: int = 0) -> Score:
        return Score(1.0, 2.0 + samples, {"accuracy": 0.25})

    monkeypatch.setattr(LanguageTask, "score", score)
    monkeypatch.setattr(LanguageTask, "final", lambda self, model, part: {"BLEU": 30.0})
    published = PublishedNumbers("BLEU", test=33.0)
    found = measure(dataclasses.replace(run, recipe=dataclasses.replace(RECIPE, published=published)), 0.0, samples=7)
    rows = {(row.part, row.what): (row.measured, row.published) for row in found}
    assert rows["valid", "perplexity"][0] == 2.0
    assert rows["valid", "accuracy"][0] == 0.25
    assert rows["test", "perplexity, 7 samples"][0] == 9.0
    assert rows["test", "BLEU"] == (30.0, 33.0)
    assert math.isnan(rows["valid", "BLEU"][1])
    assert len(rows) == len(found) == 10


def read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_rows_are_appended_below_one_header(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    header = [field.name for field in dataclasses.fields(Result)]
    append(path, [])
    assert read(path) == [header]
    append(path, [ROW])
    append(path, [ROW, dataclasses.replace(ROW, what='say "x"', measured=0.1)])
    assert read(path) == [
        header,
        ["r", "valid", "perplexity", "nan", "12.25", "1", "3", "2", "0.5", "1", "2", "a, b", "folder"],
        ["r", "valid", "perplexity", "nan", "12.25", "1", "3", "2", "0.5", "1", "2", "a, b", "folder"],
        ["r", "valid", 'say "x"', "nan", "0.1", "1", "3", "2", "0.5", "1", "2", "a, b", "folder"],
    ]


def test_an_empty_file_gets_its_header(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.touch()
    append(path, [ROW])
    assert [row[0] for row in read(path)] == ["recipe", "r"]


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\n", b"\xff\xfe\x00", b"recipe\x00\n", b'"recipe'], ids=repr)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"--results must be a file of results; got '.*results\.csv'"):
        append(path, [ROW])
    assert path.read_bytes() == content


def test_a_place_that_can_t_be_written_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "results.csv"):
        with pytest.raises(ValueError, match=r"--results must be a file that can be written; got '.* \("):
            append(path, [ROW])


def test_a_full_disk_leaves_the_results_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    append(path, [])
    before = path.read_bytes()
    opened = Path.open

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:7])

    def full(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        return Full(self, mode) if mode == "ab" else opened(self, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ValueError, match=r"must be a file that can be written; got .*No space left"):
        append(path, [ROW])
    assert path.read_bytes() == before
