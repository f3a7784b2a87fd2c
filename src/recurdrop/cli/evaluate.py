"""`recurdrop eval`: how good a trained run is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from recurdrop.cli.console import Console
from recurdrop.cli.shell import bad_input, need
from recurdrop.cli.train import check_samples


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    part: Annotated[str, typer.Option(help="train (a slice), valid or test.")] = "test",
    samples: Annotated[int, typer.Option(help="Average predictions over this many passes with noise; 0 for none.")] = 0,
    data: Annotated[Path | None, typer.Option(help="The data of the training, if they have moved.")] = None,
) -> None:
    """Score the best weights of a run, beside what needs no training.

    Example: recurdrop eval recurdrop-runs/gal-medium-seed1-1a2b3c4d --part valid --samples 10
    """
    need("lightning", "safetensors")
    check_samples(samples)
    from recurdrop.errors import invalid
    from recurdrop.kinds.base import PARTS
    from recurdrop.train.run import Run

    with bad_input():
        if part not in PARTS:
            raise invalid(f"--part must be one of {', '.join(PARTS)}", part, "Choose one of them.")
        found = Run.open(run, data)
        score, final = found.score(part, samples=samples)
    metric = found.task.metric
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    unit = f" ({metric.unit})" if metric.unit else ""
    for column in ("", f"{metric.name}{unit}", f"loss ({found.task.loss_unit})", "also"):
        table.add_column(column, justify="right" if column and column != "also" else "left")
    rows = {"best weights": score, **found.task.baselines(part)}
    for name, row in rows.items():
        others = {**row.others, **(final if name == "best weights" else {})}
        also = ", ".join(f"{other} {value:.3f}" for other, value in others.items())
        table.add_row(name, f"{row.metric:.{metric.digits}f}", f"{row.loss:.4f}", also)
    Console().print(table)
