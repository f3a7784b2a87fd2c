"""BLEU, as sacrebleu counts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Bleu(NamedTuple):
    """A score and how it was counted.

    Attributes:
        score: from 0 to 100.
        signature: sacrebleu's: case, tokens, smoothing and version, without which a score can't be compared.
    """

    score: float
    signature: str


def bleu(hypotheses: Sequence[str], references: Sequence[str], *, tokenized: bool) -> Bleu:
    """Return the BLEU of a corpus, upper and lower case being one.

    Args:
        hypotheses: translations, one a sentence.
        references: one for each.
        tokenized: whether spaces part the tokens of both; otherwise sacrebleu's "13a" does.

    Source:
        Papineni et al. 2002; Post 2018, arXiv:1804.08771, for the tokens and the signature.
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(lowercase=True, tokenize="none" if tokenized else "13a", force=True)
    score = metric.corpus_score(hypotheses, [references]).score
    return Bleu(score, str(metric.get_signature()))
