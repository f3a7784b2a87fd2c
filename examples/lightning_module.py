"""In a Lightning module of one's own: noise that grows in training, NT-ASGD, a state that is carried.

python examples/lightning_module.py --epochs 4
"""

from __future__ import annotations

import argparse
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader

import recurdrop as rd
from recurdrop.train.callbacks import AverageOfNTASGD, NoiseSchedule, ResetState


class Echo(L.LightningModule):
    """Learn to say what was heard three steps before, from one long stream cut into windows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = rd.GRU(1, 16, noise=[rd.Zoneout(h=0.1), rd.Locked(output=0.1)])
        self.out = nn.Linear(16, 1)
        self.state: Tensor | None = None

    def loss(self, batch: Any) -> Tensor:
        """Return the error of a window (T, B, 1), and carry the state on."""
        heard, wanted = batch
        output, state = self.rnn(heard, self.state)
        self.state = state.detach()
        return mse_loss(self.out(output), wanted)

    def training_step(self, batch: Any, _: int) -> Tensor:
        """Train on a window."""
        return self.loss(batch)

    def validation_step(self, batch: Any, _: int) -> None:
        """Log the loss that NT-ASGD follows."""
        self.log("val_loss", self.loss(batch), batch_size=1)

    def configure_optimizers(self) -> rd.NTASGD:
        """Return SGD that averages once validation stops improving."""
        return rd.NTASGD(self.parameters(), lr=0.3, n=2)


def windows(seed: int, count: int) -> DataLoader:
    """Return a stream of noise (T, 8, 1) and the same three steps later, in windows of 20 steps."""
    heard = torch.randn(20 * count, 8, 1, generator=torch.Generator().manual_seed(seed))
    wanted = torch.cat([torch.zeros(3, 8, 1), heard[:-3]])
    return DataLoader(list(zip(heard.split(20), wanted.split(20), strict=True)), batch_size=None)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    L.seed_everything(1, verbose=False)
    module, train, valid = Echo(), windows(1, 50), windows(2, 10)
    schedule = rd.Curriculum(module, total_updates=epochs * len(train))
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[NoiseSchedule(schedule), AverageOfNTASGD("val_loss"), ResetState("state")],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train, valid)
    (optimizer,) = trainer.optimizers
    losses = ", ".join(f"{loss:.3f}" for loss in optimizer.history)
    print(f"validation loss by epoch: {losses}")
    print(f"share of the rates reached: {schedule.factor:.2f}; averaging: {optimizer.averaging}")


if __name__ == "__main__":
    main()
