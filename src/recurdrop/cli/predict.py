"""`recurdrop predict`: what a trained run says of new data."""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from recurdrop.cli.shell import bad_input, need, tell
from recurdrop.cli.train import check_samples

if TYPE_CHECKING:
    from recurdrop.train.run import Run


_RESOLUTION = 1e-5
"""Of the target's standard deviation: forecasts are printed with digits for steps of this size."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")


class Said(NamedTuple):
    """Lines of a table, and a picture if there is one."""

    header: tuple[str, ...]
    lines: Iterable[Sequence[object]]
    picture: bytes | None = None


class Asked(NamedTuple):
    """What the command line asked for."""

    files: list[Path]
    samples: int
    beam: int
    part: str


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Text with one example a line, or wav files; a forecast takes the run's own table."),
    ] = None,
    part: Annotated[str, typer.Option(help="Forecast: which part of the table.")] = "test",
    samples: Annotated[int, typer.Option(help="Forecast, classify: average over this many noisy passes; 0: none.")] = 0,
    beam: Annotated[int, typer.Option(help="Translation: hypotheses that are kept; 1 is greedy.")] = 1,
    picture: Annotated[Path | None, typer.Option(help="PNG to draw: a forecast, or a trigger over its wave.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data of the training, if they have moved.")] = None,
) -> None:
    """Say what a trained run predicts, as CSV on stdout.

    Example: recurdrop predict recurdrop-runs/jena-gru-dropout-seed1-1a2b3c4d --samples 50 --picture forecast.png
    """
    need("lightning", "safetensors")
    check_samples(samples)
    from recurdrop.errors import invalid
    from recurdrop.kinds.base import PARTS
    from recurdrop.records import write_bytes
    from recurdrop.train.run import Run

    with bad_input():
        if part not in PARTS:
            raise invalid(f"--part must be one of {', '.join(PARTS)}", part, "Choose one of them.")
        if beam < 1:
            raise invalid("--beam must be 1 or more", beam, "Leave it out.")
        found = Run.open(run, data)
        kind = found.recipe.kind
        if kind not in _KINDS:
            remedy = "Try recurdrop generate." if kind == "language" else "Try recurdrop eval."
            raise invalid(f"predict is for {', '.join(_KINDS)}", kind, remedy)
        given = {
            "files": " ".join(map(str, files or [])),
            "--part": part if part != "test" else None,
            "--samples": samples,
            "--beam": beam if beam != 1 else None,
            "--picture": picture and str(picture),
        }
        for name, value in given.items():
            if value and name not in _TAKES[kind]:
                raise invalid(f"a {kind} run takes no {name}", value, "Leave it out.")
        tell(found.task.report)
        said = _KINDS[kind](found, Asked(files or [], samples, beam, part))
        if picture is not None and said.picture is not None:
            try:
                write_bytes(picture, said.picture)
            except OSError as error:
                value = f"{picture} ({error.strerror})"
                remedy = "Name one in a folder that exists."
                raise invalid("--picture must be a file that can be written", value, remedy) from None
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([_harmless(cell) for cell in said.header])
    writer.writerows([_harmless(cell) for cell in line] for line in said.lines)


def _harmless(cell: object) -> object:
    """Return a text so that no spreadsheet runs it as a formula: with an apostrophe in front; numbers as they are."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA) or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def _forecast(run: Run, asked: Asked) -> Said:
    from recurdrop.kinds.forecast.task import LEVEL
    from recurdrop.report.forecast_plot import forecast_plot

    found: Any = run.task.forecast(run.model(), asked.part, samples=asked.samples)  # type: ignore[attr-defined]
    places = found.rows if found.times is None else found.times
    values = (found.target, found.mean, found.low, found.high)
    drawn = forecast_plot(places, *values, label=run.recipe.data.target, level=LEVEL)
    resolution = run.task.series.scale * _RESOLUTION  # type: ignore[attr-defined]
    lines = (
        (place, _exact(observed), *(_rounded(value, resolution) for value in row))
        for place, observed, *row in zip(places, *values, strict=True)
    )
    return Said(("time", "observed", "forecast", "low", "high"), lines, drawn)


def _exact(value: float) -> str:
    """Return the shortest text that reads as this very number, without a point where none is needed."""
    return repr(float(value)).removesuffix(".0")


def _rounded(value: float, resolution: float) -> str:
    """Return a number with six digits, or more where they are needed to tell it from others at this distance."""
    digits = 6
    if value and math.isfinite(value):
        digits = max(6, min(17, math.ceil(math.log10(abs(value) / resolution)) + 1))
    return f"{value:.{digits}g}"


def _classify(run: Run, asked: Asked) -> Said:
    texts = _texts(asked.files, run.recipe.data.text, run.recipe.data)
    found = run.task.classify(run.model(), texts, samples=asked.samples)  # type: ignore[attr-defined]
    classes = [str(name) for name in run.task.data.classes]  # type: ignore[attr-defined]
    lines = (
        (classes[int(row.argmax())], *(f"{float(p):.4f}" for p in row), text)
        for row, text in zip(found, texts, strict=True)
    )
    return Said(("label", *classes, "text"), lines)


def _translate(run: Run, asked: Asked) -> Said:
    sentences = _lines(asked.files)
    found = run.task.translate(run.model(), sentences, asked.beam)  # type: ignore[attr-defined]
    return Said(("source", "translation"), zip(sentences, found, strict=True))


def _trigger(run: Run, asked: Asked) -> Said:
    from recurdrop.kinds.speech.data import read_wave
    from recurdrop.report.trigger_plot import trigger

    model: Any = run.model()
    task: Any = run.task
    lines, drawn = [], None
    rate = task.mel.rate
    step = model.stride * task.mel.step / rate
    for file in _some(asked.files, "wav files"):
        wave = read_wave(file, rate)
        probabilities, times = task.detect(model, wave)
        lines += [(str(file), f"{time:.3f}") for time in times]
        if drawn is None:
            drawn = trigger(
                wave, rate, probabilities, step, times, threshold=run.recipe.data.threshold, title=file.name
            )
    return Said(("file", "seconds"), lines, drawn)


def _speech(run: Run, asked: Asked) -> Said:
    from recurdrop.kinds.speech.data import read_wave

    model, task = run.model(), run.task
    lines = []
    for file in _some(asked.files, "wav files"):
        found = task.classify(model, read_wave(file, task.mel.rate))  # type: ignore[attr-defined]
        label, probability = next(iter(found.items()))
        lines.append((str(file), label, f"{probability:.4f}"))
    return Said(("file", "label", "probability"), lines)


_KINDS: dict[str, Callable[[Run, Asked], Said]] = {
    "forecast": _forecast,
    "classify": _classify,
    "translate": _translate,
    "trigger": _trigger,
    "speech": _speech,
}
_TAKES = {
    "forecast": ("--part", "--samples", "--picture"),
    "classify": ("files", "--samples"),
    "translate": ("files", "--beam"),
    "trigger": ("files", "--picture"),
    "speech": ("files",),
}


def _texts(files: list[Path], column_name: str | None, reading: Any) -> list[str]:
    """Return the lines of each file, of a table its column of texts."""
    from recurdrop.files.tables import is_table
    from recurdrop.kinds.classify.files import read_texts

    found: list[str] = []
    for file in _some(files, "a text with one example a line"):
        found += _lines([file]) if column_name is None or not is_table(file) else read_texts(file, column_name, reading)
    return found


def _lines(files: list[Path]) -> list[str]:
    from recurdrop.files.text import read

    texts = [read(file) for file in _some(files, "a text with one example a line")]
    # Not splitlines: Unicode's other line ends stand within a line, and output must stand line by line.
    return [line for text in texts for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n")]


def _some(files: list[Path], what: str) -> list[Path]:
    from recurdrop.errors import invalid

    if not files:
        raise invalid(f"this run predicts from {what}", "no file", "Name one after the run.")
    return files
