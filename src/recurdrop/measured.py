"""What came of one trained and scored recipe, as a small JSON file: the source of every row of a results page."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recurdrop.errors import invalid
from recurdrop.records import write_json

SCHEMA = 1
Measures = Mapping[str, Mapping[str, float]]
"""Values by part ("valid", "test") and by what was measured."""


@dataclass(frozen=True)
class Measured:
    """One run of a recipe, scored with the weights of its best epoch.

    Attributes:
        recipe: its name.
        against: the recipe without the noise, whose runs of equal seeds it is compared with; "" for none.
        seed: of weights, order and noise.
        metric: what the recipe is judged by, among what was measured.
        digits: behind the point, where the metric is printed.
        higher_is_better: whether more of the metric is better.
        command: that was run.
        commit: of the source, "" where that was not under version control.
        version: of recurdrop.
        torch: its version.
        machine: processor architecture, system and threads.
        precision: "32" or "bf16-mixed".
        minutes: of training, an upper bound on a machine that is shared.
        epochs: done.
        best_epoch: the one with the lowest validation loss.
        measured: the metric and other measures.
        baselines: the metric of what needs no training.
        published: the published number of the metric by part, where one is known.
        curve: training and validation metric after each epoch; empty where it was not kept.
        note: what a reader must know of this run, "" for nothing.
    """

    recipe: str
    against: str
    seed: int
    metric: str
    digits: int
    higher_is_better: bool
    command: str
    commit: str
    version: str
    torch: str
    machine: str
    precision: str
    minutes: float
    epochs: int
    best_epoch: int
    measured: Measures
    baselines: Measures = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[tuple[float, float], ...] = ()
    note: str = ""

    @property
    def file_name(self) -> str:
        """The name of its file: recipe and seed, which no two records of a page share."""
        return f"{self.recipe}-seed{self.seed}.json"


def write_measured(folder: Path, record: Measured) -> Path:
    """Write a record into a folder, which is made if there is none, in place of an earlier one of that run.

    Raises:
        ValueError: the folder can't be written.
    """
    path = folder / record.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"schema": SCHEMA, **dataclasses.asdict(record)})
    except OSError as error:
        value = f"{folder} ({error.strerror})"
        raise invalid("records must be a folder that can be written", value, "Choose another.") from None
    return path


def read_measured(folder: Path) -> list[Measured]:
    """Read all records of a folder, by recipe and seed.

    Raises:
        ValueError: there is no such folder, no record in it, or a file in it is no record.
    """
    records = [_read(path) for path in sorted(folder.glob("*.json"))]
    if not records:
        rule = "records must be a folder with the files that recurdrop reproduce writes"
        raise invalid(rule, str(folder), "Run recurdrop reproduce first, or give another folder.")
    return sorted(records, key=lambda record: (record.recipe, record.seed))


def _read(path: Path) -> Measured:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("schema") != SCHEMA:
            raise KeyError
        data["curve"] = tuple((_number(train), _number(valid)) for train, valid in data["curve"])
        for name in ("measured", "baselines"):
            data[name] = {part: {what: _number(x) for what, x in of.items()} for part, of in data[name].items()}
        record = Measured(**data)
        if record.metric not in record.measured["valid"]:
            raise KeyError
    except (ValueError, KeyError, TypeError, AttributeError):
        rule = f"a record of a result must be JSON of schema {SCHEMA} with its fields"
        raise invalid(rule, str(path), "Remove the file, or write it anew with recurdrop reproduce.") from None
    except OSError as error:
        raise invalid("a record must be readable", f"{path} ({error.strerror})", "Check its permissions.") from None
    return record


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
