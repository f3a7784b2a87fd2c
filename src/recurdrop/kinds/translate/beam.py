"""Beam search: the most probable translations that step-by-step decoding finds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.kinds.translate.model import EncoderDecoder


@torch.no_grad()
def beam_search(
    model: EncoderDecoder,
    source: Tensor,
    lengths: Tensor,
    *,
    beam: int = 1,
    limit: int = 50,
    start: int,
    end: int,
    never: tuple[int, ...] = (),
    alpha: float = 1.0,
) -> tuple[list[list[int]], Tensor]:
    """Translate a batch, word by word, with the decoder's state carried.

    A beam of 1 is greedy decoding. Of the `beam` last hypotheses, ended or not, the one with the greatest
    log p(words) / (number of words)^α is returned; what has ended keeps its place in the beam.

    Args:
        model: in evaluation mode.
        source: word numbers, (B, S).
        lengths: words of each source, (B,), 1 or more.
        beam: hypotheses that are kept of each sentence.
        limit: the most words of a translation, its end included.
        start: number of the word before the first.
        end: number of the word after the last.
        never: numbers of words that are not to occur.
        alpha: 0 for the sum of logarithms, which prefers short translations; 1 for their mean.

    Returns:
        The word numbers of each translation, without start and end; and log p of the words and the end, in nats, (B,).

    Raises:
        ValueError: a beam or limit below 1.

    Source:
        Sutskever et al. 2014, arXiv:1409.3215, section 3.2; α of Wu et al. 2016, arXiv:1609.08144, eq. 14, with the
        plain length for theirs.
    """
    for name, value in (("beam", beam), ("limit", limit)):
        if value < 1:
            raise invalid(f"{name} must be 1 or more", value, "Give e.g. 5 for a beam, 50 for a limit.")
    count = len(source)
    memory, state = model.encode(source, lengths)
    rows = torch.arange(count, device=source.device).repeat_interleave(beam)
    memory, state = memory.rows(rows), model.rows(state, rows)
    first = torch.arange(count, device=source.device)[:, None] * beam
    words = source.new_empty(count * beam, 0)
    last = source.new_full((count * beam, 1), start)
    ended = torch.zeros(count * beam, dtype=torch.bool, device=source.device)
    # All hypotheses of a sentence are equal at first; but for one, they are out.
    scores = memory.values.new_full((count, beam), -math.inf)
    scores[:, 0] = 0.0
    for _ in range(limit):
        logits, state = model.decode(last, state, memory)
        steps = logits[:, 0].log_softmax(-1)
        steps[:, list(never)] = -math.inf
        steps[ended] = -math.inf
        steps[ended, end] = 0.0
        best = (scores.view(-1, 1) + steps).view(count, -1).topk(beam)
        scores, vocabulary = best.values, logits.shape[-1]
        rows, last = (first + best.indices // vocabulary).flatten(), (best.indices % vocabulary).view(-1, 1)
        words, ended = torch.cat((words[rows], last), 1), ended[rows] | (last[:, 0] == end)
        if ended.all():
            break
        if beam > 1:
            state = model.rows(state, rows)
    sizes = (words != end).sum(1)
    chosen = first[:, 0] + (scores / (sizes + ended).view(count, beam) ** alpha).argmax(1)
    found = [row[:n] for row, n in zip(words[chosen].tolist(), sizes[chosen].tolist(), strict=True)]
    return found, scores.flatten()[chosen]
