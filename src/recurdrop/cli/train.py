"""`recurdrop train`: one recipe on one set of data."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurdrop.cli.console import Console
from recurdrop.cli.shell import INTERRUPTED, bad_input, fail, need, say, tell, warn

if TYPE_CHECKING:
    from recurdrop.train.run import Run

DataOption = Annotated[Path | None, typer.Option("--data", help="File, or folder with the published files.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Change a setting, e.g. training.lr=0.5.")]
OutOption = Annotated[Path | None, typer.Option(help="Folder of the run; by default one in recurdrop-runs/.")]
SeedOption = Annotated[int, typer.Option(help="Of weights, order and noise.")]
AcceleratorOption = Annotated[str, typer.Option(help="cpu, gpu or auto.")]
DevicesOption = Annotated[int, typer.Option(help="Processes that share each batch.")]
PrecisionOption = Annotated[str, typer.Option(help="32 or bf16-mixed.")]
TensorBoardOption = Annotated[bool, typer.Option(help="Write TensorBoard's files into the folder.")]


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a published recipe (recurdrop recipes), or a TOML file.")],
    data: DataOption = None,
    changes: SetOption = None,
    out: OutOption = None,
    seed: SeedOption = 1,
    accelerator: AcceleratorOption = "cpu",
    devices: DevicesOption = 1,
    precision: PrecisionOption = "32",
    tensorboard: TensorBoardOption = False,
) -> None:
    """Train one recipe. Interrupted or killed, the same command goes on and ends with the very same weights.

    Example: recurdrop train zaremba-small --data ptb/ --set training.epochs=2
    """
    check_machine(accelerator, devices, precision, tensorboard)
    run = prepared(recipe, data, changes, out, seed)
    fitted(run, accelerator, devices, precision, tensorboard)
    say(f"Run: {run.folder}")


def check_machine(accelerator: str, devices: int, precision: str, tensorboard: bool) -> None:
    """Exit with what is wrong, or missing, before anything is read or written."""
    need("lightning", "safetensors", "matplotlib", *["tensorboard"] * tensorboard)
    if accelerator not in ("cpu", "gpu", "auto") or precision not in ("32", "bf16-mixed") or devices < 1:
        given = f"{accelerator}, {precision}, {devices}"
        fail(f"--accelerator is cpu, gpu or auto, --precision 32 or bf16-mixed, --devices 1 or more; got {given}.")


def check_samples(samples: int) -> None:
    """Exit unless passes with noise can be averaged."""
    if samples < 0 or samples == 1:
        fail(f"--samples must be 0 for none, or 2 or more; got {samples}. Give e.g. 10.")


def prepared(recipe: str, data: Path | None, changes: list[str] | None, out: Path | None, seed: int) -> Run:
    """Check everything and bind the folder, or exit with what is wrong."""
    from recurdrop.train.recipe import read_recipe
    from recurdrop.train.run import Run

    if not 0 <= seed < 2**32:
        fail(f"--seed must be 0 or more and below 2**32; got {seed}. The default is 1.")
    with bad_input():
        run = Run.prepare(read_recipe(recipe, changes or ()), data, seed, out)
    tell(run.task.report if data else {"none given": f"so {run.task.name}", **run.task.report})
    return run


def fitted(run: Run, accelerator: str, devices: int, precision: str, tensorboard: bool) -> float:
    """Train under a bar, with a line an epoch on stderr; return the seconds it took."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.callbacks import RichProgressBar
    from lightning.pytorch.loggers import TensorBoardLogger

    from recurdrop.records import write_bytes
    from recurdrop.report.curve_plot import curve

    console = Console(stderr=True)
    metric, unit = run.task.metric, run.task.loss_unit
    others = baselines(run), published(run)
    started = time.perf_counter()

    def on_epoch(module: Any) -> None:
        point = module.curve[-1]
        console.print(
            f"epoch {len(module.curve)}: loss {point.train:.4f} train, {point.valid:.4f} valid ({unit}); "
            f"{metric.name} {point.train_metric:.{metric.digits}f}, {point.valid_metric:.{metric.digits}f}; "
            f"lr {module.rate:.4g}",
            soft_wrap=True,
        )
        picture = curve(module.curve, run.recipe.name, metric, *others)
        write_bytes(run.folder / "curve.png", picture)

    logger = False
    if tensorboard:
        logger = TensorBoardLogger(run.folder, name="", version="tensorboard")  # type: ignore[assignment]
    bars = [RichProgressBar(console_kwargs={"stderr": True})] if console.is_terminal else []
    try:
        with bad_input():
            run.fit(
                on_epoch=on_epoch,
                accelerator=accelerator,
                devices=devices,
                precision=precision,
                callbacks=bars,
                logger=logger,
            )
    except MisconfigurationException as error:
        fail(f"--accelerator and --devices must be what this machine has; {error}")
    except KeyboardInterrupt:
        warn(f"stopped; {run.folder} is kept, the same command goes on from there.")
        raise SystemExit(INTERRUPTED) from None
    if os.environ.get("LOCAL_RANK", "0") != "0":
        raise typer.Exit()  # one of several processes; the first one goes on
    return time.perf_counter() - started


def baselines(run: Run) -> dict[str, float]:
    """Return the metric of each baseline on the validation part."""
    return {name: score.metric for name, score in run.task.baselines("valid").items()}


def published(run: Run) -> float | None:
    """Return the published metric on the validation part; None where none is known."""
    numbers = run.recipe.published
    known = numbers is not None and numbers.metric == run.task.metric.name and math.isfinite(numbers.valid)
    return numbers.valid if numbers is not None and known else None
