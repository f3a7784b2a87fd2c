"""From settings of training to torch's optimizers and schedules of the learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, ReduceLROnPlateau

import recurdrop as rd
from recurdrop.models.settings import TrainingSettings


def make_optimizer(parameters: Iterable[nn.Parameter], training: TrainingSettings) -> Optimizer:
    """Return the optimizer."""
    decay = 0.0 if training.decoupled else training.weight_decay
    if training.optimizer == "ntasgd":
        return rd.NTASGD(parameters, training.lr, n=training.nonmono, weight_decay=decay)
    kinds: dict[str, type[Any]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
    made: Optimizer = kinds[training.optimizer](parameters, lr=training.lr, weight_decay=decay)
    return made


def make_schedule(
    optimizer: Optimizer, training: TrainingSettings, updates: int
) -> LRScheduler | ReduceLROnPlateau | None:
    """Return the schedule; "falling" takes a step at each update, the others at each epoch.

    Args:
        optimizer: whose learning rate to change.
        training: settings.
        updates: of the whole training.
    """
    if training.schedule == "constant":
        return None
    if training.schedule == "decay":
        return rd.ZarembaLR(optimizer, training.constant_epochs, training.divisor)
    if training.schedule == "milestones":
        return MultiStepLR(optimizer, training.milestones, gamma=1 / training.divisor)
    if training.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, factor=1 / training.divisor, patience=training.patience - 1, threshold=0.0)
    return LambdaLR(optimizer, lambda done: falling(done / updates))


def falling(done: float) -> float:
    """Return the factor on the learning rate when this part of the updates is done: 1, from half-way on down to 0."""
    return min(1.0, max(0.0, 2 * (1 - done)))
