"""`recurdrop compare`: which method helps on your data?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from recurdrop.cli.console import Console
from recurdrop.cli.kinds import COMMON, KEYS, kind_of, recipe_of, setup
from recurdrop.cli.shell import INTERRUPTED, bad_input, fail, need, tell, warn, widen

if TYPE_CHECKING:
    from recurdrop.records import Row, RunRecord
    from recurdrop.study.compare import Comparison

_NARROWEST = 120


def compare(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Text; a table (CSV, TSV, Parquet) with --target, or with --label and --text; a folder of wav files; "
            "sentence pairs with --source-language and --target-language; JSON of polyphonic music. Plain or .gz. "
            "Without it, the English prose inside Python."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="E.g. awd,zaremba:0.3,zoneout:c=0.2,h=0.1. By default all that differ, at published rates."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each method; none and each method share them.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training part.")] = None,
    cell: Annotated[str | None, typer.Option(help="lstm, gru or rnn.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Width of the recurrent layers.")] = None,
    layers: Annotated[int | None, typer.Option(help="Recurrent layers.")] = None,
    batch: Annotated[int | None, typer.Option(help="Examples of an update, or streams of text side by side.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of Adam; over the second half it falls to 0.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient.")] = None,
    target: Annotated[str | None, typer.Option(help="Column to forecast.")] = None,
    window: Annotated[int | None, typer.Option(help="Text: steps of back-propagation. Forecast: rows seen.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Forecast: rows ahead.")] = None,
    step: Annotated[int | None, typer.Option(help="Forecast: rows from one seen to the next.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of classes.")] = None,
    text: Annotated[str | None, typer.Option(help="Column of texts to classify.")] = None,
    vocabulary: Annotated[int | None, typer.Option(help="Text: the most words to keep.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Text: the most tokens to use.")] = None,
    source_language: Annotated[str | None, typer.Option(help="As names of files end, e.g. en.")] = None,
    target_language: Annotated[str | None, typer.Option(help="Likewise, e.g. de.")] = None,
    task: Annotated[str | None, typer.Option(help="Kind of task, where data and flags don't tell it.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting: data.KEY=VALUE, model.… or training.….")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs; by default one in recurdrop-runs/ named after the data.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Runs side by side, one thread each; by default one a core. 0: no processes.")
    ] = None,
) -> None:
    """Train the same small model without regularization and with each method, and rank them.

    Each kind of data has defaults of its own, small enough for minutes; the report lists them. Interrupted, the same
    command goes on where it stopped. Results go to stdout, progress to stderr.

    Example: recurdrop compare mytext.txt --methods awd,zaremba:0.3 --seeds 5
    """
    flags = {name: value for name, value in locals().items() if name in {*KEYS, *COMMON}}
    need("lightning", "safetensors", "matplotlib", "jinja2")
    from concurrent.futures.process import BrokenProcessPool

    from recurdrop.report import html
    from recurdrop.study.compare import Comparison, default_methods, parse_methods
    from recurdrop.study.folder import slug
    from recurdrop.study.pool import cores

    with bad_input():
        kind = kind_of(data, flags) if task is None else task
        recipe = recipe_of(kind, flags, changes or [])
        chosen = None if methods is None else parse_methods(methods)
        if workers is not None and workers < 0:
            fail(f"--workers must be 0 or more; got {workers}. 0 trains without processes.")
        made = setup(data, recipe)
        comparison = Comparison.prepare(made, chosen or default_methods(made), seeds, out)
        comparison.finished()
    tell(made.task.report)
    folder = comparison.folder.path
    try:
        with bad_input():
            _run(comparison, cores() if workers is None else workers)
    except KeyboardInterrupt:
        warn(f"stopped; {_kept(comparison)}, the same command goes on from there.")
        raise SystemExit(INTERRUPTED) from None
    except BrokenProcessPool:
        why = "a process that trained was ended from outside, as systems do where memory runs out"
        fail(f"{why}; {_kept(comparison)}. The same command goes on from there; lower --workers if it happens again.")
    with bad_input():
        rows = comparison.conclude()
    command = shlex.join(["recurdrop", *sys.argv[1:]])
    names = {label: slug(label) for label in comparison.methods}
    page = html.write(folder, rows, comparison.finished(), command, names)
    _show(rows, comparison.finished()[0], page)


def _kept(comparison: Comparison) -> str:
    total = len(comparison.methods) * len(comparison.seeds)
    return f"{len(comparison.finished())} of {total} runs are kept in {comparison.folder.path}"


def _run(comparison: Comparison, workers: int) -> None:
    """Do what is left to do under a bar that counts runs and guesses the time left."""
    epochs = comparison.setup.training.epochs
    total, done = len(comparison.methods) * len(comparison.seeds), len(comparison.finished())
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs,"),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        speed_estimate_period=120,
    )
    with progress:
        task = progress.add_task(f"{done}/{total} runs", total=epochs * total, completed=epochs * done)
        reached: dict[tuple[str, int], int] = {}

        def on_epoch(label: str, seed: int, epoch: int) -> None:
            reached[label, seed] = epoch
            ended = done + sum(count == epochs for count in reached.values())
            progress.update(
                task,
                completed=epochs * done + sum(reached.values()),
                description=f"{ended}/{total} runs, {label} seed {seed}",
            )

        comparison.run(workers, on_epoch)
        progress.update(task, completed=epochs * total, description=f"{total}/{total} runs")


def _show(rows: list[Row], run: RunRecord, page: Path) -> None:
    from recurdrop.report import tables

    console = Console()
    cells = [tables.cells(row, run.metric) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widen(console, max(_NARROWEST, sum(widths) + 2 * len(widths)))  # numbers in one line
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, (column, width) in enumerate(zip(tables.columns(run), widths, strict=True)):
        least = None if console.is_terminal else width
        table.add_column(column, justify="right" if i else "left", no_wrap=i == 0, min_width=least)
    for row, texts in zip(rows, cells, strict=True):
        table.add_row(*texts, style="bold" if row is tables.winner(rows) else "")
    console.print(table)
    console.print()
    said = tables.verdict(rows, run.metric), tables.test_line(rows, run.metric), tables.caption(rows, run)
    for line in (*said, f"Report: {page}"):
        console.print(line, soft_wrap=line.startswith("Report"))
