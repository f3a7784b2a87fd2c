"""`recurdrop reproduce`: a published result, trained anew and put beside what was published."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from recurdrop.cli.console import Console
from recurdrop.cli.shell import bad_input, fail, say
from recurdrop.cli.train import (
    AcceleratorOption,
    DataOption,
    DevicesOption,
    OutOption,
    PrecisionOption,
    SeedOption,
    SetOption,
    TensorBoardOption,
    check_machine,
    check_samples,
    fitted,
    prepared,
)

if TYPE_CHECKING:
    from recurdrop.train.results import Result


def reproduce(
    recipe: Annotated[str, typer.Argument(help="Name of a published recipe (recurdrop recipes), or a TOML file.")],
    data: DataOption = None,
    changes: SetOption = None,
    out: OutOption = None,
    seed: SeedOption = 1,
    samples: Annotated[int, typer.Option(help="Also score with this many passes with noise, averaged.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds, from --seed on, one after the other.")] = 1,
    results: Annotated[Path, typer.Option(help="CSV file to append to.")] = Path("results.csv"),
    records: Annotated[Path, typer.Option(help="Folder of one small JSON file a run.")] = Path("recurdrop-results"),
    accelerator: AcceleratorOption = "cpu",
    devices: DevicesOption = 1,
    precision: PrecisionOption = "32",
    tensorboard: TensorBoardOption = False,
) -> None:
    """Train a recipe, score it, and print what was published beside what was measured.

    Interrupted or killed, the same command goes on.

    Example: recurdrop reproduce jena-gru-dropout --data weather_2020.csv
    """
    check_machine(accelerator, devices, precision, tensorboard)
    check_samples(samples)
    if seeds < 1:
        fail(f"--seeds must be 1 or more; got {seeds}. Leave it out for one.")
    from recurdrop.measured import write_measured
    from recurdrop.train.results import append, as_record, measure

    command = shlex.join(["recurdrop", *sys.argv[1:]])
    for each in range(seed, seed + seeds):
        run = prepared(recipe, data, changes, out if out is None or seeds == 1 else out / f"seed{each}", each)
        with bad_input():
            append(results, [])
        seconds = fitted(run, accelerator, devices, precision, tensorboard)
        with bad_input():
            rows = measure(run, seconds, samples)
            append(results, rows)
            written = write_measured(records, as_record(run, rows, command, precision))
        _show(run.recipe.name, each, rows)
        say(f"Appended to {results}, written to {written}. Run: {run.folder}")
    if seeds > 1:
        only = ",".join(name for name in (run.recipe.against, run.recipe.name) if name)
        say(f"All seeds: recurdrop results {shlex.quote(str(records))} --only {only}")


def _show(name: str, seed: int, rows: Sequence[Result]) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("part", "what", "published", "measured"):
        table.add_column(column, justify="left" if column in ("part", "what") else "right")
    for row in rows:
        table.add_row(row.part, Text(row.what), _number(row.published), _number(row.measured))
    console.print(Text(f"{name}, seed {seed}: best epoch {rows[0].best_epoch} of {rows[0].epochs}"))
    console.print(table)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"
