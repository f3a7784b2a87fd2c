"""A language model put together from parts: embedding, recurrent layers, output layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from recurdrop.errors import invalid
from recurdrop.nn.base import Regularized, State


class Outputs(NamedTuple):
    """What `details=True` adds: the last recurrent layer's output (T, B, F).

    Attributes:
        raw: before the output dropout, for `temporal_activation_regularization` and `NeuralCache`.
        dropped: after it, for `activation_regularization`.
    """

    raw: Tensor
    dropped: Tensor


class LanguageStack(nn.Module):
    """Predict the next word from the words so far, with parts that are yours.

    Equation:
        x = encoder(w); x, s_l' = rnns[l](x, s_l) for each l; logits = decoder(x).

    Args:
        encoder: from word numbers (T, B) to (T, B, E), e.g. `rd.nn.EmbeddingDropout`.
        rnns: layers of ours, time first and in one direction, each of any width and depth.
        decoder: from (T, B, F) to logits, or to log-probabilities, which `cross_entropy` takes as well.

    Raises:
        ValueError: a layer that is not ours, that is batch first, or that reads the words to come.
    """

    def __init__(self, encoder: nn.Module, rnns: Iterable[Regularized], decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.rnns = nn.ModuleList(rnns)
        self.decoder = decoder
        for rnn in self.rnns:
            if not isinstance(rnn, Regularized) or rnn.batch_first or rnn.bidirectional:
                raise invalid(
                    "a language model's layers must be rd.LSTM, rd.GRU or rd.RNN, time first, in one direction",
                    rnn,
                    "Turn torch's layers into ours with rd.regularize; leave batch_first and bidirectional out.",
                )

    def forward(self, words: Tensor, state: Sequence[State] | None = None, *, details: bool = False) -> Any:
        """Predict.

        Args:
            words: word numbers, (T, B).
            state: one for each of `rnns`, as the last call returned them; zeros if None. `detached` in
                `recurdrop.models.language` cuts them off from their history.
            details: whether to return `Outputs` as well.

        Returns:
            Logits (T, B, V) of the words that follow, and the states after the last step; with `details`, `Outputs`.

        Raises:
            ValueError: another number of states than of layers.
        """
        if state is not None and len(state) != len(self.rnns):
            raise invalid(f"state must have {len(self.rnns)} parts", len(state), "Give what the model returned.")
        x, after = self.encoder(words), []
        for rnn, before in zip(self.rnns, state or (None,) * len(self.rnns), strict=True):
            x, new, *rest = rnn(x, before, details="raw" if details and rnn is self.rnns[-1] else False)
            after.append(new)
        logits = self.decoder(x)
        return (logits, tuple(after), Outputs(rest[0].raw, x)) if details else (logits, tuple(after))
