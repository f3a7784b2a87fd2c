from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from recurdrop.kinds.language import published_sets as words
from recurdrop.kinds.language.published_sets import WHERE, find, read_set

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TEXTS = {
    "train": " the cat <unk> N \n the dog \n",
    "valid": " dog the \n",
    "test": " <unk> \n\n cat\n",
}
NAMES = {"ptb-word": "ptb.{}.txt", "ptb-char": "ptb.char.{}.txt", "wikitext-2": "wiki.{}.tokens"}
BYTES = 1000


def write(folder: Path, name: str, texts: dict[str, str] = TEXTS, *, compressed: bool = False) -> Path:
    for part, text in texts.items():
        file = NAMES[name].format(part)
        if compressed:
            (folder / f"{file}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / file).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["ptb-word", "wikitext-2"])
def test_words_are_numbered_as_they_appear_with_an_end_to_each_line(
    tmp_path: Path, name: str, compressed: bool
) -> None:
    corpus = read_set(name, write(tmp_path, name, compressed=compressed))
    assert corpus.words == ("the", "cat", "<unk>", "N", "<eos>", "dog")
    assert corpus.train.tolist() == [0, 1, 2, 3, 4, 0, 5, 4]
    assert corpus.valid.tolist() == [5, 0, 4]
    assert corpus.test.tolist() == [2, 4, 4, 1, 4]
    assert {part.dtype for part in (corpus.train, corpus.valid, corpus.test)} == {np.dtype(np.int64)}
    assert corpus.name == name


def test_characters_are_symbols_between_blanks(tmp_path: Path) -> None:
    texts = {"train": " a _ b \n b a\n", "valid": " b\n", "test": "_\n"}
    corpus = read_set("ptb-char", write(tmp_path, "ptb-char", texts))
    assert corpus.words == ("a", "_", "b", "<eos>")
    assert corpus.train.tolist() == [0, 1, 2, 3, 2, 0, 3]
    assert (corpus.valid.tolist(), corpus.test.tolist()) == ([2, 3], [1, 3])


def test_a_last_line_counts_once_however_it_ends(tmp_path: Path) -> None:
    whole = read_set("ptb-word", write(tmp_path, "ptb-word"))
    for end in ("", "\n "):  # those of ptb-char end with a blank
        texts = {part: text.removesuffix("\n") + end for part, text in TEXTS.items()}
        found = read_set("ptb-word", write(tmp_path, "ptb-word", texts))
        for part in TEXTS:
            assert getattr(found, part).tolist() == getattr(whole, part).tolist()


def test_the_digest_follows_every_part_and_no_more(tmp_path: Path) -> None:
    digests = []
    for i, changed in enumerate((None, *TEXTS, "spaces")):
        texts = {part: text + "the\n" * (part == changed) for part, text in TEXTS.items()}
        if changed == "spaces":
            texts["train"] = texts["train"].replace(" ", "  ")
        (tmp_path / str(i)).mkdir()
        digests.append(read_set("ptb-word", write(tmp_path / str(i), "ptb-word", texts)).sha256)
    assert len(set(digests[:4])) == 4
    assert digests[4] == digests[0]


def test_wikitext_comes_from_datasets_where_no_folder_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(*names: str) -> dict[str, dict[str, list[str]]]:
        asked.append(names)
        parts = {"train": "train", "valid": "validation", "test": "test"}
        return {parts[part]: {"text": text.removesuffix("\n").split("\n")} for part, text in TEXTS.items()}

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))  # which need not be installed
    there, here = read_set("wikitext-2", None), read_set("wikitext-2", write(tmp_path, "wikitext-2"))
    assert asked == [("Salesforce/wikitext", "wikitext-2-v1")]
    assert (there.words, there.sha256) == (here.words, here.sha256)
    for part in TEXTS:
        assert getattr(there, part).tolist() == getattr(here, part).tolist()


@pytest.mark.parametrize("error", [ConnectionError("no\nHub"), FileNotFoundError("no\nHub"), ValueError("no\nHub")])
def test_a_set_that_can_not_be_had_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load(*_: str) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    with pytest.raises(ValueError, match="`datasets` must find wikitext-2; got 'no Hub'") as found:
        read_set("wikitext-2", None)
    assert WHERE["wikitext-2"] in str(found.value)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Bytes of a set that has a thousand instead of a hundred million."""
    monkeypatch.setattr(words, "_BYTES", BYTES)
    monkeypatch.setattr(words, "_EVALUATION_BYTES", 50)
    return bytes(np.random.default_rng(0).choice(list(b"aq\n\xc3\xa9z"), BYTES).astype(np.uint8))


@pytest.mark.parametrize("name", ["enwik8", "text8"])
@pytest.mark.parametrize("place", ["plain", "compressed", "folder", "folder, compressed"])
def test_bytes_are_cut_90_5_5_and_numbered_in_their_order(tmp_path: Path, small: bytes, name: str, place: str) -> None:
    path = tmp_path / (f"{name}.gz" if "compressed" in place else name)
    path.write_bytes(gzip.compress(small) if "compressed" in place else small)
    corpus = read_set(name, tmp_path if "folder" in place else path)
    assert corpus.words == ("\n", "a", "q", "z", "\xa9", "\xc3")
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [900, 50, 50]
    joined = np.concatenate([corpus.train, corpus.valid, corpus.test])
    assert "".join(corpus.words[i] for i in joined).encode("latin-1") == small
    assert corpus.sha256 == hashlib.sha256(small).hexdigest()
    assert joined.dtype == np.int64


def test_find_prefers_the_plain_file(tmp_path: Path) -> None:
    assert find(tmp_path, "a") is None
    (tmp_path / "a.gz").touch()
    assert find(tmp_path, "a") == tmp_path / "a.gz"
    (tmp_path / "a").touch()
    assert find(tmp_path, "a") == tmp_path / "a"


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"set must be one of ptb-word, .*'ptb'"):
        read_set("ptb", None)


@pytest.mark.parametrize("name", sorted(set(WHERE) - {"wikitext-2"}))
def test_what_is_missing_is_said_with_where_to_get_it(tmp_path: Path, name: str) -> None:
    for source, rule in ((None, "needs --data"), (tmp_path / "no", "must be where"), (tmp_path, "is read from")):
        with pytest.raises(ValueError, match=rule) as error:
            read_set(name, source)
        assert WHERE[name] in str(error.value)


@pytest.mark.parametrize("missing", TEXTS)
def test_each_part_must_be_there_and_hold_text(tmp_path: Path, missing: str) -> None:
    write(tmp_path, "ptb-word")
    file = tmp_path / f"ptb.{missing}.txt"
    file.write_text("\n \n")
    with pytest.raises(ValueError, match="must not be empty"):
        read_set("ptb-word", tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=rf"ptb\.{missing}\.txt or ptb\.{missing}\.txt\.gz"):
        read_set("ptb-word", tmp_path)


def test_an_empty_part_of_datasets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"train": {"text": ["a"]}, "validation": {"text": ["", " "]}, "test": {"text": ["a"]}}
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *_: found))
    with pytest.raises(ValueError, match="the valid part of wikitext-2 must hold text"):
        read_set("wikitext-2", None)


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_word_that_training_lacks_is_named(tmp_path: Path, part: str) -> None:
    write(tmp_path, "ptb-word", TEXTS | {part: "the cow\n"})
    with pytest.raises(ValueError, match=rf"every word of the {part} part .*'cow'"):
        read_set("ptb-word", tmp_path)


@pytest.mark.parametrize("more", [-1, 1])
def test_bytes_of_another_number_are_refused(tmp_path: Path, small: bytes, more: int) -> None:
    (tmp_path / "text8").write_bytes((small + b"a")[: BYTES + more])
    with pytest.raises(ValueError, match=rf"text8 must have {BYTES} bytes; got '{BYTES + more} in "):
        read_set("text8", tmp_path / "text8")


@pytest.mark.parametrize("name", ["ptb-word", "text8"])
def test_a_damaged_archive_is_refused(tmp_path: Path, small: bytes, name: str) -> None:
    write(tmp_path, "ptb-word", compressed=True)
    (tmp_path / "text8.gz").write_bytes(gzip.compress(small))
    path = tmp_path / ("text8.gz" if name == "text8" else "ptb.test.txt.gz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="whole gzip data"):
        read_set(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ptb-word", (929_589, 73_760, 82_430, 10_000)),
        ("ptb-char", (5_017_482, 393_042, 442_423, 50)),
        ("wikitext-2", (2_088_628, 217_646, 245_569, 33_278)),
    ],
)
def test_the_published_sets_have_the_published_counts(name: str, counts: tuple[int, ...]) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no {name} in {DATA}")
    corpus = read_set(name, DATA / name)
    assert (len(corpus.train), len(corpus.valid), len(corpus.test), len(corpus.words)) == counts
    assert sorted(set(corpus.train.tolist())) == list(range(counts[-1]))
