"""`recurdrop reproduce`: a published result, trained anew and put beside what was published."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from recurdrop.cli.console import Console
from recurdrop.cli.shell import bad_input, say
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


def reproduce(
    recipe: Annotated[str, typer.Argument(help="Name of a published recipe (recurdrop recipes), or a TOML file.")],
    data: DataOption = None,
    changes: SetOption = None,
    out: OutOption = None,
    seed: SeedOption = 1,
    samples: Annotated[int, typer.Option(help="Also score with this many passes with noise, averaged.")] = 0,
    results: Annotated[Path, typer.Option(help="CSV file to append to.")] = Path("results.csv"),
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
    from recurdrop.train.results import append, measure

    run = prepared(recipe, data, changes, out, seed)
    with bad_input():
        append(results, [])
    seconds = fitted(run, accelerator, devices, precision, tensorboard)
    with bad_input():
        found = measure(run, seconds, samples)
        append(results, found)
    console = Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("part", "what", "published", "measured"):
        table.add_column(column, justify="left" if column in ("part", "what") else "right")
    for row in found:
        table.add_row(row.part, row.what, _number(row.published), _number(row.measured))
    console.print(f"{run.recipe.name}, seed {seed}: best epoch {found[0].best_epoch} of {found[0].epochs}")
    console.print(table)
    say(f"Appended to {results}. Run: {run.folder}")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"
