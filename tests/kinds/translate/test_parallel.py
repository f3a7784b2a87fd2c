from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from recurdrop.kinds.translate.files import read

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "multi30k-en-de"
ENGLISH = {"train": "a b\nc\n", "val": "d\n", "test_2016_flickr": "e\n"}
GERMAN = {"train": "A\nC C\n", "val": "D\n", "test_2016_flickr": "E\n"}


def publish(folder: Path, form: str = "{}.{}", *, end: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for language, texts in (("en", ENGLISH), ("de", GERMAN)):
        for name, text in texts.items():
            data = text.encode()
            (folder / (form.format(name, language) + end)).write_bytes(gzip.compress(data) if end else data)
    return folder


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("below", [".", "raw"])
def test_a_folder_as_published(tmp_path: Path, end: str, below: str) -> None:
    publish(tmp_path / "set" / below, end=end)
    found = read(tmp_path / "set", "en", "de")
    assert found.parts == {"train": [("a b", "A"), ("c", "C C")], "valid": [("d", "D")], "test": [("e", "E")]}
    order = "".join(texts[part] for part in ENGLISH for texts in (ENGLISH, GERMAN))
    assert found.sha256 == hashlib.sha256(order.encode()).hexdigest()
    assert (found.name, found.tokenized, found.dropped) == ("set", False, 0)
    assert read(tmp_path / "set", "de", "en").parts["train"] == [("A", "a b"), ("C C", "c")]


def test_tokens_go_before_raw_text_and_may_be_named(tmp_path: Path) -> None:
    publish(tmp_path / "raw")
    publish(tmp_path / "tok", "{}.lc.norm.tok.{}")
    assert read(tmp_path, "en", "de").tokenized
    assert not read(tmp_path / "raw", "en", "de").tokenized


def test_empty_sentences_are_dropped_and_counted(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "train.en").write_text("a\n \nc\n")
    (tmp_path / "train.de").write_text("\nB\nC\n")
    found = read(tmp_path, "en", "de")
    assert found.parts["train"] == [("c", "C")]
    assert found.dropped == 2


def test_other_line_ends_stay_in_their_sentence(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "train.en").write_bytes("one\u2028still one\x85\r\ntwo".encode())
    (tmp_path / "train.de").write_bytes(b"eins\nzwei\n")
    assert read(tmp_path, "en", "de").parts["train"] == [("one\u2028still one", "eins"), ("two", "zwei")]


def test_files_beside_each_other_and_a_table_are_split_alike(tmp_path: Path) -> None:
    (tmp_path / "text.tok.en").write_text("".join(f"s{i}\n" for i in range(40)) + "s1\n")
    (tmp_path / "text.tok.de").write_text("".join(f"t{i}\n" for i in range(40)) + "t1\n")
    (tmp_path / "table.tsv").write_text("".join(f"s{i}\tt{i}\tCC BY\n" for i in range(40)) + "s1\tt1\tCC BY\n\n")
    files, table = read(tmp_path / "text.tok.en", "en", "de"), read(tmp_path / "table.tsv", "en", "de")
    assert files.parts == read(tmp_path / "text.tok.de", "en", "de").parts == table.parts
    assert [len(pairs) for pairs in files.parts.values()] == [32, 4, 4]
    every = [pair for pairs in files.parts.values() for pair in pairs]
    assert sorted(every) == sorted((f"s{i}", f"t{i}") for i in range(40))
    assert every != sorted(every)
    assert (files.dropped, table.dropped) == (1, 2)
    assert (files.tokenized, table.tokenized) == (True, False)
    assert read(tmp_path / "table.tsv", "en", "de", seed=1).parts != table.parts


def test_unequal_lengths_are_refused_with_both_counts(tmp_path: Path) -> None:
    (publish(tmp_path) / "val.de").write_text("D\nD\nD\n")
    with pytest.raises(ValueError, match=r"as many lines; got '1 in val\.en, 3 in val\.de'"):
        read(tmp_path, "en", "de")


def test_a_missing_language_is_named_with_what_was_looked_for(tmp_path: Path) -> None:
    publish(tmp_path)
    with pytest.raises(ValueError, match=r"must have train\.lc\.norm\.tok\.fr or train\.fr, plain or as \.gz"):
        read(tmp_path, "en", "fr")
    (tmp_path / "val.de").unlink()
    with pytest.raises(ValueError, match=r"val\.de or valid\.de or dev\.de, plain"):
        read(tmp_path, "en", "de")
    with pytest.raises(ValueError, match=r"val\.en needs val\.de beside it"):
        read(tmp_path / "val.en", "en", "de")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ab\xff\n", r"must be UTF-8; got '.*train\.en, which is not at byte 2'"),
        (b"\n \n", "none for train in"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (publish(tmp_path) / "train.en").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "en", "de")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none.tsv", None, "a file or folder that exists"),
        ("cut.tsv.gz", gzip.compress(b"a\tb\n" * 99, mtime=0)[:-9], "whole gzip data"),
        ("no-tab.tsv", b"a\tb\nc d\n", r"source, tab, target; got 'line 2 of .*: c d'"),
        ("few.tsv", b"a\tb\nc\td\n", "none for valid in"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name, "en", "de")


@pytest.mark.skipif(not REAL.is_dir(), reason="multi30k-en-de is not on this machine")
@pytest.mark.parametrize("form", ["tok", "raw"])
def test_multi30k_has_its_published_counts(form: str) -> None:
    found = read(REAL / form, "en", "de")
    assert [len(pairs) for pairs in found.parts.values()] == [29_000, 1_014, 1_000]
    assert (found.tokenized, found.dropped) == (form == "tok", 0)
    if form == "tok":
        words = [[sum(len(pair[side].split()) for pair in pairs) for side in (0, 1)] for pairs in found.parts.values()]
        assert words == [[377_534, 360_706], [13_308, 12_828], [12_968, 12_103]]
