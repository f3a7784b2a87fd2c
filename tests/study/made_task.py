"""A task whose every number can be told in advance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurdrop.kinds.base import Batch, Metric, Part, Score, Step, Task, shuffled
from recurdrop.models.recurrent import RecurrentSettings
from recurdrop.models.settings import TrainingSettings
from recurdrop.study.setup import Setup

TRAINING = TrainingSettings(batch=4, epochs=2, lr=0.01, optimizer="adam", schedule="falling", clip=1.0)


@dataclass(frozen=True)
class MadeData:
    length: int = 5


class MadeModel(nn.Module):
    def __init__(self, settings: RecurrentSettings) -> None:
        super().__init__()
        self.rnn = settings.rnn(1, batch_first=True)
        self.output = nn.Linear(settings.hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.output(self.rnn(x)[0][:, -1])
        return y[:, 0]


class MadeTask(Task[MadeData, RecurrentSettings]):
    """The sum of a sequence, in millimetres; loss: its squared error."""

    kind = "made"
    Data = MadeData
    Model = RecurrentSettings
    loss_unit = "square millimetres"
    metric = Metric("RMSE", "mm", digits=3)

    def __init__(self, data: MadeData = MadeData(), name: str = "made.csv") -> None:
        draw = np.random.default_rng(1)
        self.x = {p: torch.from_numpy(draw.normal(size=(n, data.length, 1))).float() for p, n in self._counts().items()}
        self.name, self.sha256, self.sizes = name, "made", self._counts()

    @staticmethod
    def _counts() -> dict[str, int]:
        return {"train": 32, "valid": 8, "test": 8}

    @classmethod
    def load(cls, source: Path, data: MadeData) -> MadeTask:
        return cls(data, source.name)

    def build(self, model: RecurrentSettings) -> MadeModel:
        return MadeModel(model)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        x = self.x["train"][torch.from_numpy(shuffled(32, seed, epoch))]
        return [(part, part.sum((1, 2))) for part in x.split(training.batch) if len(part) == training.batch]

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        x, wanted = batch
        return Step((model(x) - wanted).square().mean(), len(x))

    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        x = self.x[part][:8]
        return _score(model(x).detach() - x.sum((1, 2)))

    def baselines(self, part: Part) -> dict[str, Score]:
        x = self.x[part][:8]
        zero, last = _score(x.sum((1, 2))), _score(x[:, -1, 0] - x.sum((1, 2)))
        return {"zero": zero, "last": Score(math.nan, last.metric)}


def _score(error: Tensor) -> Score:
    loss = float(error.square().mean())
    return Score(loss, math.sqrt(loss))


def made_setup(training: TrainingSettings = TRAINING, **model: Any) -> Setup:
    settings = RecurrentSettings(**{"hidden": 4, **model})
    return Setup(MadeTask(), MadeData(), settings, training)
