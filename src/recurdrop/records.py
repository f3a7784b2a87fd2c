"""Run records and summaries: what training hands to reports, as JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recurdrop.errors import invalid

SCHEMA = 2
NONE = "none"
"""The label of the runs without regularization."""
_MOST_DIGITS = 17
_KINDS: dict[str, Any] = {"str": str, "int": int, "float": int | float, "bool": bool, "dict": dict}
_LEFT_OVER = re.compile(r".+\.(json|safetensors|png|html)(\.\d+)?\.part")


@dataclass(frozen=True)
class Metric:
    """What people read, beside the loss.

    Attributes:
        name: "perplexity" or "MAE".
        unit: of its values, "" for none.
        higher_is_better: whether more is better.
        digits: behind the point, where it is printed.
    """

    name: str
    unit: str = ""
    higher_is_better: bool = False
    digits: int = 2

    def better(self, one: float, other: float) -> bool:
        """Return whether one value is better than another; NaN is never better."""
        return one > other if self.higher_is_better else one < other


@dataclass(frozen=True)
class Point:
    """Loss and metric at one moment of a run, in evaluation mode; NaN once a run has diverged.

    Attributes:
        update: optimizer updates so far.
        train: loss on a fixed slice of the training part.
        valid: loss on the validation part.
        train_metric: metric on that slice.
        valid_metric: metric on the validation part.
    """

    update: int
    train: float
    valid: float
    train_metric: float
    valid_metric: float


@dataclass(frozen=True)
class RunRecord:
    """Everything about one run.

    Attributes:
        task: its kind.
        method: label of the method, as it was asked for; `NONE` without regularization.
        noise: the method with all its rates, "" without regularization.
        cite: the method's source, "" without regularization.
        arguments: the method's rates and switches by name.
        seed: of initial weights and noise.
        config: settings by the names that `--set` takes, such as `model.hidden`; the noise left out.
        data: name, sha256, and what there is of them.
        metric: what people read.
        loss_unit: of the losses, such as "nats per token".
        versions: of Python and of each package that matters.
        machine: platform, processor threads used, backend of the recurrent layers.
        curve: loss and metric after each epoch.
        step_seconds: time of each optimizer update.
        account: what was read, and what was done about it, by what it is of.
    """

    task: str
    method: str
    noise: str
    cite: str
    arguments: dict[str, Any]
    seed: int
    config: dict[str, Any]
    data: dict[str, str | int]
    metric: Metric
    loss_unit: str
    versions: dict[str, str]
    machine: dict[str, str | int]
    curve: tuple[Point, ...]
    step_seconds: tuple[float, ...]
    account: dict[str, str] = dataclasses.field(default_factory=dict)

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
    """One method in a comparison, from the best validation epoch of each of its runs; or a baseline.

    Attributes:
        method: label of the method, or name of the baseline.
        noise: the method with all its rates.
        cite: its source.
        seeds: runs; 0 for a baseline, which needs none.
        loss: mean validation loss, by which rows are ranked, whatever the metric; NaN if a run diverged, or for a
            baseline that has none.
        train: metric on the training slice, mean and standard deviation.
        valid: metric on the validation part, mean and standard deviation.
        gap: validation less train loss.
        difference: validation loss less that of `NONE` with the same seed: mean and half of the 95 % interval of
            Student's t over the pairs. None for `NONE` itself and for baselines.
        wins: seeds on which it beats `NONE`.
        best_epoch: mean number of the best epoch.
        last: metric on the validation part after the last epoch, mean and standard deviation.
        step: time of an update relative to `NONE`, from the fastest tenth of the updates.
        test: metric on the test part, mean and standard deviation, of the winner, `NONE` and baselines.
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

    @property
    def baseline(self) -> bool:
        """Whether it needs no training."""
        return self.seeds == 0


def plain(value: Any) -> Any:
    """Return what strict JSON can hold: dataclasses as objects, NaN and infinities as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, even when killed, and whoever else writes it at the same time.

    Raises:
        OSError: it can't be written, for want of space or rights; it names the file, which is as it was.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def is_left_over(name: str) -> bool:
    """Return whether a file has the name of one that `write_bytes` began and was killed in."""
    return _LEFT_OVER.fullmatch(name) is not None


def write_json(path: Path, value: Any) -> None:
    """Write a dataclass or plain data as JSON, whole or not at all."""
    text = json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(path, f"{text}\n".encode())


def write(path: Path, record: RunRecord) -> None:
    """Write one record, atomically."""
    write_json(path, {"schema": SCHEMA, **plain(record)})


def read(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        ValueError: the file is no record of this schema.
    """
    remedy = "Remove the file, and the run is done again."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise invalid("a run record must be JSON", str(path), remedy) from None
    try:
        if data.pop("schema") != SCHEMA:
            raise KeyError
        curve = tuple(Point(**{name: _number(value) for name, value in point.items()}) for point in data["curve"])
        seconds = tuple(map(float, data["step_seconds"]))
        record = RunRecord(**{**data, "metric": Metric(**data["metric"]), "curve": curve, "step_seconds": seconds})
        record.best  # noqa: B018  (an empty curve has none)
        _check_types(record)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise invalid(f"a run record must have schema {SCHEMA} and its fields", str(path), remedy) from None
    return record


def _check_types(record: RunRecord) -> None:
    """Raise a `TypeError` where a field is of another type than its class says."""
    parts: tuple[RunRecord | Metric | Point, ...] = (record, record.metric, *record.curve)
    for part in parts:
        for field in dataclasses.fields(part):
            kind = _KINDS.get(str(field.type).partition("[")[0], object)
            value = getattr(part, field.name)
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise TypeError(field.name)
    if not 0 <= record.metric.digits <= _MOST_DIGITS:
        raise ValueError(record.metric.digits)


def _number(value: Any) -> Any:
    return math.nan if value is None else value
