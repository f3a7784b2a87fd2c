"""One training run of any task on Lightning, resumable to the bit."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn

import recurdrop as rd
from recurdrop.errors import invalid
from recurdrop.kinds.base import Task
from recurdrop.models.settings import TrainingSettings
from recurdrop.records import Point
from recurdrop.train import random_state
from recurdrop.train.best import BEST, prepare_best, read_best, take_next
from recurdrop.train.callbacks import NoiseSchedule
from recurdrop.train.checkpoint import SafeCheckpoints
from recurdrop.train.lock import only_process
from recurdrop.train.module import Training

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Fitted:
    """What a run comes to.

    Attributes:
        model: with the weights of the last update.
        curve: scores after each epoch.
        step_seconds: time of each update.
        best: the weights of the epoch with the lowest validation loss; empty if no epoch had one.
    """

    model: nn.Module
    curve: tuple[Point, ...]
    step_seconds: tuple[float, ...]
    best: dict[str, Tensor]


def fit(
    task: Task[Any, Any],
    model: Any,
    training: TrainingSettings,
    *,
    seed: int,
    on_epoch: Callable[[Training], None] = lambda _: None,
    folder: Path | None = None,
    about: str = "",
    every: float = 60.0,
    accelerator: str = "cpu",
    devices: int = 1,
    precision: str = "32",
    callbacks: Sequence[L.Callback] = (),
    logger: Any = False,
) -> Fitted:
    """Train one model.

    Runs with one seed start from the same weights and read the same batches in the same order, whatever their noise.
    Torch's random state, and that of NumPy and Python, are put back afterwards.

    Args:
        task: the data and the loss.
        model: settings of the model, of the task's kind.
        training: settings of the training.
        seed: of initial weights, order and noise.
        on_epoch: called after each epoch.
        folder: where a checkpoint and the best weights are kept; a run found there goes on, and ends with the weights
            it would have had. None keeps nothing.
        about: what the run is of; a checkpoint of something else is refused.
        every: seconds between two checkpoints, besides those at the end of each epoch.
        accelerator: as of Lightning's trainer: "cpu", "gpu" or "auto".
        devices: processes that share each batch.
        precision: "32" or "bf16-mixed".
        callbacks: further ones, such as a bar.
        logger: Lightning's.

    Raises:
        ValueError: settings without an end, that don't fit together, a checkpoint or best weights that are damaged or
            foreign, or another process that writes to the folder.
    """
    if not (training.epochs or training.early_stop or training.least_lr):
        raise invalid("training needs an end", training, "Set epochs, early_stop or least_lr.")
    if training.batch % devices:
        raise invalid("training.batch must divide among the processes", (training.batch, devices), "Change either.")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    held = nullcontext() if folder is None else only_process(folder)
    with held, _quiet(), random_state.put_back(), _interruptible():
        random_state.seed(seed)
        module = Training(task, task.build(model), training, seed, on_epoch)
        for layer in module.model.modules():
            if isinstance(layer, rd.LSTM | rd.GRU | rd.RNN):
                layer.take_reference()  # a checkpoint's weights would take its place
        if training.curriculum:
            callbacks = (*callbacks, NoiseSchedule(rd.Curriculum(module.model, gamma=training.curriculum)))
        found = None
        if folder is not None:
            found = folder / CHECKPOINT if (folder / CHECKPOINT).exists() else None
            if found is None and (folder / BEST).exists():
                rule = "a run that starts anew has no best weights yet"
                remedy = "Put its checkpoint back beside it, or remove the file."
                raise invalid(rule, str(folder / BEST), remedy)
            module.read_best = lambda saved: read_best(folder, about, saved)
            callbacks = (*callbacks, _Keep(folder, about, every))
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]
            max_epochs=training.epochs or -1,
            plugins=[SafeCheckpoints(about)],
            callbacks=list(callbacks),
            logger=logger,
            enable_checkpointing=folder is not None,
            enable_progress_bar=any(isinstance(each, L.pytorch.callbacks.ProgressBar) for each in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
        )
        with _restoring(module, found):
            trainer.fit(module, ckpt_path=found)
    return Fitted(module.model, tuple(module.curve), tuple(module.step_seconds), module.best)


class _Keep(Checkpoint):
    """Writes a checkpoint from time to time and after each epoch, and the best weights when they change."""

    def __init__(self, folder: Path, about: str, every: float) -> None:
        self.folder, self.about, self.every = folder, about, every
        self.last, self.lowest = time.monotonic(), float("inf")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Training)  # noqa: S101
        self.lowest = pl_module.lowest()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        due = time.monotonic() - self.last >= self.every and trainer.world_size == 1
        if due and not trainer.is_last_batch:  # from there on, Lightning would not finish the epoch
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Training)  # noqa: S101
        if pl_module.lowest() < self.lowest and trainer.is_global_zero:
            pl_module.best_digest = prepare_best(self.folder, pl_module.best, self.about)
        self.lowest = pl_module.lowest()
        self._save(trainer)
        if trainer.is_global_zero:
            take_next(self.folder)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.folder / CHECKPOINT)
        self.last = time.monotonic()


@contextmanager
def _restoring(module: Training, checkpoint: Path | None) -> Iterator[None]:
    """Blame the checkpoint for what goes wrong before the run has taken it up.

    Lightning and torch's optimizers trust what is in it, and fail in as many ways as there are things that can lack.
    """
    try:
        yield
    except ValueError as error:
        if checkpoint is None or module.is_under_way or str(checkpoint.parent) in str(error):
            raise
        raise ValueError(f"{checkpoint}: {error}") from error
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError, AssertionError) as error:
        if checkpoint is None or module.is_under_way:
            raise
        value = f"{checkpoint} ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        remedy = "Put back the one that belongs to the run, or train anew in another folder."
        raise invalid("a checkpoint must hold all that a run goes on with", value, remedy) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Leave Ctrl-C a `KeyboardInterrupt`; Lightning makes an exit of it."""
    try:
        yield
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Do without Lightning's notes; what was set is put back afterwards."""
    notes = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [note.level for note in notes]
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 asks this of torch's trees on torch 2.9 and newer; its users can't help it.
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            # Data lie in memory, so that workers would only cost time.
            warnings.filterwarnings("ignore", r".*does not have many workers.*")
            for note in notes:
                note.setLevel(logging.ERROR)
            yield
    finally:
        for note, level in zip(notes, levels, strict=True):
            note.setLevel(level)
