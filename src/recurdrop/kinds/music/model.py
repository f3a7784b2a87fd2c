"""Predict the next frame of polyphonic music: recurrent layers and one logit for each key."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from recurdrop.nn.base import Regularized
from recurdrop.nn.fast_dropout.base import FastDropout
from recurdrop.nn.fast_dropout.linear import FastDropoutLinear
from recurdrop.nn.sequence_dropout import Dropout


class FrameModel(nn.Module):
    """Predict which keys sound next from the frames so far, each key independent of the others given those.

    Equation:
        y = rnn(x), p(key sounds in frame t + 1) = σ(W (y_t ⊙ m_t / (1 - p)) + b), fresh bits m_t in training.
        With layers of fast dropout instead, y has mean and variance, W (y ⊙ m) + b is a `FastDropoutLinear` with
        moments μ, s², and the probability is σ(μ / √(1 + π s² / 8)), the mean of σ over a normal argument.

    Args:
        rnn: layers of ours, batch first: `rd.RNN` or its like, or of fast dropout.
        frequencies: how often each key sounds, (K,), in (0, 1): b starts at their log odds, so that training need not
            find those first; all else starts as in torch.
        dropout: p, the probability to drop an output of the layers.

    Source:
        Boulanger-Lewandowski, Bengio, Vincent 2012, arXiv:1206.6392, the RNN; Bayer et al. 2013, arXiv:1311.0701, for
        fast dropout.
    """

    def __init__(self, rnn: Regularized | FastDropout, frequencies: Tensor, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = rnn
        fast = isinstance(rnn, FastDropout)
        self.dropout = Dropout(0.0 if fast else dropout)
        width, keys = rnn.hidden_size, len(frequencies)
        self.head = FastDropoutLinear(width, keys, p=dropout) if fast else nn.Linear(width, keys)
        self.head.bias.data.copy_(frequencies.logit())

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Predict.

        Args:
            frames: (B, T, K), 1 where a key sounds.
            lengths: (B,), frames of each piece; what lies behind them has no meaning.

        Returns:
            Logits (B, T, K) of the frames that follow.
        """
        output: Any
        output, _ = self.rnn(frames, lengths=lengths)
        if isinstance(output, Tensor):
            logits: Tensor = self.head(self.dropout(output))
            return logits
        mean, variance = self.head(output)
        scaled: Tensor = mean * (1 + math.pi / 8 * variance).rsqrt()
        return scaled
