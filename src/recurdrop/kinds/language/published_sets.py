"""Published sets for language models, exactly as their authors split and number them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from recurdrop.errors import invalid
from recurdrop.files.text import read, read_bytes
from recurdrop.kinds.language.data import END, Corpus

WHERE = {
    "ptb-word": "Take ptb.train.txt, ptb.valid.txt and ptb.test.txt from Mikolov's simple-examples.tgz, folder data.",
    "ptb-char": "Take ptb.char.train.txt and its like from Mikolov's simple-examples.tgz, folder data.",
    "wikitext-2": "Take wiki.train.tokens and its like from wikitext-2-v1.zip, or leave --data out to use `datasets`.",
    "enwik8": "Unpack enwik8.zip from mattmahoney.net/dc/enwik8.zip.",
    "text8": "Unpack text8.zip from mattmahoney.net/dc/text8.zip.",
}
"""Where each set comes from."""

_FILES = {"ptb-word": "ptb.{}.txt", "ptb-char": "ptb.char.{}.txt", "wikitext-2": "wiki.{}.tokens"}
_PARTS = ("train", "valid", "test")
_BYTES = 100_000_000
_EVALUATION_BYTES = 5_000_000


def read_set(name: str, source: Path | None) -> Corpus:
    """Read a published set.

    "ptb-word" and "wikitext-2" are words between blanks with `<eos>` at the end of each line; "ptb-char" is symbols
    between blanks with the same at the end; "enwik8" and "text8" are bytes, of which the last two times 5 million are
    for validation and test. A word's number is its place in the order of first appearance in the training part.

    Args:
        name: a key of `WHERE`.
        source: the folder with the files under their published names, plain or as .gz; the file, for one of bytes.
            None reads "wikitext-2" through the package `datasets`.

    Raises:
        ValueError: a set that there is not, files that are missing or damaged or that `datasets` can't get, or a word
            that only evaluation has.
    """
    if name not in WHERE:
        raise invalid(f"set must be one of {', '.join(WHERE)}", name, "Choose one of them.")
    if source is None:
        if name != "wikitext-2":
            raise invalid(f"{name} needs --data", source, WHERE[name])
        return _numbered(name, [[line.split() for line in part] for part in _download()])
    if not source.exists():
        raise invalid(f"--data must be where {name} is", str(source), WHERE[name])
    if name in _FILES:
        texts = [read(_find(name, source, _FILES[name].format(part))) for part in _PARTS]
        return _numbered(
            name, [[line.split() for line in text.rstrip(" ").removesuffix("\n").split("\n")] for text in texts]
        )
    return _of_bytes(name, _find(name, source, name) if source.is_dir() else source)


def find(folder: Path, name: str) -> Path | None:
    """Return the file of that name in a folder, plain or as .gz; None if there is neither."""
    found = (folder / name, folder / f"{name}.gz")
    return next((path for path in found if path.exists()), None)


def _find(name: str, folder: Path, file: str) -> Path:
    path = find(folder, file)
    if path is None:
        raise invalid(f"{name} is read from {file} or {file}.gz in the folder of --data", str(folder), WHERE[name])
    return path


def _download() -> Iterable[list[str]]:
    import datasets

    try:
        found = datasets.load_dataset("Salesforce/wikitext", "wikitext-2-v1")
    except (OSError, ValueError) as error:  # no network, no Hub; a cache that has it not
        line = " ".join(str(error).split())
        raise invalid("`datasets` must find wikitext-2", line, WHERE["wikitext-2"]) from None
    return [found[part]["text"] for part in ("train", "validation", "test")]


def _numbered(name: str, parts: list[list[list[str]]]) -> Corpus:
    places: dict[str, int] = {}
    for line in parts[0]:
        for word in (*line, END):
            places.setdefault(word, len(places))
    digest, ids = hashlib.sha256(), []
    for part, lines in zip(_PARTS, parts, strict=True):
        if not any(lines):
            raise invalid(f"the {part} part of {name} must hold text", "an empty file", WHERE[name])
        try:
            numbers = [places[word] for line in lines for word in (*line, END)]
        except KeyError as unknown:
            rule = f"every word of the {part} part of {name} occurs in its training part"
            raise invalid(rule, unknown.args[0], WHERE[name]) from None
        ids.append(np.array(numbers, dtype=np.int64))
        digest.update("\n".join(" ".join(line) for line in lines).encode())
    train, valid, test = ids
    return Corpus(name, digest.hexdigest(), tuple(places), train, valid, test)


def _of_bytes(name: str, path: Path) -> Corpus:
    data = read_bytes(path)
    if len(data) != _BYTES:
        raise invalid(f"{name} must have {_BYTES} bytes", f"{len(data)} in {path}", WHERE[name])
    symbols, numbers = np.unique(np.frombuffer(data, dtype=np.uint8), return_inverse=True)
    ids = numbers.astype(np.int64)
    train, valid, test = np.split(ids, [_BYTES - 2 * _EVALUATION_BYTES, _BYTES - _EVALUATION_BYTES])
    return Corpus(name, hashlib.sha256(data).hexdigest(), tuple(map(chr, symbols)), train, valid, test)
