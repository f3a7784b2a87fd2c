"""From settings of training to torch's optimizers and schedules of the learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, ReduceLROnPlateau

import recurdrop as rd
from recurdrop.errors import invalid
from recurdrop.models.settings import TrainingSettings

OPTIMIZERS = ("sgd", "ntasgd", "adam", "rmsprop")
SCHEDULES = ("constant", "decay", "milestones", "plateau", "falling")


def make_optimizer(parameters: Iterable[nn.Parameter], training: TrainingSettings) -> Optimizer:
    """Return the optimizer.

    Raises:
        ValueError: there is none of that name.
    """
    decay = 0.0 if training.decoupled else training.weight_decay
    if training.optimizer == "ntasgd":
        return rd.NTASGD(parameters, training.lr, n=training.nonmono, weight_decay=decay)
    kinds: dict[str, type[Any]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
    if training.optimizer not in kinds:
        raise invalid(f"optimizer must be one of {', '.join(OPTIMIZERS)}", training.optimizer, "Choose one of them.")
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

    Raises:
        ValueError: there is none of that name, or it lacks a setting.
    """
    if training.schedule == "constant":
        return None
    if training.schedule == "decay":
        return rd.ZarembaLR(optimizer, training.constant_epochs, training.divisor)
    if training.schedule == "milestones":
        return MultiStepLR(optimizer, training.milestones, gamma=1 / training.divisor)
    if training.schedule == "plateau":
        if training.patience < 1:
            raise invalid("schedule plateau needs patience of 1 or more", training.patience, "Give epochs.")
        if not training.divisor > 1:
            raise invalid("schedule plateau needs a divisor above 1", training.divisor, "Give e.g. 4.")
        return ReduceLROnPlateau(optimizer, factor=1 / training.divisor, patience=training.patience - 1, threshold=0.0)
    if training.schedule == "falling":
        if not updates:
            raise invalid("schedule falling needs epochs, since it ends with them", training.epochs, "Give a number.")
        return LambdaLR(optimizer, lambda done: falling(done / updates))
    raise invalid(f"schedule must be one of {', '.join(SCHEDULES)}", training.schedule, "Choose one of them.")


def falling(done: float) -> float:
    """Return the factor on the learning rate when this part of the updates is done: 1, from half-way on down to 0."""
    return min(1.0, max(0.0, 2 * (1 - done)))
