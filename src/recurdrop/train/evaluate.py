"""The loss of a language model on a whole text."""

from __future__ import annotations

import torch

from recurdrop.data.streams import Streams
from recurdrop.models.language import LanguageModel, cross_entropy


@torch.no_grad()
def evaluate(model: LanguageModel, text: Streams) -> float:
    """Return the loss in nats per token, in evaluation mode, the state carried from window to window.

    The model's mode is put back.
    """
    training = model.training
    model.eval()
    state, total, count = None, 0.0, 0
    for words, targets in text:
        logits, state = model(words, state)
        total += float(cross_entropy(logits, targets, reduction="sum"))
        count += targets.numel()
    model.train(training)
    return total / count
