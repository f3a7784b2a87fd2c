"""Labelled texts in files: tables, the IMDB reviews, a folder for each class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from recurdrop.errors import invalid
from recurdrop.files.reading import AS_GUESSED, Reading
from recurdrop.files.tables import SUFFIXES, column, content, read_table
from recurdrop.files.text import read

PARTS = ("train", "valid", "test")
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?")
_IMDB = re.compile(rb"[01]\t\d+\t\d+\t")
_IMDB_CLASSES = {"0": "neg", "1": "pos"}
_UNLABELLED = "unsup"


class Rows(NamedTuple):
    """Texts and their classes, as read.

    Attributes:
        texts: the texts.
        labels: the class of each, by name.
        missing: rows left out, since text or label is missing.
        said: how the file was read, for people; "" for files of texts.
    """

    texts: list[str]
    labels: list[str]
    missing: int = 0
    said: str = ""


def read_rows(source: Path, *, text: str, label: str, reading: Reading = AS_GUESSED) -> dict[str, Rows]:
    """Read labelled texts.

    A file is a table with a header, CSV, TSV or Parquet. A folder holds `train` and `test`, perhaps `valid`, each as
    such a file, or as a folder with one of .txt files for each class, as in aclImdb (whose `unsup` is left out). A
    .tsv file without a header whose rows are label (0 or 1), id, rating and text is IMDB's: cut at the first three
    tabs only, since texts hold tabs.

    Args:
        source: file or folder.
        text: the column of texts.
        label: the column of labels: strings, integers or truth values, kept as they are written.
        reading: how tables are read.

    Returns:
        The rows by part; those of a single file under "".

    Raises:
        ValueError: files or columns are missing, or damaged.
    """
    if not source.is_dir():
        return {"": _file(source, text, label, reading)}
    found = {part: place for part in PARTS if (place := _place(source, part)) is not None}
    if not {"train", "test"} <= set(found):
        rule = "a folder of labelled texts must hold train and test, each as .csv, .tsv, .parquet, or a folder"
        raise invalid(rule, f"{source} with {', '.join(found) or 'neither'}", "Or give one file, which is split.")
    return {
        part: _folder(place) if place.is_dir() else _file(place, text, label, reading) for part, place in found.items()
    }


def read_texts(path: Path, text: str, reading: Reading = AS_GUESSED) -> list[str]:
    """Read the texts of a table, labels or not; one that is missing is empty.

    Args:
        path: a file as `read_rows` takes it.
        text: the column of texts.
        reading: how tables are read.

    Raises:
        ValueError: the file or the column is missing, or damaged.
    """
    if _is_imdb(path):
        return _imdb(path).texts
    return [str(value) for value in column(read_table(path, reading).frame, text, "data.text").fillna("")]


def _is_imdb(path: Path) -> bool:
    return path.name.lower().endswith((".tsv", ".tsv.gz")) and _IMDB.match(content(path)) is not None


def _place(source: Path, part: str) -> Path | None:
    if (source / part).is_dir():
        return source / part
    names = (f"{part}{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz"))
    return next((path for name in names if (path := source / name).exists()), None)


def _file(path: Path, text: str, label: str, reading: Reading) -> Rows:
    if _is_imdb(path):
        return _imdb(path)
    frame, said = read_table(path, reading)
    texts, labels = column(frame, text, "--text"), column(frame, label, "--label")
    empty = ["", *reading.missing]
    there = ~(texts.fillna("").astype(str).str.strip().isin(empty) | labels.fillna("").astype(str).isin(empty))
    return Rows(texts[there].astype(str).tolist(), _classes(labels[there], label), int((~there).sum()), said)


def _classes(labels: pd.Series, name: str) -> list[str]:
    """Return labels as they are written; whole numbers that a program wrote as 1.0, 2.0, … are 1, 2, …."""
    written = [str(value).strip() for value in labels]
    if all(map(_DECIMAL.fullmatch, written)) and any("." in value for value in written):
        broken = next((value for value in written if float(value) % 1), None)
        if broken is not None:
            remedy = "Name the column of classes as --label."
            raise invalid("labels must be classes, not real numbers", f"{broken} in {name!r}", remedy)
        if all(value.endswith(".0") for value in written):
            return [value.removesuffix(".0") for value in written]
    return written


def _imdb(path: Path) -> Rows:
    rows = [line.split("\t", 3) for line in read(path).split("\n") if line]
    for number, row in enumerate(rows, 1):
        if len(row) != 4 or row[0] not in _IMDB_CLASSES:
            rule = "each line must be label (0 or 1), id, rating and text, with tabs between"
            raise invalid(rule, f"{path}, whose line {number} is not", "Take the file as published.")
    return Rows([row[3] for row in rows], [_IMDB_CLASSES[row[0]] for row in rows])


def _folder(place: Path) -> Rows:
    paths = sorted(path for path in place.glob("*/*.txt") if path.parent.name != _UNLABELLED)
    if not paths:
        rule = "a folder of labelled texts must hold a folder of .txt files for each class"
        raise invalid(rule, str(place), "Unpack the archive again.")
    there = [path for path in paths if path.stat().st_size]
    return Rows([read(path) for path in there], [path.parent.name for path in there], len(paths) - len(there))
