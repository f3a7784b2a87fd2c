"""A small language model with and without noise, in a training loop of one's own.

python examples/language_model.py --text my.txt --epochs 8
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

import recurdrop as rd
from recurdrop.files.text import read
from recurdrop.kinds.language.data import builtin, prepare
from recurdrop.kinds.language.streams import Streams
from recurdrop.models import ModelSettings, build
from recurdrop.models.language import detached


def train(noise: tuple[str, ...], text: str, epochs: int) -> float:
    """Return the best validation perplexity."""
    torch.manual_seed(1)
    corpus = prepare(text, "text", vocabulary=2000, tokens=25_000, least=17)
    settings = ModelSettings(len(corpus.words), embedding=100, widths=(100,), noise=noise, tied=True, init="embedding")
    model = build(settings)
    optimizer = rd.NTASGD(model.parameters(), lr=5, n=2)
    best = math.inf
    for _ in range(epochs):
        state = None
        for words, targets in Streams(corpus.train, batch=16, length=20):
            optimizer.zero_grad()
            logits, state, outputs = model(words, state, details=True)
            state = detached(state)
            loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
            (loss + rd.temporal_activation_regularization(outputs.raw)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
        with optimizer.averaged():
            valid = perplexity(model, Streams(corpus.valid, batch=16, length=20))
        optimizer.report(math.log(valid))
        best = min(best, valid)
    return best


@torch.no_grad()
def perplexity(model: torch.nn.Module, text: Streams) -> float:
    """Return the perplexity without noise, the state carried from window to window."""
    model.eval()
    state, total, count = None, 0.0, 0
    for words, targets in text:
        logits, state = model(words, state)
        total += cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
        count += targets.numel()
    model.train()
    return math.exp(total / count)


def main() -> None:
    """Train both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, help="UTF-8 text; without it, the English prose inside Python")
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    text = builtin() if given.text is None else read(given.text)
    for noise in ((), ("variational:input=0.2,recurrent=0.1,output=0.4",)):
        print(f"{noise[0] if noise else 'none':47} validation perplexity {train(noise, text, given.epochs):.1f}")


if __name__ == "__main__":
    main()
