from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import recurdrop as rd
from recurdrop.train.callbacks import AverageOfNTASGD, NoiseSchedule, ResetState

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*does not have many workers")


def trainer(callback: L.Callback, **changes: Any) -> L.Trainer:
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "num_sanity_val_steps": 0,
        "callbacks": [callback],
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(**options | changes)


def batches(count: int) -> DataLoader[Tensor]:
    return DataLoader([torch.zeros(1)] * count)


class Carrying(L.LightningModule):
    """Says with what state each step began."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.state: str | None = None
        self.seen: list[tuple[str, str | None]] = []

    def _step(self, kind: str, number: int) -> Tensor:
        self.seen.append((kind, self.state))
        self.state = f"{kind} {number}"
        return self.weight * 0

    def training_step(self, batch: Any, number: int) -> Tensor:
        return self._step("train", number)

    def validation_step(self, batch: Any, number: int) -> None:
        self._step("valid", number)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_validation_within_an_epoch_leaves_the_state_of_training() -> None:
    module = Carrying()
    trainer(ResetState(), val_check_interval=2, limit_val_batches=2).fit(module, batches(4), batches(4))
    valid = [("valid", None), ("valid", "valid 0")]
    epoch = [("train", None), ("train", "train 0"), *valid, ("train", "train 1"), ("train", "train 2"), *valid]
    assert module.seen == epoch * 2


def test_a_state_that_the_module_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="ResetState names attributes of the module; got 'hidden'"):
        trainer(ResetState("hidden")).fit(Carrying(), batches(1), batches(1))


class Falling(L.LightningModule):
    """A weight that falls by 1 with each update; logs losses as told, and says what weight each validation had."""

    def __init__(self, losses: Sequence[float], optimizer: type[torch.optim.Optimizer] = rd.NTASGD) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.losses = list(losses)
        self.optimizer = optimizer
        self.seen: list[float] = []

    def training_step(self, batch: Any, number: int) -> Tensor:
        return self.weight * 1

    def validation_step(self, batch: Any, number: int) -> None:
        self.seen.append(self.weight.item())
        self.log("val_loss", self.losses.pop(0))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        options = {"n": 0} if self.optimizer is rd.NTASGD else {}
        return self.optimizer(self.parameters(), lr=1.0, **options)  # type: ignore[call-arg]


def test_validation_has_the_average_and_the_optimizer_its_loss() -> None:
    module = Falling([1.0, 3.0, 2.0, math.inf, 2.5, 2.4, 2.6])
    training = trainer(AverageOfNTASGD(), max_epochs=6, num_sanity_val_steps=1)
    training.fit(module, batches(2), batches(1))
    # The first is Lightning's trial; 2.5 is the first report above the lowest one, so that steps 9 to 12 are averaged.
    assert module.seen == [0, -2, -4, -6, -8, -9.5, -10.5]
    assert training.optimizers[0].history == pytest.approx([3.0, 2.0, 2.5, 2.4, 2.6])  # type: ignore[attr-defined]
    assert module.weight.item() == -12


def test_a_failed_validation_gives_the_raw_weights_back() -> None:
    module = Falling([1.0, 2.0])
    with pytest.raises(IndexError):
        trainer(AverageOfNTASGD(), max_epochs=3).fit(module, batches(2), batches(1))
    assert module.seen == [-2, -4, -5.5]
    assert module.weight.item() == -6


@pytest.mark.parametrize(
    ("module", "monitor", "message"),
    [
        (Falling([1.0], torch.optim.SGD), "val_loss", "AverageOfNTASGD needs rd.NTASGD"),
        (Falling([1.0]), "loss", r"the module must log loss in validation; got \['val_loss'\]"),
    ],
)
def test_what_an_average_lacks_is_named(module: Falling, monitor: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(AverageOfNTASGD(monitor)).fit(module, batches(1), batches(1))


class Noisy(L.LightningModule):
    """Says which rate each batch had."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = rd.GRU(1, 2, noise=rd.Locked(output=0.4))
        self.seen: list[float] = []

    def training_step(self, batch: Any, number: int) -> Tensor:
        self.seen.append(self.rnn.noise.output)  # type: ignore[union-attr]
        return self.rnn(batch[None])[0].sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_schedule_counts_updates_and_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    def fit(epochs: int, **place: Any) -> Noisy:
        module = Noisy()
        schedule = NoiseSchedule(rd.LinearSchedule(module, total_updates=4))
        training = trainer(schedule, max_epochs=epochs, accumulate_grad_batches=2)
        training.fit(module, batches(4), **place)
        training.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return module

    half = [0.0, 0.0, 0.1, 0.1]
    rest = [0.2, 0.2, 0.3, 0.3]
    assert fit(1).seen == pytest.approx(half)
    assert fit(2, ckpt_path=tmp_path / "1.ckpt", weights_only=True).seen == pytest.approx(rest)
    assert fit(2).seen == pytest.approx(half + rest)
