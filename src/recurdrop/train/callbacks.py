"""Callbacks for Lightning modules of one's own: schedules of noise, NT-ASGD, and states that are carried."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import lightning as L

from recurdrop.errors import invalid
from recurdrop.optim import NTASGD
from recurdrop.schedules import Schedule


class NoiseSchedule(L.Callback):
    """Steps a schedule of rates after each optimizer update; checkpoints hold where it is.

    Args:
        schedule: such as `rd.Curriculum(model, total_updates=...)`.

    Example:
        >>> L.Trainer(callbacks=[NoiseSchedule(rd.Curriculum(module, total_updates=10_000))])
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Count the updates since the last batch; none where gradients are accumulated."""
        while self.schedule.updates < trainer.global_step:
            self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule's."""
        return self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.schedule.load_state_dict(state_dict)


class AverageOfNTASGD(L.Callback):
    """In `fit`, validates with the averaged weights of `rd.NTASGD`, and reports each validation loss to it.

    Args:
        monitor: the name under which the module logs its validation loss.

    Raises:
        ValueError: at a validation of `fit`: no `NTASGD` among the optimizers, or nothing logged under that name.
    """

    def __init__(self, monitor: str = "val_loss") -> None:
        self.monitor = monitor
        self._averages = ExitStack()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Swap the averages in."""
        for optimizer in _averaging(trainer):
            self._averages.enter_context(optimizer.averaged())

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Swap the raw weights back, and report."""
        self._averages.close()
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        loss = trainer.callback_metrics.get(self.monitor)
        if loss is None:
            rule = f"the module must log {self.monitor} in validation"
            raise invalid(rule, sorted(trainer.callback_metrics), "Give its name as monitor.")
        for optimizer in _averaging(trainer):
            if math.isfinite(float(loss)):
                optimizer.report(loss)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Swap the raw weights back."""
        self._averages.close()


class ResetState(L.Callback):
    """Sets attributes of the module that carry a state to None at the start of each epoch, of every kind.

    A validation within an epoch starts anew too, and training then goes on from the state that it had.

    Args:
        names: of the attributes.

    Raises:
        ValueError: at the start: one that the module lacks.
    """

    def __init__(self, names: str | Iterable[str] = "state") -> None:
        self.names = (names,) if isinstance(names, str) else tuple(names)
        self._training: dict[str, Any] = {}

    def _reset(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name in self.names:
            if not hasattr(pl_module, name):
                raise invalid("ResetState names attributes of the module", name, "Set it to None in __init__.")
            setattr(pl_module, name, None)

    on_train_epoch_start = on_test_epoch_start = on_predict_epoch_start = _reset

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the states of training aside."""
        self._training = {name: getattr(pl_module, name, None) for name in self.names}
        self._reset(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put them back."""
        for name, state in self._training.items():
            setattr(pl_module, name, state)
        self._training = {}


def _averaging(trainer: L.Trainer) -> list[NTASGD]:
    found = [optimizer for optimizer in trainer.optimizers if isinstance(optimizer, NTASGD)]
    if not found and trainer.state.fn == "fit":
        raise invalid("AverageOfNTASGD needs rd.NTASGD", trainer.optimizers, "Return one in configure_optimizers.")
    return found
