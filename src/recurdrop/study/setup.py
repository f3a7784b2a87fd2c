"""What all runs of a comparison share, and one of its runs."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recurdrop import methods
from recurdrop.kinds.base import Task
from recurdrop.models.settings import TrainingSettings
from recurdrop.records import NONE, RunRecord
from recurdrop.train.best import load_weights
from recurdrop.train.environment import machine, one_thread, versions
from recurdrop.train.fit import fit
from recurdrop.train.limits import check_model


@dataclass(frozen=True)
class Setup:
    """A task with the settings of every run.

    Attributes:
        task: the data and what to do with them.
        data: settings that the data were read with.
        model: settings of the model without noise.
        training: settings.
    """

    task: Task[Any, Any]
    data: Any
    model: Any
    training: TrainingSettings

    def noisy(self, label: str) -> Any:
        """Return the model's settings with a method; without noise for `NONE`."""
        return dataclasses.replace(self.model, noise=() if label == NONE else (label,))

    def build(self, label: str) -> nn.Module:
        """Make the model with a method; torch's generator stays as it was.

        Raises:
            ValueError: settings that don't fit together, or a method that doesn't suit the model.
        """
        settings = self.noisy(label)
        check_model(self.task, settings)
        with torch.random.fork_rng(devices=[]):
            return self.task.build(settings)

    def config(self) -> dict[str, Any]:
        """Return all settings but the noise, as JSON can hold them, by the names that `--set` takes."""
        parts = {"data": self.data, "model": self.model, "training": self.training}
        found = {f"{part}.{key}": value for part, made in parts.items() for key, value in vars(made).items()}
        del found["model.noise"]
        return {key: _plain(value) for key, value in found.items()}

    def run(self, label: str, seed: int, on_epoch: Callable[[int], None]) -> tuple[RunRecord, dict[str, Tensor]]:
        """Train one model; return its record and its best weights.

        Args:
            label: of the method.
            seed: of initial weights, noise and order of the batches.
            on_epoch: called after each epoch with the number of epochs done.
        """
        method = None if label == NONE else methods.parse(label)
        task = self.task
        training = self.training if method else dataclasses.replace(self.training, curriculum=0.0)  # there are no rates
        with one_thread():  # so that numbers don't depend on how many runs share the machine
            fitted = fit(task, self.noisy(label), training, seed=seed, on_epoch=lambda run: on_epoch(len(run.curve)))
            about = machine(self.build(label), torch.get_num_threads())
        record = RunRecord(
            task=task.kind,
            method=label,
            noise="" if method is None else repr(method),
            cite="" if method is None else method.cite,
            arguments={} if method is None else {key: _plain(value) for key, value in vars(method).items()},
            seed=seed,
            config=self.config(),
            data={"name": os.fsencode(task.name).decode("utf-8", "replace"), "sha256": task.sha256, **task.sizes},
            metric=task.metric,
            loss_unit=task.loss_unit,
            versions=versions(),
            machine=about,
            curve=tuple(fitted.curve),
            step_seconds=tuple(fitted.step_seconds),
            account={what: str(said) for what, said in task.report.items()},
        )
        return record, fitted.best

    def test(self, label: str, weights: dict[str, Tensor]) -> float:
        """Return the metric on the test part of a model with these weights."""
        model = self.build(label)
        load_weights(model, weights, f"the weights of {label}")
        with one_thread(), torch.no_grad():
            return self.task.score(model.eval(), "test").metric


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
