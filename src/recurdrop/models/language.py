"""A word-level language model: embedding, recurrent layers, decoder tied to the embedding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

import recurdrop as rd
from recurdrop.methods import Method

State = Tensor | tuple[Tensor, Tensor]
S = TypeVar("S")
CELLS = {"lstm": rd.LSTM, "gru": rd.GRU, "rnn": rd.RNN}


class LanguageModel(nn.Module):
    """Predict the next word from the words so far.

    Equation:
        y, s' = rnn(E[w], s),  logits = y Eᵀ + b. E is shared by both ends (Press & Wolf 2017, arXiv:1608.05859) and
        starts uniform in [-0.1, 0.1]; b starts at the words' log frequencies, so that training need not find those
        first; the recurrent layers start as in torch.

    Args:
        frequencies: how often each word occurs, (V,), each above 0.
        hidden: H, width of embedding and recurrent layers.
        layers: recurrent layers.
        cell: "lstm", "gru" or "rnn".
        noise: what regularizes the recurrent layers; it changes no initial weight.
    """

    def __init__(
        self,
        frequencies: Tensor,
        hidden: int,
        layers: int = 1,
        cell: str = "lstm",
        noise: Method | Iterable[Method] | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(frequencies), hidden)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.rnn = CELLS[cell](hidden, hidden, layers, noise=noise)
        self.bias = nn.Parameter((frequencies / frequencies.sum()).log())

    def forward(self, words: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return logits (T, B, V) and the state after the last step.

        Args:
            words: word numbers, (T, B).
            state: as the recurrent layer takes it; zeros if None.
        """
        output, state = self.rnn(self.embedding(words), state)
        return F.linear(output, self.embedding.weight, self.bias), state


def cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return the loss in nats: of logits (T, B, V) and word numbers (T, B)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def detached(state: S) -> S:
    """Return a state, a tensor or tuples of them, cut off from its history."""
    cut = state.detach() if isinstance(state, Tensor) else tuple(map(detached, cast(tuple[Any, ...], state)))
    return cast(S, cut)
