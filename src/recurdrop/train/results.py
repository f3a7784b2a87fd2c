"""Measured beside published, as rows of a CSV file and as records."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recurdrop.errors import invalid
from recurdrop.kinds.base import Part
from recurdrop.measured import Measured
from recurdrop.train.environment import source_commit, versions
from recurdrop.train.run import Run


@dataclass(frozen=True)
class Result:
    """One number of one run.

    Attributes:
        recipe: its name.
        part: "valid" or "test".
        what: the metric, another measure, or a baseline by its name.
        published: NaN where none is known.
        measured: with the weights of the best epoch.
        seed: of the run.
        epochs: done.
        best_epoch: the one with the lowest validation loss.
        minutes: of training since the command began.
        recurdrop: version.
        torch: version.
        machine: platform and threads.
        folder: of the run.
    """

    recipe: str
    part: str
    what: str
    published: float
    measured: float
    seed: int
    epochs: int
    best_epoch: int
    minutes: float
    recurdrop: str
    torch: str
    machine: str
    folder: str


def measure(run: Run, seconds: float, samples: int = 0) -> list[Result]:
    """Score the best weights on validation and test part, beside baselines and published numbers.

    Args:
        run: that has been trained.
        seconds: that training took.
        samples: of further scores with noise; 0 for none.
    """
    curve = run.curve()
    losses = [point.valid if math.isfinite(point.valid) else math.inf for point in curve]
    have = versions()
    machine = f"{platform.machine()}, {platform.system()}, {torch.get_num_threads()} threads"
    metric, numbers = run.task.metric.name, run.recipe.published
    found, model = [], run.model()

    def add(part: str, what: str, measured: float, published: float = math.nan) -> None:
        found.append(
            Result(
                recipe=run.recipe.name,
                part=part,
                what=what,
                published=published,
                measured=measured,
                seed=run.seed,
                epochs=len(curve),
                best_epoch=losses.index(min(losses)) + 1,
                minutes=round(seconds / 60, 2),
                recurdrop=have["recurdrop"],
                torch=have["torch"],
                machine=machine,
                folder=str(run.folder),
            )
        )

    parts: tuple[Part, ...] = ("valid", "test")
    for part in parts:
        score, final = run.task.score(model, part), run.task.final(model, part)
        measures = {metric: score.metric, **score.others, **final}
        for what, value in measures.items():
            is_published = numbers is not None and numbers.metric == what
            add(part, what, value, getattr(numbers, part) if is_published else math.nan)
        if samples:
            noisy = run.task.score(model, part, samples=samples)
            add(part, f"{metric}, {samples} samples", noisy.metric)
        for name, baseline in run.task.baselines(part).items():
            add(part, f"{metric} of {name}", baseline.metric)
    return found


def as_record(run: Run, rows: Sequence[Result], command: str, precision: str) -> Measured:
    """Return what `measure` found as one record, with the run's curve.

    Args:
        run: that was measured.
        rows: what `measure` returned.
        command: that trained it, for people who repeat it.
        precision: that it was trained in.
    """
    metric, first = run.task.metric, rows[0]
    measured: dict[str, dict[str, float]] = {part: {} for part in ("valid", "test")}
    baselines: dict[str, dict[str, float]] = {part: {} for part in ("valid", "test")}
    prefix = f"{metric.name} of "
    for row in rows:
        into = baselines if row.what.startswith(prefix) else measured
        into[row.part][row.what.removeprefix(prefix)] = row.measured
    return Measured(
        recipe=run.recipe.name,
        against=run.recipe.against,
        seed=run.seed,
        metric=metric.name,
        digits=metric.digits,
        higher_is_better=metric.higher_is_better,
        command=command,
        commit=source_commit(),
        version=first.recurdrop,
        torch=first.torch,
        machine=first.machine,
        precision=precision,
        minutes=first.minutes,
        epochs=first.epochs,
        best_epoch=first.best_epoch,
        measured=measured,
        baselines=baselines,
        published={row.part: row.published for row in rows if math.isfinite(row.published)},
        curve=tuple((point.train_metric, point.valid_metric) for point in run.curve()),
    )


def _add(path: Path, data: bytes) -> None:
    """Add bytes to the end of a file at once, or leave it as it was."""
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(before)
            raise


def append(path: Path, rows: Sequence[Result]) -> None:
    """Append rows to a CSV file, which is made with its header if there is none.

    Raises:
        ValueError: the file is something else, or can't be written.
    """
    header = [field.name for field in dataclasses.fields(Result)]
    try:
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                if next(csv.reader(file), header) != header:
                    raise ValueError
        lines = io.StringIO(newline="")
        writer = csv.writer(lines)
        if not path.exists() or path.stat().st_size == 0:
            writer.writerow(header)
        writer.writerows(dataclasses.astuple(row) for row in rows)
        _add(path, lines.getvalue().encode("utf-8", "backslashreplace"))
    except (ValueError, csv.Error):  # of decoding, too
        raise invalid("--results must be a file of results", str(path), "Choose another.") from None
    except OSError as error:
        value = f"{path} ({error.strerror})"
        raise invalid("--results must be a file that can be written", value, "Choose another.") from None
