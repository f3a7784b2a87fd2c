"""Trigger-word detection: a strided convolution, recurrent layers, a probability a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recurdrop.errors import invalid
from recurdrop.models.recurrent import RecurrentSettings
from recurdrop.nn import Dropout


@dataclass(frozen=True)
class TriggerSettings(RecurrentSettings):
    """The settings of a `TriggerModel`.

    Attributes:
        channels: filters of the convolution.
        kernel: frames that a filter sees.
        stride: frames of input to a frame of output.
        dropout: probability to drop an output of the convolution; what is dropped in the layers is `noise`.

    Raises:
        ValueError: a setting breaks its rule.
    """

    cell: str = "gru"
    hidden: int = 64
    channels: int = 64
    kernel: int = 15
    stride: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels < 1:
            raise invalid("channels must be 1 or more", self.channels, "Give e.g. 64.")
        if not 1 <= self.stride <= self.kernel:
            value = f"stride={self.stride}, kernel={self.kernel}"
            raise invalid("stride must be between 1 and kernel", value, "Give e.g. 4 and 15.")
        if not 0 <= self.dropout <= 1:
            raise invalid("dropout must be a probability", self.dropout, "Give e.g. 0.2.")


class TriggerModel(nn.Module):
    """Say for each frame whether the trigger word has just ended.

    Equation:
        u_s = D(relu(C x_{s·stride - kernel + stride .. s·stride + stride - 1} + c)), y = rnn(u), P_s = σ(v·y_s + b).
        Output frame s ends with input frame (s + 1) · stride - 1 and sees none after it. b starts at the log odds of
        label 1, so that training need not find those first; all else starts as in torch.
    Source:
        The trigger-word exercise of A. Ng's course "Sequence Models" (Coursera 2018): a convolution of width 15 and
        stride 4, two GRU layers of 128 units. Here there is no batch normalization, and the convolution is causal.

    Args:
        bands: width of the features.
        rate: share of output frames that have label 1, between 0 and 1.
        settings: sizes and noise.

    Raises:
        ValueError: noise that the cell has no place for.
    """

    def __init__(self, bands: int, rate: float, settings: TriggerSettings) -> None:
        super().__init__()
        self.stride = settings.stride
        self.convolution = nn.Conv1d(bands, settings.channels, settings.kernel, settings.stride)
        self.dropout = Dropout(settings.dropout)
        self.rnn = settings.rnn(settings.channels, batch_first=True)
        self.output = nn.Linear(settings.hidden, 1)
        with torch.no_grad():
            self.output.bias.fill_(math.log(rate / (1 - rate)))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, T // stride).

        Args:
            features: (B, T, bands).
        """
        before = self.convolution.kernel_size[0] - self.stride
        padded = F.pad(features.transpose(1, 2), (before, 0))
        frames = self.convolution(padded).relu().transpose(1, 2)
        output, _ = self.rnn(self.dropout(frames))
        logits: Tensor = self.output(output).squeeze(-1)
        return logits
