"""From settings to a language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from recurdrop.errors import invalid
from recurdrop.methods import parse
from recurdrop.methods.awd import AWD
from recurdrop.models.awd_lstm import awd_layers
from recurdrop.models.mixture_of_softmaxes import MixtureOfSoftmaxes
from recurdrop.models.published import PUBLISHED
from recurdrop.models.recurrent import CELLS
from recurdrop.models.settings import ModelSettings
from recurdrop.models.stack import LanguageStack
from recurdrop.nn.base import Regularized
from recurdrop.nn.embedding import EmbeddingDropout


def build(
    settings: str | ModelSettings, *, vocabulary: int | None = None, frequencies: Tensor | None = None
) -> LanguageStack:
    """Make a language model as published, with its initial weights and its noise.

    Args:
        settings: a name in `PUBLISHED`, or settings of your own.
        vocabulary: of other data; None for that of the settings.
        frequencies: how often each word occurs, (V,), each above 0; for `init="frequencies"`.

    Returns:
        The model, from word numbers (T, B) to logits and state. Inside `with torch.device("meta"):` it takes no memory.

    Raises:
        ValueError: an unknown name, settings that don't fit together, or frequencies that are missing.
    """
    if isinstance(settings, str):
        if settings not in PUBLISHED:
            raise invalid("a published model goes by its name", settings, f"Choose among {', '.join(PUBLISHED)}.")
        settings = PUBLISHED[settings].model
    if vocabulary is not None:
        settings = replace(settings, vocabulary=vocabulary)
    model = LanguageStack(_encoder(settings), _layers(settings), _decoder(settings))
    output = cast(nn.Linear, getattr(model.decoder, "decoder", model.decoder))
    if settings.tied:
        output.weight = cast(nn.Parameter, model.encoder.weight)
    _INITS[settings.init](model, output, settings.init_range)
    if settings.init == "frequencies":
        if frequencies is None:
            raise invalid('init="frequencies" needs frequencies', None, "Count the words of the training part.")
        with torch.no_grad():
            output.bias.copy_((frequencies / frequencies.sum()).log())
    return model


def _encoder(settings: ModelSettings) -> EmbeddingDropout:
    if settings.embedding == 0:
        embedding = nn.Embedding.from_pretrained(torch.eye(settings.vocabulary), freeze=True)
    else:
        embedding = nn.Embedding(settings.vocabulary, settings.embedding)
    return EmbeddingDropout(embedding, settings.embedding_dropout, per_example=settings.per_example)


def _layers(settings: ModelSettings) -> list[Regularized]:
    noise = tuple(parse(text) for text in settings.noise)
    inputs, widths = settings.embedding or settings.vocabulary, settings.widths
    if len(set(widths)) == 1:
        return [CELLS[settings.cell](inputs, widths[0], len(widths), noise=noise)]
    if settings.cell != "lstm" or len(noise) != 1 or not isinstance(noise[0], AWD):
        raise invalid(
            "layers of unequal widths are LSTM layers with the one method awd",
            (settings.cell, *settings.noise),
            "Make the widths equal, or put a LanguageStack together yourself.",
        )
    return list(awd_layers((inputs, *widths), noise[0]))


def _decoder(settings: ModelSettings) -> nn.Module:
    width = settings.widths[-1]
    if settings.softmaxes == 1:
        return nn.Linear(width, settings.vocabulary)
    return MixtureOfSoftmaxes(
        width, settings.vocabulary, settings.embedding, settings.softmaxes, dropout=settings.latent_dropout
    )


def _uniform(model: LanguageStack, output: nn.Linear, high: float) -> None:
    for parameter in _trained(model):
        nn.init.uniform_(parameter, -high, high)


def _embedding(model: LanguageStack, output: nn.Linear, high: float) -> None:
    for matrix in (model.encoder.weight, output.weight):
        if matrix.requires_grad:  # not the identity of symbols that enter one-hot
            nn.init.uniform_(matrix, -high, high)  # type: ignore[arg-type]
    nn.init.zeros_(output.bias)


def _orthogonal(model: LanguageStack, output: nn.Linear, high: float) -> None:
    for parameter in _trained(model):
        if parameter.dim() > 1:
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)
    for rnn in model.rnns:
        for name, parameter in rnn.named_parameters() if isinstance(rnn, nn.LSTM) else ():
            if name.startswith("bias_hh"):
                nn.init.ones_(parameter.chunk(4)[1])


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


_INITS: dict[str, Callable[[LanguageStack, nn.Linear, float], None]] = {
    "uniform": _uniform,
    "embedding": _embedding,
    "frequencies": _embedding,
    "orthogonal": _orthogonal,
}
