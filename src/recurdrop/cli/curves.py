"""`recurdrop curves`: runs in one picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from recurdrop.cli.shell import bad_input, need, say


def curves(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs on the same data, first that without noise.")],
    out: Annotated[Path, typer.Option(help="PNG to draw.")] = Path("curves.png"),
) -> None:
    """Draw training and validation curves of runs, and the best baseline: overfitting and its cure.

    Example: recurdrop curves recurdrop-runs/jena-gru-seed1-1a2b3c4d recurdrop-runs/jena-gru-dropout-seed1-5e6f7a8b
    """
    need("lightning", "safetensors", "matplotlib")
    from recurdrop.errors import invalid
    from recurdrop.records import write_bytes
    from recurdrop.report.overfitting_plot import overfitting_plot
    from recurdrop.train.run import Run

    with bad_input():
        found = [Run.open(folder) for folder in runs]
        task = found[0].task
        metric = task.metric
        names: list[str] = []
        recipes: list[str] = []
        for run in found:
            if (run.task.sha256, run.recipe.data) != (task.sha256, found[0].recipe.data):
                raise invalid("runs in one picture are on the same data", str(run.folder), "Draw two pictures.")
            names.append(f"{run.recipe.name}, seed {run.seed}" if run.recipe.name in recipes else run.recipe.name)
            recipes.append(run.recipe.name)
        if len(set(names)) < len(names):
            raise invalid("every run in a picture has a recipe or a seed of its own", names, "Leave one out.")
        drawn = {
            name: ([point.train_metric for point in run.curve()], [point.valid_metric for point in run.curve()])
            for name, run in zip(names, found, strict=True)
        }
        known = {name: score.metric for name, score in task.baselines("valid").items() if math.isfinite(score.metric)}
        best = (max if metric.higher_is_better else min)(known.items(), key=lambda item: item[1], default=None)
        label = f"{metric.name}, {metric.unit}" if metric.unit else metric.name
        picture = overfitting_plot(drawn, baseline=best, label=label, higher_is_better=metric.higher_is_better)
        try:
            write_bytes(out, picture)
        except OSError as error:
            value = f"{out} ({error.strerror})"
            raise invalid("--out must be a file that can be written", value, "Choose another.") from None
    say(str(out))
