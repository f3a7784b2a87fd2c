"""AWD-LSTM: Merity et al. 2018."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

import recurdrop as rd
from recurdrop.errors import invalid
from recurdrop.models.stack import LanguageStack
from recurdrop.nn.embedding import EmbeddingDropout

WORDS = rd.AWD()
"""The rates for words of Penn Treebank."""


class AWDLSTM(LanguageStack):
    """AWD-LSTM language model: LSTM layers under weight drop and locked dropout, output tied to the embedding.

    Equation:
        x⁰ = E[w] with rows dropped; x^l = LSTM_l(x^{l-1}); logits = x^L Eᵀ + b. The last layer is as wide as the
        embedding, the others have a width of their own. E starts uniform in [-0.1, 0.1], b at 0, the layers as in
        torch: uniform in ±1/√H.
    Shared over:
        `embedding_dropout` (`dropoute`): one bit for each word type, over batch and time, in the encoder alone; the
        output layer sees every row. `noise.input` (`dropouti`), `noise.between` (`dropouth`), `noise.output`
        (`dropout`): one mask a sequence and place. `noise.weight` (`wdrop`): one mask of each recurrent matrix a
        forward.
    Evaluation:
        Without noise.
    Source:
        Merity, Keskar, Socher 2018, arXiv:1708.02182; for characters 1803.08240. As made, the model for words of Penn
        Treebank but for `vocabulary=10_000`: 24,221,600 parameters. `recurdrop.models.published` has the settings of
        the others and of training.
    Authors' code:
        The same model; `recurdrop.models.awd_weights` loads its weights and fastai's, whose hidden width is 1152.

    The loss of training is `cross_entropy(logits, targets) + rd.activation_regularization(outputs.dropped, 2) +
    rd.temporal_activation_regularization(outputs.raw, 1)`, `outputs` what `details=True` adds.

    Args:
        vocabulary: V, the number of words.
        embedding: E, width of the embedding and of the last layer.
        hidden: width of the other layers.
        layers: L.
        noise: the rates in the layers; `between` may have one for each of the L - 1 connections, `weight` one a layer.
        embedding_dropout: probability to drop a word.

    Raises:
        ValueError: no layer, noise of another kind, or rates that break their rules.
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int = 400,
        hidden: int = 1150,
        layers: int = 3,
        *,
        noise: rd.AWD = WORDS,
        embedding_dropout: float = 0.1,
    ) -> None:
        if layers < 1:
            raise invalid("layers of AWDLSTM must be 1 or more", layers, "Give 3 as published.")
        encoder = EmbeddingDropout(nn.Embedding(vocabulary, embedding), embedding_dropout)
        widths = (embedding, *[hidden] * (layers - 1), embedding)
        super().__init__(encoder, awd_layers(widths, noise), nn.Linear(embedding, vocabulary))
        self.decoder.weight = encoder.embedding.weight
        nn.init.uniform_(encoder.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)  # type: ignore[arg-type]


def awd_layers(widths: Sequence[int], noise: rd.AWD) -> list[rd.LSTM]:
    """Return LSTM layers of unequal widths with the noise that one stack of them would have.

    Args:
        widths: of the input and of every layer.
        noise: its rates.

    Raises:
        ValueError: noise of another kind, or a list of rates that does not fit.
    """
    if not isinstance(noise, rd.AWD):
        raise invalid("noise of AWD-LSTM must be rd.AWD", noise, "Set other methods as `noise` of the model's rnns.")
    count = len(widths) - 1
    return [
        rd.LSTM(
            before,
            width,
            noise=rd.AWD(
                input=noise.rate_at("input", 0, 1) if layer == 0 else 0.0,
                between=0.0,
                output=noise.rate_at("output", 0, 1)
                if layer == count - 1
                else noise.rate_at("between", layer, count - 1),
                weight=noise.rate_at("weight", layer, count),
            ),
        )
        for layer, (before, width) in enumerate(pairwise(widths))
    ]
