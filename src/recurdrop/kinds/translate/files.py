"""Parallel text: the same sentences in two languages, from files as they are published."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recurdrop.errors import invalid
from recurdrop.files.text import read_bytes

Pair = tuple[str, str]
NAMES = {"train": ("train",), "valid": ("val", "valid", "dev"), "test": ("test_2016_flickr", "test")}
"""What the files of each part may be called."""
FORMS = ("{name}.lc.norm.tok.{language}", "{name}.{language}")
FOLDERS = (".", "tok", "raw")


class Parallel(NamedTuple):
    """Sentences with their translations.

    Attributes:
        name: of the folder or file.
        sha256: of the files' contents, in the order of reading.
        tokenized: whether spaces part the tokens already, as `.tok.` in the names of the files says.
        parts: the pairs (source, target) of "train", "valid" and "test".
        dropped: pairs that were left out: one sentence is empty, or a single file has the pair twice.
    """

    name: str
    sha256: str
    tokenized: bool
    parts: dict[str, list[Pair]]
    dropped: int


def read(path: Path, source: str, target: str, *, seed: int = 0) -> Parallel:
    """Read sentence pairs in UTF-8, plain or gzip-compressed.

    Args:
        path: a folder as Multi30k publishes it, with `train`, `val` and `test_2016_flickr`, each ending in `.en` and
            `.de` or in `.lc.norm.tok.en` and so on, in itself, in its `tok` or in its `raw`; or a file that ends in
            `.en` or `.de`, beside the one that ends in the other; or a table without header: source, target and what
            you like, parted by tabs. Files alone are shuffled and split 80/10/10, equal pairs kept once.
        source: the language to translate from, as names of files end: "en".
        target: the language to translate into.
        seed: of the shuffle.

    Raises:
        ValueError: a missing or damaged file, languages of unequal length, a part without pairs.
    """
    if not path.exists():
        raise invalid("sentence pairs need a file or folder that exists", str(path), "Check the path.")
    digest = hashlib.sha256()
    files = _published(path, source, target) if path.is_dir() else {"": _both(path, source, target)}
    found: dict[str, list[Pair]] = {}
    for part, names in files.items():
        texts = []
        for name in names:
            data = read_bytes(name, "a file of sentences")
            digest.update(data)
            texts.append(_lines(data, name))
        found[part] = _beside(texts, names) if len(names) == 2 else _columns(texts[0], path)
    parts = {part: [pair for pair in pairs if all(pair)] for part, pairs in found.items()}
    if "" in parts:
        parts = _split(list(dict.fromkeys(parts[""])), seed)
    for part, pairs in parts.items():
        if not pairs:
            rule = "every part must have sentence pairs"
            raise invalid(rule, f"none for {part} in {path}", "Give 10 pairs or more without empty sentences.")
    tokenized = all(".tok." in name.name for names in files.values() for name in names)
    dropped = sum(map(len, found.values())) - sum(map(len, parts.values()))
    return Parallel(path.name, digest.hexdigest(), tokenized, parts, dropped)


def _published(path: Path, source: str, target: str) -> dict[str, tuple[Path, ...]]:
    """Find the files of each part in a folder."""

    def find(folder: Path, part: str, language: str) -> Path | None:
        names = [form.format(name=name, language=language) for form in FORMS for name in NAMES[part]]
        files = (folder / (name + end) for name in names for end in ("", ".gz"))
        return next((file for file in files if file.is_file()), None)

    folders = [path / name for name in FOLDERS]
    folder = next((f for f in folders if find(f, "train", source) or find(f, "train", target)), path)
    files: dict[str, tuple[Path, ...]] = {}
    for part in NAMES:
        pair = [find(folder, part, language) for language in (source, target)]
        for language, file in zip((source, target), pair, strict=True):
            if file is None:
                looked = " or ".join(
                    form.format(name=name, language=language) for form in FORMS for name in NAMES[part]
                )
                raise invalid(
                    f"a folder of sentence pairs must have {looked}, plain or as .gz",
                    str(folder),
                    "Put it there, or name other languages with source_language and target_language.",
                )
        files[part] = tuple(file for file in pair if file)
    return files


def _both(path: Path, source: str, target: str) -> tuple[Path, ...]:
    """Return the files of both languages, or the table alone."""
    end = ".gz" if path.suffix == ".gz" else ""
    stem = path.name.removesuffix(end)
    if not stem.endswith((f".{source}", f".{target}")):
        return (path,)
    files = tuple(path.with_name(f"{stem.rpartition('.')[0]}.{language}{end}") for language in (source, target))
    for file in files:
        if not file.is_file():
            raise invalid(f"{path.name} needs {file.name} beside it", str(path.parent), "Put the other language there.")
    return files


def _lines(data: bytes, path: Path) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{path}, which is not at byte {error.start}"
        raise invalid("a file of sentences must be UTF-8", where, "Convert it, e.g. with iconv -t utf-8.") from None
    # Not splitlines: sentences of crawled text hold Unicode's other line ends, which would shift one language.
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _beside(texts: list[list[str]], files: tuple[Path, ...]) -> list[Pair]:
    counts = [f"{len(lines)} in {file.name}" for lines, file in zip(texts, files, strict=True)]
    if len(texts[0]) != len(texts[1]):
        raise invalid("both languages must have as many lines", ", ".join(counts), "Line n translates line n.")
    return [(source.strip(), target.strip()) for source, target in zip(*texts, strict=True)]


def _columns(lines: list[str], path: Path) -> list[Pair]:
    pairs = []
    for number, line in enumerate(lines, 1):
        source, tab, rest = line.partition("\t")
        if not tab and line.strip():
            where = f"line {number} of {path}: {line[:60]}"
            raise invalid("a table of sentence pairs must have source, tab, target", where, "Export it as TSV.")
        pairs.append((source.strip(), rest.partition("\t")[0].strip()))
    return pairs


def _split(pairs: list[Pair], seed: int) -> dict[str, list[Pair]]:
    order = np.random.default_rng(seed).permutation(len(pairs))
    ends = len(pairs) * 8 // 10, len(pairs) * 9 // 10
    cut = zip(NAMES, np.split(order, ends), strict=True)
    return {part: [pairs[i] for i in places] for part, places in cut}
