"""Text from a language model, word by word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from recurdrop.errors import invalid


def generate(
    model: nn.Module, prompt: Sequence[int], *, temperature: float = 1.0, seed: int | None = None
) -> Iterator[int]:
    """Yield words without end, each drawn from the model's prediction after all words before it.

    Equation:
        w_{t+1} ~ softmax(logits(w_1, ..., w_t) / temperature); at temperature 0 the most likely word.

    Args:
        model: from word numbers (T, B) and a state to logits (T, B, V) and the state; it is put in evaluation mode.
        prompt: word numbers to start after, at least one.
        temperature: 0 or more; below 1 is more careful, above 1 bolder.
        seed: of the draws; None for torch's generator.

    Raises:
        ValueError: an empty prompt, or a temperature below 0.
    """
    if not prompt:
        raise invalid("the prompt must have a word", prompt, "Give one, or the end of a sentence.")
    if not temperature >= 0:
        raise invalid("temperature must be 0 or more", temperature, "The default is 1.")
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return _drawn(model, prompt, temperature, generator)


@torch.no_grad()
def _drawn(
    model: nn.Module, prompt: Sequence[int], temperature: float, generator: torch.Generator | None
) -> Iterator[int]:
    model.eval()
    device = next(model.parameters()).device
    words = torch.tensor(prompt, device=device)[:, None]
    state = None
    while True:
        logits, state = model(words, state)
        last = logits[-1, 0].float().cpu()
        word = int(
            last.argmax()
            if temperature == 0
            else torch.multinomial((last / temperature).softmax(-1), 1, generator=generator)
        )
        yield word
        words = torch.tensor([[word]], device=device)
