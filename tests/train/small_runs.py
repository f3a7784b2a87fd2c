"""What the tests of training share: tiny tasks and settings, and when two runs are the same."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from recurdrop.kinds.base import Batch, Metric, Part, Score, Step, Task
from recurdrop.kinds.language.task import LanguageData, LanguageTask
from recurdrop.models.settings import ModelSettings, TrainingSettings
from recurdrop.train.fit import Fitted

NOISE = ("zoneout:c=0.3,h=0.1", "variational:0.2")
MODEL = ModelSettings(50, 6, (6,), NOISE, tied=True, init="frequencies")
QUIET = ModelSettings(50, 6, (6,), tied=True, init="frequencies")


def language(folder: Path) -> LanguageTask:
    """880 words of training: 219 steps of four streams, 6 windows of 40."""
    path = folder / "text.txt"
    path.write_text(" ".join(f"w{(i * i + 3 * i) % 23}" for i in range(1100)))
    return LanguageTask.load(path, LanguageData(vocabulary=50))


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"batch": 4, "epochs": 3, "lr": 0.5, "bptt": 40, "clip": 1.0, **changes})


def planned(task: LanguageTask, losses: Sequence[float]) -> LanguageTask:
    """The task with these validation losses, one an epoch."""
    found, left = copy.copy(task), iter(losses)
    found.score = lambda model, part, samples=0: Score(  # type: ignore[method-assign]
        1.0 if part == "train" else next(left), 2.0
    )
    return found


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def assert_same_run(first: Fitted, second: Fitted) -> None:
    """To the bit: last weights, best weights, curve; and as many updates."""
    assert equal(weights(first.model), weights(second.model))
    assert first.best
    assert equal(first.best, second.best)
    assert repr(first.curve) == repr(second.curve)
    assert len(first.step_seconds) == len(second.step_seconds)


class Seen(L.Callback):
    """The learning rate and the weights before each update, and the rate of each epoch; and weights at the end."""

    def __init__(self) -> None:
        self.before: list[dict[str, Tensor]] = []
        self.after: list[dict[str, Tensor]] = []
        self.rates: list[float] = []
        self.epochs: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.epochs.append(pl_module.rate)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        self.before.append(weights(pl_module.model))
        self.rates.append(pl_module.rate)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        self.after.append(weights(pl_module.model))


@dataclass(frozen=True)
class Nothing:
    """No settings."""


class PaddedTask(Task[Nothing, Nothing]):
    """Nine sequences of unequal length, a linear model, squared error; the last of three batches is a lone example."""

    kind = "padded"
    Data = Model = Nothing
    loss_unit = ""
    metric = Metric("error")
    name, sha256, sizes = "padded", "", {}
    lengths = torch.tensor([1, 2, 7, 6, 3, 1, 5, 4, 6])

    def __init__(self) -> None:
        numbers = np.random.default_rng(5).normal(size=(9, 7, 4))
        self.inputs, self.targets = torch.from_numpy(numbers[..., :3]), torch.from_numpy(numbers[..., 3])

    @classmethod
    def load(cls, source: Path, data: Nothing) -> PaddedTask:
        return cls()

    def build(self, model: Nothing) -> nn.Module:
        return nn.Linear(3, 1)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        parts = (self.inputs, self.targets, self.lengths)
        return list(zip(*(part.split(training.batch) for part in parts), ["text"] * 3, strict=True))

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        inputs, targets, lengths, text = batch
        assert text == "text"
        return Step(_error(model, inputs, targets, lengths), int(lengths.sum()))

    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        with torch.no_grad():
            error = float(_error(model, self.inputs, self.targets, self.lengths))
        return Score(error, error)


def _error(model: nn.Module, inputs: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    real = torch.arange(inputs.shape[1]) < lengths[:, None]
    return ((model(inputs).squeeze(-1) - targets)[real] ** 2).mean()
