"""Sentence pairs as numbers: tokens, a vocabulary for each language, padded rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape, unescape

import numpy as np
from numpy.typing import NDArray

from recurdrop.errors import invalid
from recurdrop.files.tokens import close_up, cut_words, normalized
from recurdrop.kinds.translate.files import Pair, Parallel

PAD, UNK, BOS, EOS = range(4)
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
_PIECE = r"\d+(?:[.,]\d+)+|\w+(?:-\w+)*|(?<=\w)['’]\w+|([^\w\s])"
_NO_SPACE = re.compile(r" (?=['’]\w|[.,!?;:](?: |$))")


@dataclass(frozen=True)
class Vocabulary:
    """The words of one language; a word's number is its place.

    Attributes:
        words: `SPECIALS`, then words from the most frequent on.
        counts: how often each occurs in the training part, with one end a sentence; (V,).
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], min_count: int) -> Vocabulary:
        """Take the words that occur at least `min_count` times; a word spelt like one of `SPECIALS` is unknown."""
        found: Counter[str] = Counter()
        ends = 0
        for sentence in sentences:
            found.update(sentence)
            ends += 1
        kept = [(word, count) for word, count in found.most_common() if count >= min_count and word not in SPECIALS]
        unknown = found.total() - sum(count for _, count in kept)
        return cls((*SPECIALS, *(word for word, _ in kept)), (0, unknown, 0, ends, *(count for _, count in kept)))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words) if number >= len(SPECIALS)}

    def __len__(self) -> int:
        return len(self.words)

    def numbers(self, sentence: Iterable[str]) -> list[int]:
        """Return the number of each token."""
        return [self._numbers.get(token, UNK) for token in sentence]

    def tokens(self, numbers: Iterable[int]) -> list[str]:
        """Return the words with these numbers."""
        return [self.words[number] for number in numbers]


@dataclass(frozen=True)
class Sentences:
    """Sentence pairs of one part.

    Attributes:
        source: word numbers, padded; (N, S) int32.
        lengths: words of each source; (N,) int64.
        target: `BOS`, word numbers, `EOS`, padded; (N, T) int32.
        target_lengths: words of each target and its `EOS`; (N,) int64.
        references: the targets as they were read.
    """

    source: NDArray[np.int32]
    lengths: NDArray[np.int64]
    target: NDArray[np.int32]
    target_lengths: NDArray[np.int64]
    references: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source)

    def first(self, count: int) -> Sentences:
        """Return the first pairs, `count` of them or all."""
        return Sentences(
            self.source[:count],
            self.lengths[:count],
            self.target[:count],
            self.target_lengths[:count],
            self.references[:count],
        )


@dataclass(frozen=True)
class Pairs:
    """Sentence pairs for translation.

    Attributes:
        source: vocabulary of the language to translate from.
        target: that of the language to translate into.
        tokenized: whether the data came as tokens.
        parts: "train", "valid" and "test".
        too_long: training pairs left out for their length.
    """

    source: Vocabulary
    target: Vocabulary
    tokenized: bool
    parts: Mapping[str, Sentences]
    too_long: int


def tokenize(sentence: str, words: str = "auto") -> list[str]:
    """Split a sentence into lower-case words, numbers, `'s` and its like, and marks."""
    return cut_words(normalized(unescape(sentence)), _PIECE, words)


def tokenize_like_moses(sentence: str) -> list[str]:
    """Split as `tokenize`, with the marks that Moses writes as entities, such as `&quot;`."""
    return [escape(token).replace("&#x27;", "&apos;") for token in tokenize(sentence)]


def join(tokens: Iterable[str], words: str = "auto") -> str:
    """Return tokens as a sentence that people read."""
    if words == "characters":
        return unescape("".join(tokens))
    return _NO_SPACE.sub("", close_up(unescape(" ".join(tokens)), words))


def prepare(data: Parallel, *, min_count: int, max_length: int, words: str = "auto") -> Pairs:
    """Number the words of sentence pairs.

    Vocabularies come from the training part.

    Args:
        data: the sentences.
        min_count: how often a word must occur to be known.
        max_length: training pairs with more words on one side are left out; validation and test stay whole.
        words: how sentences are cut that don't come as tokens, one of `tokens.WORDS`.

    Raises:
        ValueError: no training pair is short enough.
    """

    def split(sentence: str) -> list[str]:
        return sentence.split() if data.tokenized else tokenize(sentence, words)

    parts = {part: [(split(source), split(target)) for source, target in pairs] for part, pairs in data.parts.items()}
    long = [max(map(len, pair)) > max_length for pair in parts["train"]]
    if all(long):
        shortest = min(max(map(len, pair)) for pair in parts["train"])
        raise invalid("max_length must leave training pairs", max_length, f"Give {shortest} or more.")
    kept = {part: list(zip(pairs, data.parts[part], strict=True)) for part, pairs in parts.items()}
    kept["train"] = [pair for pair, too_long in zip(kept["train"], long, strict=True) if not too_long]
    source, target = (Vocabulary.of([tokens[side] for tokens, _ in kept["train"]], min_count) for side in (0, 1))
    numbered = {part: _numbered(pairs, source, target) for part, pairs in kept.items()}
    return Pairs(source, target, data.tokenized, numbered, sum(long))


def _numbered(
    pairs: list[tuple[tuple[list[str], list[str]], Pair]], source: Vocabulary, target: Vocabulary
) -> Sentences:
    sources = padded([source.numbers(tokens[0]) for tokens, _ in pairs])
    targets = padded([[BOS, *target.numbers(tokens[1]), EOS] for tokens, _ in pairs])
    return Sentences(
        sources, (sources != PAD).sum(1), targets, (targets != PAD).sum(1) - 1, tuple(text[1] for _, text in pairs)
    )


def padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """Return rows of numbers side by side, `PAD` behind the shorter ones; (N, longest)."""
    matrix = np.full((len(rows), max(map(len, rows), default=0)), PAD, np.int32)
    for place, row in enumerate(rows):
        matrix[place, : len(row)] = row
    return matrix
