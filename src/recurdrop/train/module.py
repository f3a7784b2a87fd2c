"""The one Lightning module: it trains the model of any task."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils._pytree import tree_map

import recurdrop as rd
from recurdrop.errors import invalid
from recurdrop.kinds.base import Batch, Score, Task
from recurdrop.models.settings import TrainingSettings
from recurdrop.optim import rescaled_lr
from recurdrop.records import Point
from recurdrop.train import random_state
from recurdrop.train.optimizers import make_optimizer, make_schedule


class Training(L.LightningModule):
    """A task, its model, and how far training has come.

    Each epoch ends with scores in evaluation mode; from them follow the learning rate, NT-ASGD's trigger, the best
    weights, and the end.

    Args:
        task: the data and the loss.
        model: the model.
        training: settings.
        seed: of the batches' order; noise follows torch's generator.
        on_epoch: called after each epoch with the module.

    Attributes:
        curve: scores after each epoch.
        step_seconds: time of each update.
        best: the weights of the epoch with the lowest validation loss.
        best_digest: of the file that holds them; None where there is none.
        read_best: given what a checkpoint says of the run, returns its best weights and their digest.
        is_under_way: whether the run has started, or has taken up all that its checkpoint holds.
    """

    def __init__(
        self,
        task: Task[Any, Any],
        model: nn.Module,
        training: TrainingSettings,
        seed: int,
        on_epoch: Callable[[Training], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.task, self.model, self.settings, self.seed, self.on_epoch = task, model, training, seed, on_epoch
        self.carried: Any = None
        self.idle = False
        self.curve: list[Point] = []
        self.step_seconds: list[float] = []
        self.best: dict[str, Tensor] = {}
        self.best_digest: str | None = None
        self.read_best: Callable[[Mapping[str, Any]], tuple[dict[str, Tensor], str | None]] = lambda _: ({}, None)
        self.is_under_way = False

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer; the schedule is stepped here, after each epoch's scores."""
        self.optimizer = make_optimizer(self._trained(), self.settings)
        updates = self.settings.epochs * len(self.task.batches(self.settings, 0, self.seed))
        self.schedule = make_schedule(self.optimizer, self.settings, updates)
        return self.optimizer

    def _trained(self) -> Iterator[nn.Parameter]:
        return (p for p in self.model.parameters() if p.requires_grad)

    def train_dataloader(self) -> Epoch:
        """Return the batches of the epoch that begins."""
        return Epoch(self.task.batches(self.settings, self.current_epoch, self.seed))

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Return this process's examples; where a batch has too few, one that counts for nothing."""
        ranks, rank, dim = self.trainer.world_size, self.global_rank, self.task.batch_dim
        if ranks == 1:
            return batch
        self.idle = any(isinstance(part, Tensor) and part.shape[dim] <= rank for part in batch)
        place = 0 if self.idle else rank
        return tuple(part.tensor_split(ranks, dim)[place] if isinstance(part, Tensor) else part for part in batch)

    def on_train_epoch_start(self) -> None:
        """Start from a zero state."""
        self.carried = None
        self.model.train()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take one update."""
        started = time.perf_counter()
        step = self.task.step(self.model, batch, self.carried, self.settings)
        loss = step.loss
        if self.trainer.world_size > 1:
            # Processes' gradients are averaged; a mean over all needs each weighted by what it is the mean over.
            weight = 0 if self.idle else step.weight
            total = torch.tensor(float(weight), device=self.device)
            torch.distributed.all_reduce(total)
            loss = loss * (weight * self.trainer.world_size / float(total))
        wrapped = self.optimizers()
        assert isinstance(wrapped, LightningOptimizer)  # noqa: S101
        wrapped.zero_grad()
        self.manual_backward(loss)
        if math.isfinite(self.settings.clip):
            clip_grad_norm_(self.model.parameters(), self.settings.clip)
        with rescaled_lr(self.optimizer, step.scale):
            wrapped.step()
        if self.settings.decoupled:
            rd.decoupled_decay_(self._trained(), self.settings.weight_decay)
        if self.schedule is not None and self.settings.schedule == "falling":
            self.schedule.step()
        self.carried = step.state
        self.step_seconds.append(round(time.perf_counter() - started, 6))
        self.log("train_loss", step.loss.detach(), prog_bar=True, logger=self.trainer.logger is not None)

    def on_train_epoch_end(self) -> None:
        """Score, keep the best weights, and let schedules follow."""
        with self._averaged():
            train, valid = (self.score(part) for part in ("train", "valid"))
            point = Point(self.global_step, train.loss, valid.loss, train.metric, valid.metric)
            if math.isfinite(valid.loss) and valid.loss < self.lowest():
                self.best = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        self.curve.append(point)
        self.log_dict({"valid_loss": valid.loss, self.task.metric.name: valid.metric}, prog_bar=True)
        self._follow(valid.loss)
        if self.trainer.is_global_zero:
            self.on_epoch(self)

    def score(self, part: Any) -> Score:
        """Score the model on a part, in evaluation mode."""
        self.model.eval()
        found = self.task.score(self.model, part)
        self.model.train()
        return found

    def lowest(self) -> float:
        """Return the lowest validation loss so far."""
        return min((point.valid for point in self.curve if math.isfinite(point.valid)), default=math.inf)

    def _averaged(self) -> AbstractContextManager[None]:
        return self.optimizer.averaged() if isinstance(self.optimizer, rd.NTASGD) else nullcontext()

    def _follow(self, loss: float) -> None:
        """Let what depends on the validation loss take note of it."""
        if not math.isfinite(loss):
            self.trainer.should_stop = True
            return
        before = self.rate
        if isinstance(self.optimizer, rd.NTASGD):
            self.optimizer.report(loss)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(loss)
        elif self.schedule is not None and self.settings.schedule != "falling":
            self.schedule.step()
        if self.settings.from_best and self.rate < before:
            self.model.load_state_dict(self.best)
        best = min(range(len(self.curve)), key=lambda i: _or_inf(self.curve[i].valid))
        stale = len(self.curve) - 1 - best
        if (self.settings.early_stop and stale >= self.settings.early_stop) or self.rate < self.settings.least_lr:
            self.trainer.should_stop = True

    @property
    def rate(self) -> float:
        """The learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning doesn't know: random and carried states of every process, schedule, curve."""
        mine = {"random": random_state.capture(), "carried": self.carried}
        checkpoint["recurdrop"] = {
            "processes": self.trainer.world_size,
            "precision": str(self.trainer.precision),
            "each": self._gathered(mine),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "best": self.best_digest,
            "curve": [tuple(vars(point).values()) for point in self.curve],
            "step_seconds": self.step_seconds,
            "stopped": self.trainer.should_stop,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the curve; what the start of training would undo waits for `on_train_start`."""
        for key in ("state_dict", "optimizer_states", "loops"):
            if not checkpoint.get(key):
                raise KeyError(key)  # Lightning would begin it anew without a word
        self._saved = checkpoint["recurdrop"]
        if self._saved["processes"] != self.trainer.world_size:
            rule = f"a run of {self._saved['processes']} processes goes on with as many"
            raise invalid(rule, self.trainer.world_size, "Start as many, or a new run.")
        if self._saved["precision"] != str(self.trainer.precision):
            rule = f"a run in precision {self._saved['precision']} goes on in it"
            raise invalid(rule, str(self.trainer.precision), "Give the same, or start a new run.")
        self.curve = [Point(*values) for values in self._saved["curve"]]
        self.best, self.best_digest = self.read_best(self._saved)
        if math.isfinite(self.lowest()) and not self.best:
            raise invalid("a run goes on with its best weights", "none beside the checkpoint", "Start a new run.")
        self.step_seconds = self._saved["step_seconds"]

    def on_train_start(self) -> None:
        """Give each process noise of its own, or go on with that of the checkpoint."""
        saved = self.__dict__.pop("_saved", None)
        if saved is None:
            # Each process has noise of its own; the first one's is that of a single process.
            if self.global_rank:
                torch.manual_seed(self.seed + 1_000_003 * self.global_rank)
            self.is_under_way = True
            return
        self._check_optimizer()
        mine = saved["each"][self.global_rank]
        self.carried = tree_map(lambda x: x.to(self.device) if isinstance(x, Tensor) else x, mine["carried"])
        if self.schedule is not None:
            self.schedule.load_state_dict(saved["schedule"])
        random_state.restore(mine["random"])
        self.trainer.should_stop = saved["stopped"]
        self.is_under_way = True

    def _check_optimizer(self) -> None:
        """Refuse a checkpoint whose optimizer belongs to weights of other shapes, which torch does not ask."""
        for parameter, state in self.optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                    raise RuntimeError(f"{name} of a weight is {tuple(value.shape)} and not {tuple(parameter.shape)}")

    def _gathered(self, mine: Any) -> list[Any]:
        """Return every process's state."""
        if self.trainer.world_size == 1:
            return [mine]
        found: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(found, mine)
        return found


class Epoch:
    """The batches of one epoch, from a place on.

    Args:
        batches: all of them.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches, self.done = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        while self.done < len(self.batches):
            self.done += 1
            yield self.batches[self.done - 1]
        self.done = 0

    def state_dict(self) -> dict[str, int]:
        """Return how many batches have been handed out."""
        return {"done": self.done}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from a place."""
        self.done = state_dict["done"]


def _or_inf(value: float) -> float:
    return value if math.isfinite(value) else math.inf
