from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
from pathlib import Path

import pytest

from recurdrop import records
from recurdrop.records import Metric, Point, RunRecord, Spread


def point(update: int, train: float, valid: float) -> Point:
    return Point(update, train, valid, 10 * train, 10 * valid)


def record(**changes: object) -> RunRecord:
    whole = RunRecord(
        task="language",
        method="zoneout:h=0.1",
        noise="Zoneout(h=0.1)",
        cite="Krueger",
        arguments={"c": None, "h": 0.1},
        seed=2,
        config={"cell": "lstm", "lr": 0.01, "hidden": 8},
        data={"name": "naïve.txt", "vocabulary": 3},
        metric=Metric("accuracy", "%", True, 3),
        loss_unit="nats per text",
        versions={"torch": "2"},
        machine={"threads": 1, "backend": "eager"},
        curve=(point(10, 2.0, 3.0), point(20, 1.0, 2.5), point(30, 0.5, 2.5), point(40, 0.2, 4.0)),
        step_seconds=(0.125, 0.25),
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def test_a_record_survives_the_file(tmp_path: Path) -> None:
    records.write(tmp_path / "r.json", record())
    assert records.read(tmp_path / "r.json") == record()
    assert os.listdir(tmp_path) == ["r.json"]


def test_losses_of_a_diverged_run_are_null_in_the_file_and_nan_in_the_record(tmp_path: Path) -> None:
    records.write(tmp_path / "r.json", record(curve=(Point(10, math.inf, math.nan, math.nan, 2.0),)))
    assert json.loads((tmp_path / "r.json").read_text())["curve"] == [
        {"update": 10, "train": None, "valid": None, "train_metric": None, "valid_metric": 2.0}
    ]
    (found,) = records.read(tmp_path / "r.json").curve
    assert math.isnan(found.train)
    assert math.isnan(found.valid)
    assert math.isnan(found.train_metric)


def test_best_is_the_first_of_the_lowest_finite_validation_losses() -> None:
    assert record().best == point(20, 1.0, 2.5)
    assert record(curve=(point(1, math.nan, math.nan), point(2, 9.0, 8.0))).best.update == 2
    assert record(curve=(point(1, 1.0, math.nan), point(2, 1.0, math.nan))).best.update == 2


def _edit(path: Path, **changes: object) -> None:
    data = json.loads(path.read_text())
    data.update(changes)
    path.write_text(json.dumps({k: v for k, v in data.items() if v != "gone"}))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 1},
        {"schema": "gone"},
        {"seed": "gone"},
        {"extra": 1},
        {"curve": []},
        {"curve": [{"update": 1, "train": 1.0}]},
        {"curve": [{"update": 1, "train": 1.0, "valid": 1.0}]},
        {"curve": 3},
        {"metric": "MAE"},
        {"metric": {"name": "MAE", "of": 1}},
        {"step_seconds": ["x"]},
        {"task": 5},
        {"seed": "2"},
        {"seed": True},
        {"config": []},
        {"metric": {"name": 5}},
        {"metric": {"name": "MAE", "digits": 10**9}},
        {"curve": [{"update": 1, "train": "1", "valid": 1.0, "train_metric": 1.0, "valid_metric": 1.0}]},
    ],
)
def test_a_record_that_is_not_of_the_schema_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "r.json"
    records.write(path, record())
    _edit(path, **change)
    with pytest.raises(ValueError, match=r"must have schema 2 .*Remove the file"):
        records.read(path)


@pytest.mark.parametrize("text", ["", "{", "\x00\xff"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="must be JSON"):
        records.read(tmp_path / "r.json")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write(tmp_path / "r.json", record())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space") as raised:
        records.write(tmp_path / "r.json", record(seed=3))
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "r.json"))
    assert records.read(tmp_path / "r.json").seed == 2
    assert os.listdir(tmp_path) == ["r.json"]  # half a file would take the space that is wanted


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(OSError, match=r"r\.json'"):
        records.write(tmp_path / "r.json", record())
    assert os.listdir(tmp_path) == ["r.json"]


def test_nested_dataclasses_become_objects(tmp_path: Path) -> None:
    records.write_json(tmp_path / "x.json", {"rows": [Spread(1.5, math.nan)], "n": None})
    assert json.loads((tmp_path / "x.json").read_text()) == {"rows": [{"mean": 1.5, "half": None}], "n": None}


def test_which_value_is_better_follows_from_the_metric() -> None:
    error, accuracy = Metric("MAE"), Metric("accuracy", higher_is_better=True)
    assert error.better(1.0, 2.0) and not error.better(2.0, 1.0) and not error.better(1.0, 1.0)
    assert accuracy.better(2.0, 1.0) and not accuracy.better(1.0, 2.0)
    assert not error.better(math.nan, 1.0) and not accuracy.better(math.nan, 1.0)


def test_nested_json_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ValueError, match="a run record must be JSON"):
        records.read(tmp_path / "r.json")
