"""Decay of the learning rate and of the weights in the early language models."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from recurdrop.errors import invalid


class ZarembaLR(LRScheduler):
    """A learning rate that stays for some epochs and is then divided in every epoch.

    Equation:
        lr_e = lr / divisor^max(0, e + 1 - constant) in epoch e = 0, 1, ...; one `step()` an epoch.
    Source:
        Zaremba, Sutskever, Vinyals 2014, arXiv:1409.2329, section 4, lr 1 on the loss summed over time: small network
        constant 4, divisor 2, 13 epochs; medium 6, 1.2, 39; large 14, 1.15, 55. Gal & Ghahramani 2016,
        arXiv:1512.05287, large: 10, 1.15, 55 (in code).
    Authors' code:
        First divides at the end of epoch constant + 1, one epoch after the text: `constant=5` for the small network.

    Args:
        optimizer: whose groups' lr to set.
        constant: epochs at the first learning rate.
        divisor: what divides it from then on.
        last_epoch: as in torch's schedulers.

    Raises:
        ValueError: constant below 0, or divisor not above 0.
    """

    def __init__(self, optimizer: Optimizer, constant: int = 6, divisor: float = 1.2, last_epoch: int = -1) -> None:
        if constant < 0:
            raise invalid("constant of ZarembaLR must be 0 or more", constant, "Give a number of epochs.")
        if not divisor > 0:
            raise invalid("divisor of ZarembaLR must be above 0", divisor, "Give e.g. 1.2.")
        self.constant = constant
        self.divisor = divisor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Return each group's learning rate of this epoch."""
        divided = max(0, self.last_epoch + 1 - self.constant)
        return [base / self.divisor**divided for base in self.base_lrs]


@torch.no_grad()
def decoupled_decay_(parameters: Iterable[Tensor], weight_decay: float) -> None:
    """Shrink parameters by a constant factor, after an optimizer's step.

    Equation:
        w ← (1 - weight_decay) w
    Source:
        Gal & Ghahramani 2016, arXiv:1512.05287, in code: on all parameters, biases and embeddings included; 1e-7 for
        the large language model, 1e-5 for the small one.

    Neither the learning rate nor the clipping of the gradient has a part in it; AdamW's decay is multiplied by the
    learning rate, SGD's is part of the gradient.

    Args:
        parameters: changed in place.
        weight_decay: in [0, 1].

    Raises:
        ValueError: weight_decay outside [0, 1].
    """
    if not 0 <= weight_decay <= 1:
        raise invalid("weight_decay must be a number in [0, 1]", weight_decay, "Give e.g. 1e-7.")
    for p in parameters:
        p.mul_(1 - weight_decay)
