"""Run records and summaries: what training hands to reports, as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recurdrop.errors import invalid

SCHEMA = 1
NONE = "none"
"""The label of the runs without regularization."""


@dataclass(frozen=True)
class Point:
    """Losses at one moment of a run, in nats per token and in evaluation mode; NaN once a run has diverged.

    Attributes:
        update: optimizer updates so far.
        train: on a fixed slice of the training part.
        valid: on the validation part.
    """

    update: int
    train: float
    valid: float
    train_metric: float = math.nan
    valid_metric: float = math.nan


@dataclass(frozen=True)
class RunRecord:
    """Everything about one run.

    Attributes:
        method: label of the method, as it was asked for; `NONE` without regularization.
        noise: the method with all its rates, "" without regularization.
        cite: the method's source, "" without regularization.
        seed: of initial weights and noise.
        config: settings of the training run.
        text: name, sha256, words in the vocabulary, tokens of each part.
        versions: of Python and of each package that matters.
        machine: platform, processor threads used, backend of the recurrent layers.
        curve: losses after each epoch.
        step_seconds: time of each optimizer update.
    """

    method: str
    noise: str
    cite: str
    seed: int
    config: dict[str, str | int | float]
    text: dict[str, str | int]
    versions: dict[str, str]
    machine: dict[str, str | int]
    curve: tuple[Point, ...]
    step_seconds: tuple[float, ...]

    @property
    def best(self) -> Point:
        """The point of lowest validation loss, the first of equals; the last point of a run that never had a loss."""
        finite = [point for point in self.curve if math.isfinite(point.valid)]
        return min(finite, key=lambda point: point.valid, default=self.curve[-1])


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and what lies around it.

    Attributes:
        mean: over the seeds.
        half: half of the interval (which one is said where it is used); NaN with one seed.
    """

    mean: float
    half: float


@dataclass(frozen=True)
class Row:
    """One method in a comparison, from the best validation epoch of each of its runs.

    Attributes:
        method: label of the method.
        noise: the method with all its rates.
        cite: its source.
        seeds: runs.
        loss: mean validation loss, nats per token, by which rows are ranked; NaN if a run diverged.
        train: train perplexity, mean and standard deviation.
        valid: validation perplexity, mean and standard deviation.
        gap: validation less train loss, nats per token.
        difference: validation loss less that of `NONE` with the same seed, nats per token: mean and half of the
            95 % interval of Student's t over the pairs. None for `NONE` itself.
        wins: seeds on which it beats `NONE`.
        best_epoch: mean number of the best epoch.
        last: validation perplexity after the last epoch, mean and standard deviation.
        step: time of an update relative to `NONE`, from the fastest tenth of the updates.
        test: test perplexity, mean and standard deviation, of the winner and of `NONE`; None for the others.
    """

    method: str
    noise: str
    cite: str
    seeds: int
    loss: float
    train: Spread
    valid: Spread
    gap: float
    difference: Spread | None
    wins: int
    best_epoch: float
    last: Spread
    step: float
    test: Spread | None = None


def _plain(value: Any) -> Any:
    """Return what strict JSON can hold: dataclasses as objects, NaN and infinities as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, even when killed."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a dataclass or plain data as JSON, whole or not at all."""
    text = json.dumps(_plain(value), indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(path, f"{text}\n".encode())


def write(path: Path, record: RunRecord) -> None:
    """Write one record, atomically."""
    write_json(path, {"schema": SCHEMA, **_plain(record)})


def read(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        ValueError: the file is no record of this schema.
    """
    remedy = "Remove the file, and the run is done again."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise invalid("a run record must be JSON", str(path), remedy) from None
    try:
        if data.pop("schema") != SCHEMA:
            raise KeyError
        curve = tuple(Point(p["update"], _number(p["train"]), _number(p["valid"])) for p in data["curve"])
        record = RunRecord(**{**data, "curve": curve, "step_seconds": tuple(map(float, data["step_seconds"]))})
        record.best  # noqa: B018  (an empty curve has none)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise invalid(f"a run record must have schema {SCHEMA} and its fields", str(path), remedy) from None
    return record


def _number(value: float | None) -> float:
    return math.nan if value is None else value
