from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from recurdrop.train.callbacks import ResetState

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*does not have many workers")


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


def fit(module: L.LightningModule, callback: L.Callback) -> None:
    data = DataLoader([torch.zeros(1)] * 4)
    L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        val_check_interval=2,
        limit_val_batches=2,
        num_sanity_val_steps=0,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, data, data)


def test_a_validation_within_an_epoch_leaves_the_state_of_training() -> None:
    module = Carrying()
    fit(module, ResetState())
    valid = [("valid", None), ("valid", "valid 0")]
    epoch = [("train", None), ("train", "train 0"), *valid, ("train", "train 1"), ("train", "train 2"), *valid]
    assert module.seen == epoch * 2


def test_a_state_that_the_module_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="ResetState names attributes of the module; got 'hidden'"):
        fit(Carrying(), ResetState("hidden"))
