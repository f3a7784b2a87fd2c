"""`recurdrop compare`: which method helps on a text?"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from recurdrop.cli import bad_input, fail, need
from recurdrop.train.config import Config

if TYPE_CHECKING:
    from recurdrop.records import Row
    from recurdrop.study.compare import Comparison

_NARROWEST = 110
_DEFAULT = Config()


def compare(
    text: Annotated[
        Path | None, typer.Argument(help="UTF-8 text, plain or .gz; without it, the English prose inside Python.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="E.g. awd,zaremba:0.3,zoneout:c=0.2,h=0.1. By default all that differ, at published rates."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each method; none and each method share them.")] = 3,
    epochs: Annotated[int, typer.Option(help="Passes over the training part.")] = _DEFAULT.epochs,
    cell: Annotated[str, typer.Option(help="lstm, gru or rnn.")] = _DEFAULT.cell,
    hidden: Annotated[int, typer.Option(help="Width of embedding and recurrent layers.")] = _DEFAULT.hidden,
    layers: Annotated[int, typer.Option(help="Recurrent layers.")] = _DEFAULT.layers,
    vocabulary: Annotated[int, typer.Option(help="The most words to keep.")] = _DEFAULT.vocabulary,
    tokens: Annotated[int, typer.Option(help="The most tokens of the text to use.")] = _DEFAULT.tokens,
    batch: Annotated[int, typer.Option(help="Streams read side by side.")] = _DEFAULT.batch,
    window: Annotated[int, typer.Option(help="Steps of truncated back-propagation.")] = _DEFAULT.window,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam; over the second half it falls to 0.")] = _DEFAULT.lr,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = _DEFAULT.clip,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs; by default one in recurdrop-runs/ named after the text.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Runs side by side, one thread each; by default one a core. 0: no processes.")
    ] = None,
) -> None:
    """Train the same small language model without regularization and with each method, and rank them.

    Interrupted, the same command goes on where it stopped. Results go to stdout, progress to stderr.
    """
    need("lightning", "matplotlib", "jinja2")
    from recurdrop.data.text import BUILTIN, builtin, prepare, read
    from recurdrop.report import html
    from recurdrop.study.compare import Comparison, default_methods, parse_methods
    from recurdrop.study.folder import slug
    from recurdrop.study.pool import cores

    with bad_input():
        config = Config(cell, hidden, layers, vocabulary, tokens, epochs, batch, window, lr, clip)
        chosen = default_methods(config) if methods is None else parse_methods(methods)
        if workers is not None and workers < 0:
            fail(f"--workers must be 0 or more; got {workers}. 0 trains without processes.")
        name = BUILTIN if text is None else os.fsencode(text.name).decode("utf-8", "replace")
        corpus = prepare(
            builtin() if text is None else read(text),
            name,
            vocabulary=vocabulary,
            tokens=tokens,
            least=batch + 1,
        )
        comparison = Comparison.prepare(corpus, config, chosen, seeds, out)
        comparison.finished()
    folder = comparison.folder.path
    try:
        _run(comparison, cores() if workers is None else workers)
    except KeyboardInterrupt:
        done, total = len(comparison.finished()), len(chosen) * seeds
        kept = f"{done} of {total} runs are kept in {folder}"
        sys.stderr.write(f"recurdrop: stopped; {kept}, the same command goes on from there.\n")
        raise typer.Exit(130) from None
    rows = comparison.conclude()
    command = shlex.join(["recurdrop", *sys.argv[1:]])
    page = html.write(folder, rows, comparison.finished(), command, {label: slug(label) for label in chosen})
    _show(rows, page)


def _run(comparison: Comparison, workers: int) -> None:
    """Do what is left to do under a bar that counts runs and guesses the time left."""
    epochs = comparison.config.epochs
    total, done = len(comparison.methods) * len(comparison.seeds), len(comparison.finished())
    progress = Progress(
        TextColumn("[progress.description]{task.description}"),
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


def _show(rows: list[Row], page: Path) -> None:
    from recurdrop.report import tables

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _NARROWEST)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(tables.COLUMNS):
        table.add_column(column, justify="right" if i else "left", no_wrap=i == 0)
    for i, row in enumerate(rows):
        table.add_row(*(Text(cell) for cell in tables.cells(row)), style="bold" if i == 0 else "")
    console.print(table)
    console.print()
    for line in (tables.verdict(rows), tables.test_line(rows), tables.caption(rows), f"Report: {page}"):
        console.print(Text(line), soft_wrap=line.startswith("Report"))
