"""An encoder-decoder with attention: one sequence read, another written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recurdrop.errors import invalid
from recurdrop.methods.base import real
from recurdrop.models.recurrent import RecurrentSettings
from recurdrop.nn.base import State
from recurdrop.nn.embedding import EmbeddingDropout
from recurdrop.nn.sequence_dropout import Dropout


@dataclass(frozen=True)
class TranslateModel(RecurrentSettings):
    """Encoder and decoder.

    Attributes:
        hidden: H, width of the decoder, and of the encoder with both directions side by side.
        layers: of the encoder, and as many of the decoder.
        noise: methods in the layers of both.
        embedding: E, width of the embeddings of both languages.
        bidirectional: whether the encoder reads both ways, each with H/2 units.
        tied: whether the output layer's matrix is the target embedding; then h̃ has E units, else H.
        embedding_dropout: probability to drop a word type of a sentence, in both languages.
        dropout: probability to drop units of h̃, fresh at each step.

    Raises:
        ValueError: a setting breaks its rule.
    """

    hidden: int = 256
    embedding: int = 128
    bidirectional: bool = True
    tied: bool = True
    embedding_dropout: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding < 1:
            raise invalid("embedding must be 1 or more", self.embedding, "Give e.g. 256.")
        if self.bidirectional and self.hidden % 2:
            raise invalid("hidden must be even, half for each direction of the encoder", self.hidden, "Add 1.")
        for name in ("embedding_dropout", "dropout"):
            real(name, getattr(self, name), high=1)


class Memory(NamedTuple):
    """What the decoder attends to.

    Attributes:
        keys: W_a s̄_i, (B, S, H).
        values: s̄_i, (B, S, H).
        inside: True at words, False at padding, (B, 1, S).
    """

    keys: Tensor
    values: Tensor
    inside: Tensor

    def rows(self, rows: Tensor) -> Memory:
        """Return that of some examples, by their numbers."""
        return Memory(*(part[rows] for part in self))


class EncoderDecoder(nn.Module):
    """Translate, with global attention.

    Equation:
        s̄ = encoder(E_s[x]),  h, s' = decoder(E_t[y], s); s starts as the encoder's last state.
        a_ti = softmax_i(h_tᵀ W_a s̄_i) over the words of the source,  c_t = Σ_i a_ti s̄_i
        h̃_t = tanh(W_c [c_t; h_t] + b_c),  logits = W_o D(h̃_t) + b_o
        Attention comes after the recurrent layers and nothing of it goes back into them, so that in training the
        decoder is one call. All weights start as in torch.
    Source:
        Luong, Pham, Manning 2015, arXiv:1508.04025, section 3.1, "global", "general"; without their input feeding. A
        bidirectional encoder is Bahdanau et al.'s, 2015, arXiv:1409.0473.

    Args:
        source_words: vocabulary of the source, padding at number 0.
        target_words: that of the target.
        settings: of the model.

    Raises:
        ValueError: noise that the cell has no place for, or rates that don't fit the layers.
    """

    def __init__(self, source_words: int, target_words: int, settings: TranslateModel) -> None:
        super().__init__()
        hidden, embedding = settings.hidden, settings.embedding
        self.source = _embedding(source_words, embedding, settings.embedding_dropout)
        self.target = _embedding(target_words, embedding, settings.embedding_dropout)
        each = hidden // (1 + settings.bidirectional)
        reader = RecurrentSettings(settings.cell, each, settings.layers, settings.noise)
        self.encoder = reader.rnn(embedding, bidirectional=settings.bidirectional)
        self.decoder = settings.rnn(embedding)
        self.attention = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden, embedding if settings.tied else hidden)
        self.dropout = Dropout(settings.dropout)
        self.output = nn.Linear(self.combine.out_features, target_words)
        if settings.tied:
            self.output.weight = self.target.embedding.weight

    def forward(self, source: Tensor, lengths: Tensor, words: Tensor) -> Tensor:
        """Return logits (B, T, V) of the words that follow each of `words`.

        Args:
            source: word numbers, padded, (B, S).
            lengths: words of each source, (B,), 1 or more.
            words: the translation so far, from its start on, (B, T).
        """
        memory, state = self.encode(source, lengths)
        return self.decode(words, state, memory)[0]

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Memory, State]:
        """Read sources; return what to attend to, and the decoder's first state."""
        output, state = self.encoder(self.source(source.t()), lengths=lengths)
        values = output.transpose(0, 1).contiguous()
        inside = torch.arange(source.shape[1], device=source.device) < lengths[:, None]
        both = self.encoder.directions
        return Memory(self.attention(values), values, inside[:, None]), _each(state, lambda s: _beside(s, both))

    def decode(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """Return logits (B, T, V) and the state after the last of `words` (B, T)."""
        output, state = self.decoder(self.target(words.t()), state)
        h = output.transpose(0, 1).contiguous()
        inside = memory.inside.expand(-1, h.shape[1], -1)
        context = F.scaled_dot_product_attention(h, memory.keys, memory.values, attn_mask=inside, scale=1.0)
        combined = torch.tanh(self.combine(torch.cat((context, h), -1)))
        logits: Tensor = self.output(self.dropout(combined))
        return logits, state

    @staticmethod
    def rows(state: State, rows: Tensor) -> State:
        """Return the decoder's state of some examples, by their numbers."""
        return _each(state, lambda s: s[:, rows])


def _embedding(words: int, width: int, dropout: float) -> EmbeddingDropout:
    return EmbeddingDropout(nn.Embedding(words, width, padding_idx=0), dropout, per_example=True)


def _each(state: State, change: Callable[[Tensor], Tensor]) -> State:
    return change(state) if isinstance(state, Tensor) else (change(state[0]), change(state[1]))


def _beside(state: Tensor, directions: int) -> Tensor:
    """Lay the directions' states (L·D, B, H/D) side by side: (L, B, H)."""
    beside: Tensor = state.unflatten(0, (-1, directions)).transpose(1, 2).flatten(2)
    return beside
