"""One training run of the language model, on Lightning."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from recurdrop.data.streams import Streams, Window
from recurdrop.data.text import Corpus
from recurdrop.methods import Method
from recurdrop.models.language import LanguageModel, State, cross_entropy, detached
from recurdrop.records import Point, RunRecord
from recurdrop.train.config import Config
from recurdrop.train.environment import describe_run
from recurdrop.train.evaluate import evaluate

OnEpoch = Callable[[int], None]


class _Training(L.LightningModule):
    """What Lightning needs to know: a step, an optimizer, and when to look at the losses."""

    def __init__(self, model: LanguageModel, config: Config, corpus: Corpus, on_epoch: OnEpoch) -> None:
        super().__init__()
        self.model, self.config, self.on_epoch = model, config, on_epoch
        self.valid = Streams(corpus.valid, config.batch, config.window)
        self.slice = Streams(corpus.train[: len(corpus.valid)], config.batch, config.window)
        self.state: State | None = None
        self.curve: list[Point] = []
        self.step_seconds: list[float] = []
        self.best: dict[str, Tensor] = {}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.model.parameters(), self.config.lr)
        updates = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: falling(done / updates))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        self.state = None

    def on_train_batch_start(self, batch: Window, batch_idx: int) -> None:
        self.started = time.perf_counter()

    def training_step(self, batch: Window, batch_idx: int) -> Tensor:
        words, targets = batch
        logits, state = self.model(words, self.state)
        self.state = detached(state)
        return cross_entropy(logits, targets)

    def on_train_batch_end(self, outputs: Any, batch: Window, batch_idx: int) -> None:
        self.step_seconds.append(round(time.perf_counter() - self.started, 6))

    def on_train_epoch_end(self) -> None:
        point = Point(self.global_step, evaluate(self.model, self.slice), evaluate(self.model, self.valid))
        if not math.isfinite(point.valid):
            self.trainer.should_stop = True
        elif not self.best or point.valid < min(p.valid for p in self.curve):
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.curve.append(point)
        self.on_epoch(len(self.curve))


def falling(done: float) -> float:
    """Return the factor on the learning rate when this part of the updates is done: 1, from half-way on down to 0."""
    return min(1.0, max(0.0, 2 * (1 - done)))


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Seed everything, on one thread and without Lightning's notes; put all of it back afterwards.

    One thread makes a run's numbers independent of how many runs share the machine.
    """
    notes = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    threads, levels = torch.get_num_threads(), [note.level for note in notes]
    try:
        with isolate_rng(), warnings.catch_warnings():
            # Lightning 2.6 asks this of torch's trees on torch 2.9 and newer; its users can't help it.
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            torch.set_num_threads(1)
            for note in notes:
                note.setLevel(logging.ERROR)
            L.seed_everything(seed, verbose=False)
            yield
    finally:
        torch.set_num_threads(threads)
        for note, level in zip(notes, levels, strict=True):
            note.setLevel(level)


def build(corpus: Corpus, config: Config, noise: Method | None) -> LanguageModel:
    """Make the model of a run.

    Raises:
        ValueError: the method is not defined for the cell, or its rates don't fit the layers.
    """
    frequencies = torch.bincount(torch.from_numpy(corpus.train), minlength=len(corpus.words)) + 1.0
    return LanguageModel(frequencies, config.hidden, config.layers, config.cell, noise)


def train(
    corpus: Corpus, config: Config, label: str, noise: Method | None, seed: int, on_epoch: OnEpoch = lambda _: None
) -> tuple[RunRecord, dict[str, Tensor]]:
    """Train one model, on one thread of the CPU.

    Runs with one seed start from the same weights and read the same windows in the same order, whatever their method.

    Args:
        corpus: the text.
        config: settings.
        label: name of the method in the record.
        noise: the method; None for none.
        seed: of initial weights and noise.
        on_epoch: called after each epoch with the number of epochs done.

    Returns:
        The record, and the weights of the epoch with the lowest validation loss (empty for a run that diverged in its
        first epoch).
    """
    with _alone(seed):
        training = _Training(build(corpus, config, noise), config, corpus, on_epoch)
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=config.epochs,
            gradient_clip_val=config.clip,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(training, Streams(corpus.train, config.batch, config.window))
        about = describe_run(training.model.train(), corpus, config)
    record = RunRecord(
        method=label,
        noise="" if noise is None else repr(noise),
        cite="" if noise is None else noise.cite,
        seed=seed,
        curve=tuple(training.curve),
        step_seconds=tuple(training.step_seconds),
        **about,
    )
    return record, training.best


def score(corpus: Corpus, config: Config, noise: Method | None, weights: dict[str, Tensor]) -> float:
    """Return the test loss in nats per token of a model with these weights."""
    with _alone(0):
        model = build(corpus, config, noise)
        model.load_state_dict(weights)
        return evaluate(model, Streams(corpus.test, config.batch, config.window))
