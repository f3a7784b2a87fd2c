from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from recurdrop.measured import Measured, read_measured, write_measured

RECORD = Measured(
    recipe="trigger-gru",
    against="trigger-gru-plain",
    seed=3,
    metric="F1",
    digits=3,
    higher_is_better=True,
    command="recurdrop reproduce trigger-gru",
    commit="4fdaa43",
    version="0.1.0",
    torch="2.13.0",
    machine="x86_64, Linux, 1 threads",
    precision="32",
    minutes=0.5,
    epochs=2,
    best_epoch=1,
    measured={"valid": {"F1": 0.75, "precision": math.nan}, "test": {"F1": 0.5, "precision": 1.0}},
    baselines={"valid": {"always": 0.1}, "test": {"always": 0.2}},
    published={"test": 0.6},
    curve=((0.5, 0.75), (0.625, math.nan)),
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write_measured(tmp_path / "new" / "folder", RECORD)
    assert path == tmp_path / "new" / "folder" / "trigger-gru-seed3.json"
    assert "NaN" not in path.read_text()
    assert [repr(record) for record in read_measured(path.parent)] == [repr(RECORD)]


def test_records_come_by_recipe_and_seed_whatever_the_order_of_files(tmp_path: Path) -> None:
    for recipe, seed in (("b", 10), ("b", 9), ("a", 1)):
        write_measured(tmp_path, dataclasses.replace(RECORD, recipe=recipe, seed=seed))
    assert [(record.recipe, record.seed) for record in read_measured(tmp_path)] == [("a", 1), ("b", 9), ("b", 10)]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 1}', '{"schema": 2, "recipe": "a"}', "null"])
def test_another_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=r"a record of a result must be JSON of schema 1 .*x\.json"):
        read_measured(tmp_path)


def test_a_record_without_its_own_metric_is_refused(tmp_path: Path) -> None:
    write_measured(tmp_path, dataclasses.replace(RECORD, metric="accuracy"))
    with pytest.raises(ValueError, match="trigger-gru-seed3"):
        read_measured(tmp_path)


def test_no_records_and_no_place_for_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Run recurdrop reproduce first"):
        read_measured(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="records must be a folder that can be written"):
        write_measured(tmp_path / "file", RECORD)
