"""Temporal order: what noise on the memory costs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from recurdrop.errors import invalid
from recurdrop.kinds.base import PARTS, Batch, Metric, Part, Score, Step, Task
from recurdrop.kinds.classify.model import SequenceClassifier
from recurdrop.kinds.classify.task import class_logs, scored
from recurdrop.kinds.temporal_order.data import CLASSES, SYMBOLS, sequences
from recurdrop.kinds.temporal_order.model import OrderSettings, order_classifier
from recurdrop.models.settings import TrainingSettings

SCORED = 250
"""Sequences of a batch without gradients."""


@dataclass(frozen=True)
class OrderData:
    """The sequences.

    Attributes:
        length: T, steps of the sequences that are scored, and of those of training once it has grown.
        first: steps in the first epochs of training; `length` if None.
        hold: epochs of that length.
        growth: steps that each later epoch adds.
        low: the first symbol stands before this step; a third of the length if None.
        high: the second stands between `low` and this step; two thirds if None.
        batches_per_epoch: batches of an epoch, all drawn anew.
        scored: sequences that validate, and as many that test.

    Raises:
        ValueError: ranges that don't lie in the sequence, or counts below 1.
    """

    length: int = 30
    first: int | None = None
    hold: int = 0
    growth: int = 0
    low: int | None = None
    high: int | None = None
    batches_per_epoch: int = 200
    scored: int = 1000

    def __post_init__(self) -> None:
        for length in {self.length, self.steps(0)}:
            low, high = self.ends(length)
            if not 1 <= low < high <= length:
                rule = "the ends of the two ranges must be 1 <= low < high <= length"
                raise invalid(rule, (low, high, length), "Leave low and high out for thirds of the length.")
        if self.hold < 0 or self.growth < 0:
            raise invalid("hold and growth must be 0 or more", (self.hold, self.growth), "Give e.g. 14 and 10.")
        for name in ("batches_per_epoch", "scored"):
            if getattr(self, name) < 1:
                raise invalid(f"{name} must be 1 or more", getattr(self, name), "Give e.g. 200.")

    def ends(self, length: int) -> tuple[int, int]:
        """Return the ends of the two ranges in sequences of a length."""
        return length // 3 if self.low is None else self.low, 2 * length // 3 if self.high is None else self.high

    def steps(self, epoch: int) -> int:
        """Return the length of an epoch's sequences."""
        if self.first is None:
            return self.length
        return min(self.length, self.first + self.growth * max(0, epoch + 1 - self.hold))


class OrderTask(Task[OrderData, OrderSettings]):
    """The temporal order problem, with which Semeniuta et al. 2016 (arXiv:1603.05118) show memory loss.

    Training never sees a batch twice: each follows from seed, epoch and its place. Training, validation and test
    sequences to be scored are fixed.
    """

    kind = "temporal-order"
    Data = OrderData
    Model = OrderSettings
    loss_unit = "nats per sequence"
    needs_data: ClassVar[bool] = False
    metric = Metric("accuracy", higher_is_better=True, digits=4)

    def __init__(self, data: OrderData) -> None:
        self.data = data
        self.name = f"temporal order, {data.length} steps"
        # A fourth number above 0: NumPy takes missing ones as 0, and training has three.
        self._scored = {part: self._drawn(data.length, data.scored, place, 0, 0, 1) for place, part in enumerate(PARTS)}
        digest = hashlib.sha256()
        for symbols, labels in self._scored.values():
            digest.update(symbols.tobytes() + labels.tobytes())
        self.sha256 = digest.hexdigest()
        self.sizes = {
            "batches per epoch": data.batches_per_epoch,
            "valid": data.scored,
            "test": data.scored,
            "steps": data.length,
            "classes": len(CLASSES),
        }

    @classmethod
    def load(cls, source: Path, data: OrderData) -> OrderTask:
        """Draw the sequences that are scored; nothing is read."""
        return cls(data)

    def build(self, model: OrderSettings) -> SequenceClassifier:
        """Make a classifier of sequences of symbols."""
        return order_classifier(SYMBOLS, len(CLASSES), model)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        """Return the batches of an epoch: symbols (B, T) and labels (B,)."""
        return _Drawn(self, training.batch, epoch, seed)

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        """Return the cross-entropy of a batch."""
        symbols, labels = batch
        return Step(F.cross_entropy(model(symbols), labels), len(labels))

    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        """Return cross-entropy, accuracy and macro F1; probabilities are averaged over passes with noise."""
        symbols, labels = self._scored[part]
        device = next(model.parameters()).device
        with torch.no_grad():
            found = [class_logs(model, x.to(device), samples=samples) for x in torch.from_numpy(symbols).split(SCORED)]
        return scored(torch.cat(found).numpy(), labels)

    def baselines(self, part: Part) -> Mapping[str, Score]:
        """Return the score of one class for all, every class being equally probable."""
        labels = self._scored[part][1]
        return {"one class": scored(np.full((len(labels), len(CLASSES)), -np.log(len(CLASSES))), labels)}

    def _drawn(self, length: int, count: int, *seed: int) -> tuple[Any, Any]:
        low, high = self.data.ends(length)
        return sequences(np.random.default_rng(seed), count, length=length, low=low, high=high)


class _Drawn(Sequence[Batch]):
    """Batches that are drawn when they are asked for."""

    def __init__(self, task: OrderTask, batch: int, epoch: int, seed: int) -> None:
        self.task, self.batch, self.epoch, self.seed = task, batch, epoch, seed

    def __len__(self) -> int:
        return self.task.data.batches_per_epoch

    def __getitem__(self, place: Any) -> Any:
        """Return a batch."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        length = self.task.data.steps(self.epoch)
        drawn = self.task._drawn(length, self.batch, self.seed, self.epoch, place % len(self))
        return tuple(torch.from_numpy(array) for array in drawn)
