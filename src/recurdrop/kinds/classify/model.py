"""A classifier of sequences: embedding, recurrent layers, their last states, a linear layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recurdrop.errors import invalid
from recurdrop.models.recurrent import RecurrentSettings
from recurdrop.nn.embedding import EmbeddingDropout
from recurdrop.nn.sequence_dropout import Dropout, SpatialDropout1D

POOLING = ("last", "mean")


@dataclass(frozen=True)
class ClassifierSettings(RecurrentSettings):
    """The model.

    Attributes:
        hidden: H, width of the recurrent layers, in each direction.
        embedding: E, width of the embedding; 0 for symbols that enter one-hot.
        bidirectional: whether the layers read both ways.
        pooling: "last": the output after the last word, and that of the other direction after the first; "mean": the
            mean output over the words.
        dropout: probability to drop a feature before the linear layer.
        embedding_dropout: probability to drop a word type, for each text its own (Gal & Ghahramani 2016).
        spatial_dropout: probability to drop a feature of the embedding for a whole text.

    Raises:
        ValueError: a setting breaks its rule.
    """

    hidden: int = 64
    embedding: int = 64
    bidirectional: bool = False
    pooling: str = "last"
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    spatial_dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding < 0:
            raise invalid("embedding must be 0 or more", self.embedding, "Give e.g. 64, or 0 for one-hot.")
        if self.pooling not in POOLING:
            raise invalid(f"pooling must be one of {', '.join(POOLING)}", self.pooling, "Choose one of them.")


class SequenceClassifier(nn.Module):
    """Predict the class of a sequence of numbers.

    Equation:
        y = rnn(E[w]),  logits = W d(p) + b with p = (y→_T, y←_1), or the mean of y_t over t = 1..T. y carries the noise
        of the output site. The embedding starts uniform in ±0.05, as Keras's; the layers start as in torch.

    Args:
        vocabulary: V, numbers there are; 0 is padding.
        classes: K.
        settings: the model's.

    Raises:
        ValueError: noise that the cell has no place for, or rates out of range.
    """

    def __init__(self, vocabulary: int, classes: int, settings: ClassifierSettings) -> None:
        super().__init__()
        if settings.embedding:
            embedding = nn.Embedding(vocabulary, settings.embedding)
            nn.init.uniform_(embedding.weight, -0.05, 0.05)
        else:
            embedding = nn.Embedding.from_pretrained(torch.eye(vocabulary), freeze=True)
        self.embedding = EmbeddingDropout(embedding, settings.embedding_dropout, per_example=True)
        self.spatial = SpatialDropout1D(settings.spatial_dropout, batch_first=False)
        self.rnn = settings.rnn(settings.embedding or vocabulary, bidirectional=settings.bidirectional)
        self.pooling = settings.pooling
        self.dropout = Dropout(settings.dropout)
        self.linear = nn.Linear(settings.hidden * self.rnn.directions, classes)

    def forward(self, words: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (B, K).

        Args:
            words: numbers, (B, T).
            lengths: how many of each row count, (B,) in [0, T]; all of them if None.
        """
        rows = self.spatial(self.embedding(words.t().contiguous()))
        y, _ = self.rnn(rows, lengths=lengths)
        logits: Tensor = self.linear(self.dropout(self._pooled(y, lengths)))
        return logits

    def _pooled(self, y: Tensor, lengths: Tensor | None) -> Tensor:
        """Return (B, F) from (T, B, F), which is 0 past a row's length."""
        if self.pooling == "mean":
            total = y.sum(0)
            return total / len(y) if lengths is None else total / lengths.clamp(min=1).unsqueeze(1)
        if lengths is None:
            last = y[-1]
        else:
            place = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, y.shape[-1])
            last = y.gather(0, place).squeeze(0)
        if self.rnn.directions == 1:
            return last
        return torch.cat([last[:, : self.rnn.hidden_size], y[0, :, self.rnn.hidden_size :]], 1)
