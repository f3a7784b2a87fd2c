"""Learning rate, clipping and weight decay together with the loss that they are for."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from recurdrop.errors import invalid

LOSSES = ("sum_over_time", "mean_over_tokens")


@dataclass(frozen=True)
class SGDSettings:
    """Settings of plain SGD, and the unit of the loss that gives them their meaning.

    Equation:
        "sum_over_time":    Σ_t mean_b ℓ_tb, for windows of T steps; lr, clip, weight_decay
        "mean_over_tokens": mean_tb ℓ_tb, and the same steps with lr · T, clip / T, weight_decay / T
    Source:
        Zaremba et al. 2014 publish for the sum (lr 1, clip 5 or 10), Merity et al. 2018 for the mean (lr 30, clip
        0.25, weight decay 1.2e-6, T 70: 0.4286, 17.5 and 8.4e-5 on the sum).

    ℓ_tb is a token's loss. Decoupled weight decay, which is no part of the gradient, does not change with the loss.
    Where the length of windows varies and lr with it, the two still clip differently: the mean's norm has a bound of
    its own at every length.

    Attributes:
        lr: learning rate.
        loss: "sum_over_time" or "mean_over_tokens"; there is no default.
        clip: largest norm of the whole gradient, for `torch.nn.utils.clip_grad_norm_`; infinite for none.
        weight_decay: coupled, part of the gradient.

    Raises:
        ValueError: an attribute breaks its rule.
    """

    lr: float
    loss: str
    clip: float = math.inf
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_loss(self.loss)
        for name in ("lr", "clip", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise invalid(f"{name} must be a number of 0 or more", getattr(self, name), "Give e.g. lr=1, clip=5.")

    def under(self, loss: str, *, steps: int) -> SGDSettings:
        """Return the settings that take the same steps on another loss.

        Args:
            loss: "sum_over_time" or "mean_over_tokens".
            steps: T, the length of a window.

        Raises:
            ValueError: another loss, or steps below 1.
        """
        _check_loss(loss)
        if steps < 1:
            raise invalid("steps must be 1 or more", steps, "Give the length of a window.")
        if loss == self.loss:
            return self
        factor = steps if loss == "mean_over_tokens" else 1 / steps
        lr, clip, decay = self.lr * factor, self.clip / factor, self.weight_decay / factor
        return dataclasses.replace(self, lr=lr, loss=loss, clip=clip, weight_decay=decay)


def _check_loss(loss: str) -> None:
    if loss not in LOSSES:
        raise invalid(f"loss must be one of {', '.join(map(repr, LOSSES))}", loss, "Say what the loss is.")
