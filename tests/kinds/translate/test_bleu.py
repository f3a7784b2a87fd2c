from __future__ import annotations

import pytest

from recurdrop.kinds.translate.metric import bleu


def test_against_counts_by_hand() -> None:
    # Of 1, 2, 3 and 4 words, 4 of 5, 3 of 4, 2 of 3 and 1 of 2 are in the reference; the lengths are equal.
    found = bleu(["a b c d e"], ["A b c d f"], tokenized=True)
    assert found.score == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, abs=1e-9)
    assert "case:lc" in found.signature and "tok:none" in found.signature


def test_marks_are_tokens_of_raw_text_alone() -> None:
    joined, apart = ["a b c d."], ["a b c d ."]
    assert bleu(joined, apart, tokenized=False).score == pytest.approx(100)
    assert bleu(joined, apart, tokenized=True).score < 80
    assert "tok:13a" in bleu(joined, apart, tokenized=False).signature
