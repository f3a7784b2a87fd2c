"""Labelled texts as word numbers: words, vocabulary, splits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from recurdrop.errors import invalid
from recurdrop.files.reading import AS_GUESSED, Reading
from recurdrop.files.tokens import cut_words, normalized
from recurdrop.kinds.classify.files import PARTS, Rows, read_rows

PADDING, UNKNOWN = 0, 1
LEAST = 10
"""Rows that each class needs where validation is cut off."""
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+")
_WORD = r"[^\W_]+(?:['’][^\W_]+)*"
Ids = NDArray[np.int64]
I = TypeVar("I", np.int32, np.int64)


@dataclass(frozen=True)
class Labelled:
    """One part of the data.

    Attributes:
        texts: word numbers of each text, (T,) int64, T from 1 on.
        labels: the number of each text's class, (N,) int64.
    """

    texts: tuple[Ids, ...]
    labels: Ids


@dataclass(frozen=True)
class LabelledText:
    """Labelled texts, split and numbered.

    Attributes:
        cut: how texts are cut into words, one of `tokens.WORDS`.
        name: of the file or folder.
        sha256: of labels and texts as they were read.
        words: the vocabulary; a word's number is its place. 0 is padding, 1 stands for unknown words.
        classes: their names, sorted: as integers if all are, else as text.
        max_length: words kept of a text.
        keep: "last" or "first" of them.
        train: the training part, in an order drawn once.
        valid: the validation part.
        test: the test part.
        report: how many rows were left out for want of a text or label ("empty"), and how many texts of validation and
            test also occur in training ("valid in train", "test in train").
    """

    name: str
    sha256: str
    words: tuple[str, ...]
    classes: tuple[str, ...]
    max_length: int
    keep: str
    train: Labelled
    valid: Labelled
    test: Labelled
    report: Mapping[str, object]
    cut: str = "auto"

    def numbered(self, texts: Sequence[str]) -> list[Ids]:
        """Return the word numbers of other texts; of one without words, none."""
        numbers = {word: i for i, word in enumerate(self.words)}
        found = ([numbers.get(word, UNKNOWN) for word in words_of(text, self.cut)] for text in texts)
        return [_cut(np.array(ids, dtype=np.int64), self.max_length, self.keep) for ids in found]


def words_of(text: str, words: str = "auto") -> list[str]:
    """Return the lower-case words of a text; punctuation and HTML's line breaks are left out."""
    return cut_words(normalized(_BREAK.sub(" ", text)), _WORD, words)


def load(
    source: Path,
    *,
    text: str = "text",
    label: str = "label",
    vocabulary: int = 20_000,
    max_length: int = 200,
    keep: str = "last",
    valid: float = 0.1,
    seed: int = 0,
    words: str = "auto",
    reading: Reading = AS_GUESSED,
) -> LabelledText:
    """Read, split and number labelled texts.

    Where `train` and `test` are given, validation is cut from `train` unless it is given too. One file gives all three
    parts. Cuts are random and take the same share of each class. The vocabulary is the most frequent words of the
    training part; a word that occurs there once, or not at all, is unknown.

    Args:
        source: file or folder, as `read_rows` reads them.
        text: the column of texts.
        label: the column of labels.
        vocabulary: the most words to keep, padding and unknown included.
        max_length: the most words of a text.
        keep: which of them where there are more: "last", as Keras's `pad_sequences` unless told otherwise, or "first".
        valid: the share that validates; of a single file, as much again tests.
        seed: of the cut.
        words: how texts are cut into words, one of `tokens.WORDS`.
        reading: how tables are read.

    Raises:
        ValueError: files or columns are missing or damaged, one class only, a class with fewer than 10 rows to cut
            from, a part without rows, a class that training lacks.
    """
    read = read_rows(source, text=text, label=label, reading=reading)
    rows = _numbered(read, words)
    classes, y = _classes(rows, list(read), source)
    parts = _split(y, rows.part, list(read), valid, np.random.default_rng(seed), classes)
    known_words, new = _vocabulary([rows.ids[i] for i in parts["train"]], rows.numbers, vocabulary)
    known = {rows.texts[i] for i in parts["train"]}
    repeated = {f"{part} in train": sum(rows.texts[i] in known for i in parts[part]) for part in ("valid", "test")}
    made = {
        part: Labelled(tuple(new[_cut(rows.ids[i], max_length, keep)] for i in places), y[places])
        for part, places in parts.items()
    }
    said = {f"table {part}".strip(): rows.said for part, rows in read.items() if rows.said}
    report: dict[str, object] = {**said, "empty": rows.empty, **repeated}
    return LabelledText(
        source.name, _digest(read), known_words, classes, max_length, keep, **made, report=report, cut=words
    )


class _Numbered(NamedTuple):
    """All rows that have words.

    Attributes:
        texts: the texts.
        ids: numbers of their words.
        labels: names of their classes.
        part: the place of each row's part among those that were read.
        numbers: of all words, in the order in which they first occur.
        empty: rows that were left out.
    """

    texts: list[str]
    ids: list[NDArray[np.int32]]
    labels: list[str]
    part: Ids
    numbers: dict[str, int]
    empty: int


def _numbered(read: Mapping[str, Rows], words: str) -> _Numbered:
    texts: list[str] = []
    ids: list[NDArray[np.int32]] = []
    labels: list[str] = []
    part: list[int] = []
    numbers: dict[str, int] = {}
    for place, rows in enumerate(read.values()):
        for text, label in zip(rows.texts, rows.labels, strict=True):
            found = [numbers.setdefault(word, len(numbers)) for word in words_of(text, words)]
            if found:
                texts.append(text)
                ids.append(np.array(found, dtype=np.int32))
                labels.append(label)
                part.append(place)
    empty = sum(len(rows.texts) + rows.missing for rows in read.values()) - len(texts)
    return _Numbered(texts, ids, labels, np.array(part, dtype=np.int64), numbers, empty)


def _digest(read: Mapping[str, Rows]) -> str:
    digest = hashlib.sha256()
    for rows in read.values():
        for content, label in zip(rows.texts, rows.labels, strict=True):
            digest.update(f"{label}\t{content}\n".encode())
    return digest.hexdigest()


def _cut(ids: NDArray[I], max_length: int, keep: str) -> NDArray[I]:
    return ids[-max_length:] if keep == "last" else ids[:max_length]


def _classes(rows: _Numbered, names: list[str], source: Path) -> tuple[tuple[str, ...], Ids]:
    """Return the classes of the training rows, and each row's class."""
    for place, name in enumerate(names):
        if not (rows.part == place).any():
            where = f"{source}{f', {name}' if name else ''} without any; {rows.empty} rows have no text or no label"
            raise invalid("each part must have rows with a text and a label", where, "Check the column of texts.")
    trained = {label for label, place in zip(rows.labels, rows.part, strict=True) if place == 0}
    whole = all(_INTEGER.fullmatch(label) for label in trained)
    classes = tuple(sorted(trained, key=(lambda label: (int(label), label)) if whole else str))
    if len(classes) < 2:
        raise invalid("labels must have two classes or more", classes, "Name the column of classes as --label.")
    if other := set(rows.labels) - trained:
        raise invalid("every class must occur in training", min(other), "Drop its rows, or add some to train.")
    numbers = {name: i for i, name in enumerate(classes)}
    return classes, np.array([numbers[label] for label in rows.labels], dtype=np.int64)


def _split(
    y: Ids, part: Ids, names: list[str], share: float, rng: np.random.Generator, classes: tuple[str, ...]
) -> dict[str, Ids]:
    """Return the rows of each part, each part in a drawn order; what was not read is cut from the first part."""
    parts = {name: np.flatnonzero(part == place) for place, name in enumerate(names) if place}
    rest = np.flatnonzero(part == 0)
    counts = np.bincount(y[rest], minlength=len(classes))
    for cut in [name for name in PARTS[1:] if name not in parts]:
        if counts.min() < LEAST:
            rule = f"each class must have {LEAST} rows or more to cut a part from"
            few = f"{counts.min()} of {classes[counts.argmin()]!r}"
            raise invalid(rule, few, "Drop the class, merge it with another, or name another column as --label.")
        drawn = [
            rng.permutation(rest[y[rest] == number])[: max(1, round(share * count))]
            for number, count in enumerate(counts)
        ]
        parts[cut] = np.concatenate(drawn)
        rest = np.setdiff1d(rest, parts[cut])
    parts["train"] = rest
    return {name: rng.permutation(parts[name]) for name in PARTS}


def _vocabulary(texts: list[NDArray[np.int32]], numbers: Mapping[str, int], size: int) -> tuple[tuple[str, ...], Ids]:
    """Return the vocabulary, and the new number of each old one."""
    counts = np.bincount(np.concatenate(texts), minlength=len(numbers))
    order = np.argsort(-counts, kind="stable")[: size - 2]
    kept = order[counts[order] > 1]
    new = np.full(len(numbers), UNKNOWN, dtype=np.int64)
    new[kept] = np.arange(2, 2 + len(kept))
    words = list(numbers)
    return ("", "<unk>", *(words[i] for i in kept)), new
