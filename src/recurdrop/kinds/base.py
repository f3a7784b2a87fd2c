"""What every task offers: batches, a training step, scores and baselines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from recurdrop.models.settings import TrainingSettings
from recurdrop.records import Metric as Metric

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")
OPTIONAL = frozenset({"bptt", "loss", "variable_bptt", "longest", "alpha", "beta", "kappa"})
"""Settings of training that only some tasks read."""
Batch = tuple[Any, ...]
D = TypeVar("D")
M = TypeVar("M")


class Step(NamedTuple):
    """What one training batch comes to.

    Attributes:
        loss: the mean over `weight` things, a scalar with gradients.
        weight: how many tokens or examples `loss` is the mean over; processes that share a batch are weighted by it.
        state: what the next batch goes on from, cut off from its history; None where batches stand alone.
        scale: factor on the learning rate of this update.
    """

    loss: Tensor
    weight: int
    state: Any = None
    scale: float = 1.0


class Score(NamedTuple):
    """How good a model or a baseline is on a part of the data, without noise unless asked for.

    Attributes:
        loss: in the unit of the task's loss, penalties left out; NaN where a baseline has none.
        metric: in the unit of the task's metric.
        others: further measures by name.
    """

    loss: float
    metric: float
    others: Mapping[str, float] = {}


class Task(ABC, Generic[D, M]):
    """Data of one kind, and all that a training run needs to know of it.

    A task holds its data and nothing that changes, and can be pickled. Noise and sizes come with the model's settings,
    the optimizer with those of training.

    Attributes:
        kind: its name in recipes.
        Data: frozen dataclass of what of the data is used and how it is cut: the keys of `[data]` in a recipe.
        Model: frozen dataclass of the model's settings, with `cell` and `noise` among them: the keys of `[model]`.
        needs_data: whether there is nothing to do without a file or folder.
        reads: settings of training, among those in `OPTIONAL`, that mean something to it.
        report: what was found in the data and done about it, for people.
        loss_unit: of the loss, such as "nats per token".
        metric: what it is judged by.
        batch_dim: the dimension of a batch's tensors along which its examples lie.
        name: of the data, for people.
        sha256: of the data as they were read.
        sizes: what there is, such as `{"train": 929589, "vocabulary": 10000}`.
    """

    kind: ClassVar[str]
    Data: ClassVar[type]
    Model: ClassVar[type]
    loss_unit: str
    batch_dim: ClassVar[int] = 0
    needs_data: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset()
    report: Mapping[str, object] = MappingProxyType({})
    metric: Metric
    name: str
    sha256: str
    sizes: Mapping[str, int]

    @classmethod
    @abstractmethod
    def load(cls, source: Path, data: D) -> Task[D, M]:
        """Read the data.

        Args:
            source: a file, or a folder that holds the files under their published names, plain or as .gz.
            data: what of it to use.

        Raises:
            ValueError: the files are missing, damaged, or not of this kind; the message says what to do.
        """

    @abstractmethod
    def build(self, model: M) -> nn.Module:
        """Make a model for these data, with initial weights from torch's generator.

        Noise changes no initial weight.

        Raises:
            ValueError: settings that don't fit together.
        """

    @abstractmethod
    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        """Return the batches of an epoch, 0, 1, ...; they follow from the arguments alone."""

    @abstractmethod
    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        """Return the loss of a batch, penalties included.

        Args:
            model: in training mode; its noise draws from torch's generator.
            batch: one of `batches`, or some of its examples where processes share it.
            state: `state` of the step before, None at the start of an epoch.
            training: settings.
        """

    @abstractmethod
    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        """Score a model.

        Args:
            model: in evaluation mode, on the device to compute on; no gradients are asked for.
            part: "train" means a fixed slice of the training part that is no larger than the validation part.
            samples: 0 for the model without noise; otherwise predictions are the mean over this many passes with
                noise.
        """

    def final(self, model: nn.Module, part: Part) -> Mapping[str, float]:
        """Return measures that are too slow for every epoch, such as BLEU, by name."""
        return {}

    def baselines(self, part: Part) -> Mapping[str, Score]:
        """Return what needs no training, such as the last value for forecasts, by name."""
        return {}


def by_length(order: NDArray[np.int64], lengths: NDArray[np.int64], size: int, pool: int) -> list[NDArray[np.int64]]:
    """Cut an order into batches; of each `pool` batches' worth of it, examples of like length share one.

    Args:
        order: numbers of examples, (N,).
        lengths: of all examples, by their numbers.
        size: of a batch; the last of all may be smaller.
        pool: how many batches are sorted together.
    """
    found: list[NDArray[np.int64]] = []
    for start in range(0, len(order), pool * size):
        rows = order[start : start + pool * size]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        found += [rows[i : i + size] for i in range(0, len(rows), size)]
    return found


def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the numbers below `count` in an order that follows from seed and epoch alone."""
    return np.random.default_rng((seed, epoch)).permutation(count)
