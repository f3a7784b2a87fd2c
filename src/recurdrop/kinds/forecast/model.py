"""Forecast one value from a window: recurrent layers and a linear layer on their last output."""

from __future__ import annotations

from torch import Tensor, nn

from recurdrop.nn.base import Regularized
from recurdrop.nn.sequence_dropout import Dropout


class Forecaster(nn.Module):
    """Forecast the value that a window leads up to.

    Equation:
        h_1, ..., h_T = rnn(x), ŷ = w · (h_T ⊙ m / (1 - p)) + b, the bits m 0 with probability p in training.

    Args:
        rnn: layers of ours, batch first.
        dropout: p, on the last output alone.

    Source:
        The models of Chollet, Deep Learning with Python, 2018, section 6.3. Weights start as in torch.
    """

    def __init__(self, rnn: Regularized, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = rnn
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(rnn.hidden_size * (2 if rnn.bidirectional else 1), 1)

    def forward(self, window: Tensor) -> Tensor:
        """Forecast (B,) from windows (B, T, F)."""
        output, _ = self.rnn(window)
        forecast: Tensor = self.head(self.dropout(output[:, -1]))
        return forecast[:, 0]
