"""Classification of recordings: recurrent layers, their mean over time, a label."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recurdrop.models.recurrent import RecurrentSettings


@dataclass(frozen=True)
class SpokenSettings(RecurrentSettings):
    """The settings of a `SpokenModel`.

    Attributes:
        bidirectional: whether the layers read both ways.

    Raises:
        ValueError: a setting breaks its rule.
    """

    cell: str = "lstm"
    hidden: int = 64
    bidirectional: bool = True


class SpokenModel(nn.Module):
    """Say which label a sequence of features has.

    Equation:
        y = rnn(x),  logits = W (1/N Σ_t y_t) + b, the sum over the N steps of the sequence. b starts at the labels' log
        frequencies; all else starts as in torch.

    Args:
        bands: width of the features.
        frequencies: how often each label occurs, (L,), each above 0.
        settings: sizes and noise.

    Raises:
        ValueError: noise that the cell has no place for.
    """

    def __init__(self, bands: int, frequencies: Tensor, settings: SpokenSettings) -> None:
        super().__init__()
        self.rnn = settings.rnn(bands, bidirectional=settings.bidirectional, batch_first=True)
        self.output = nn.Linear(settings.hidden * (1 + settings.bidirectional), len(frequencies))
        with torch.no_grad():
            self.output.bias.copy_((frequencies / frequencies.sum()).log())

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (B, L).

        Args:
            features: padded, (B, T, bands).
            lengths: frames of each, (B,), 1 or more.
        """
        output, _ = self.rnn(features, lengths=lengths)
        logits: Tensor = self.output(output.sum(1) / lengths[:, None])
        return logits
