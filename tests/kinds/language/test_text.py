from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from recurdrop.files.text import read
from recurdrop.kinds.language import data as text
from recurdrop.kinds.language.data import builtin, prepare, tokenize


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("The cat's  HAT, it…", ["the", "cat's", "hat", ",", "it", "…", "<eos>"]),
        ("a ***** b -- c?!", ["a", "*****", "b", "--", "c", "?", "!", "<eos>"]),
        (" the <unk> N\n of it \n", ["the", "<unk>", "n", "<eos>", "of", "it", "<eos>"]),
        ("one line\ngoes on\r\n \t\r\nnext", ["one", "line", "goes", "on", "<eos>", "next", "<eos>"]),
        ("\n\na\nb\n\n", ["a", "<eos>", "b", "<eos>"]),
        ("x <b >", ["x", "<", "b", ">", "<eos>"]),
        ("\n \n", []),
    ],
)
def test_tokens(given: str, expected: list[str]) -> None:
    assert list(tokenize(given)) == expected


def test_prepare_splits_in_order_and_takes_the_vocabulary_from_the_training_part() -> None:
    words = "b a b a b c <unk> <unk> z z"  # 80 % is "b a b a b c <unk> <unk>"; c occurs once, z only later
    corpus = prepare(words, "t", vocabulary=9, tokens=10, least=1)
    assert corpus.words == ("<unk>", "b", "a")
    assert corpus.train.tolist() == [1, 2, 1, 2, 1, 0, 0, 0]
    assert corpus.valid.tolist() == [0]
    assert corpus.test.tolist() == [0]
    assert corpus.train.dtype == np.int64
    assert corpus.sha256 == hashlib.sha256(words.encode()).hexdigest()


def test_prepare_cuts_text_and_vocabulary() -> None:
    corpus = prepare("a b a b a b c c c d d\n" * 9, "t", vocabulary=3, tokens=20, least=2)
    assert corpus.words == ("<unk>", "a", "b")
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [16, 2, 2]


@pytest.mark.parametrize(("count", "fits"), [(40, True), (39, False)])
def test_a_text_that_is_too_short_is_refused(count: int, fits: bool) -> None:
    given = " ".join(["a"] * (count - 1))
    if fits:
        assert len(prepare(given, "t", vocabulary=3, tokens=99, least=4).valid) == 4
        return
    with pytest.raises(ValueError, match=r"at least 40 tokens.*'t with 39'"):
        prepare(given, "t", vocabulary=3, tokens=99, least=4)


def test_read_takes_plain_and_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffnaïve".encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("naïve".encode()))
    assert read(tmp_path / "a.txt") == read(tmp_path / "a.txt.gz") == "naïve"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none", None, "must be a file that exists"),
        (".", None, "the folder"),
        ("empty", b"", "must not be empty"),
        ("blank", b" \n\t", "must not be empty"),
        ("nul", b"ab\0cd", "NUL bytes"),
        ("latin", "na\xefve".encode("latin-1"), "iconv"),
        ("plain.gz", b"plain", "whole gzip data"),
        ("cut.gz", gzip.compress(bytes(range(256)) * 40, mtime=0)[:-30], "whole gzip data"),
        ("noise.gz", gzip.compress(b"abc" * 99, mtime=0)[:10] + b"\xff" * 30, "whole gzip data"),
    ],
)
def test_read_refuses_what_is_no_text(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_the_builtin_text_has_each_paragraph_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    import pydoc_data.topics

    monkeypatch.setattr(pydoc_data.topics, "topics", {"b": "two\n\none\nline", "a": "one  line\n \nzero"})
    assert builtin() == "one  line\n\nzero\n\ntwo"


def test_the_builtin_text_is_long_enough_for_the_default() -> None:
    assert len(list(tokenize(builtin()))) > 50_000
    assert text.UNKNOWN not in tokenize(builtin())
