"""Running text for language models: reading, words, vocabulary, splits."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recurdrop.errors import invalid
from recurdrop.files.tokens import cut_words, normalized

BUILTIN = "pydoc_data.topics"
UNKNOWN, END = "<unk>", "<eos>"
_MARKER = r"<[a-z]+>"
_WORD = rf"{_MARKER}|\w+(?:['’]\w+)*|([^\w\s])\1*"
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_LINE_END = re.compile(r"\n")


@dataclass(frozen=True)
class Corpus:
    """A text as word numbers.

    Attributes:
        name: the file's name, `BUILTIN`, or the published set's.
        sha256: of the text in UTF-8, before any cut; of a published set, of its parts as `words.read_set` reads them.
        words: the vocabulary; a word's number is its place. `prepare` puts `<unk>` first; published sets have it where
            it first occurs, or not at all.
        train: word numbers, or those of characters, (N,) int64; `prepare` takes the first 80 % of the text, a
            published set has parts of its own.
        valid: of the validation part; `prepare` takes the next 10 %.
        test: of the test part; `prepare` takes the last 10 %.
    """

    name: str
    sha256: str
    words: tuple[str, ...]
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]


def builtin() -> str:
    """Return the English prose that ships inside Python, `pydoc_data.topics`.

    Many topics quote each other; a paragraph that occurs twice is kept once, or validation would reward rote learning.
    """
    from pydoc_data.topics import topics

    kept: dict[str, str] = {}
    for name in sorted(topics):
        for paragraph in _BLANK_LINE.split(topics[name]):
            kept.setdefault(" ".join(paragraph.split()), paragraph)
    return "\n\n".join(kept.values())


def tokenize(text: str, words: str = "auto") -> Iterator[str]:
    """Yield the lower-case words and punctuation of a text, read no further than they are asked for.

    `<unk>` and its like stay whole, a run of one punctuation mark is one token. `<eos>` ends each paragraph, or each
    line of a text without blank lines (one sentence a line).

    Args:
        text: the text.
        words: how it is cut, one of `tokens.WORDS`.
    """
    text = text.replace("\r\n", "\n")
    between = _BLANK_LINE if _BLANK_LINE.search(text.strip()) else _LINE_END
    start = 0
    for end in itertools.chain(between.finditer(text), [None]):
        block = text[start : end.start() if end else None]
        start = end.end() if end else start
        if tokens := cut_words(normalized(block), _WORD, words):
            yield from tokens
            yield END


def prepare(text: str, name: str, *, vocabulary: int, tokens: int, least: int, words: str = "auto") -> Corpus:
    """Cut, split and number a text.

    The first `tokens` tokens are split 80/10/10 in order. The vocabulary is the most frequent words of the training
    part; a word that occurs there once, or not at all, is `<unk>`.

    Args:
        text: the text.
        name: what to call it.
        vocabulary: the most words to keep, `<unk>` included.
        tokens: the most tokens to use.
        least: the fewest tokens that each part needs.
        words: how the text is cut, one of `tokens.WORDS`.

    Raises:
        ValueError: the text is too short.
    """
    found = list(itertools.islice(tokenize(text, words), tokens))
    if len(found) // 10 < least:
        rule = f"TEXT must have at least {10 * least} tokens, so that 10 % of it can validate"
        raise invalid(rule, f"{name} with {len(found)}", "Give a longer text, or lower --batch or --window.")
    ends = len(found) * 8 // 10, len(found) * 9 // 10
    counts = Counter(found[: ends[0]])
    counts.pop(UNKNOWN, None)
    known = (UNKNOWN, *(word for word, count in counts.most_common(vocabulary - 1) if count > 1))
    numbers = {word: i for i, word in enumerate(known)}
    ids = np.array([numbers.get(token, 0) for token in found], dtype=np.int64)
    train, valid, test = np.split(ids, ends)
    return Corpus(name, hashlib.sha256(text.encode()).hexdigest(), known, train, valid, test)
