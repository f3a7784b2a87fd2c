"""Words as a reader of each language counts them, alike in running text, labelled texts and sentence pairs."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from recurdrop.files.tokens import unknown_share
from recurdrop.kinds.classify import data as labelled
from recurdrop.kinds.language import data as text
from recurdrop.kinds.language.task import LanguageData, LanguageTask
from recurdrop.kinds.translate import data as pairs

pytest.importorskip("regex")
SENTENCES = [
    ("की का के कि को", ["की", "का", "के", "कि", "को"]),
    ("السَّلامُ عليكم", ["السَّلامُ", "عليكم"]),
    ("می‌خواهم بروم", ["می‌خواهم", "بروم"]),
    ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
    ("กำลังดี", ["กำ", "ลั", "ง", "ดี"]),
    ("今天很好", ["今", "天", "很", "好"]),
    ("カタカナとひら", ["カ", "タ", "カ", "ナ", "と", "ひ", "ら"]),
    ("안녕하세요 여러분", ["안녕하세요", "여러분"]),
    ("tiếng việt", ["tiếng", "việt"]),
    ("👩‍👩‍👧 🇩🇪🇫🇷 👍🏽 ❤️", ["👩‍👩‍👧", "🇩🇪", "🇫🇷", "👍🏽", "❤️"]),
    ("pytorch很好", ["pytorch", "很", "好"]),
]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(("given", "words"), SENTENCES)
def test_words_of_every_kind(given: str, words: list[str], form: str) -> None:
    words = [unicodedata.normalize("NFC", word) for word in words]
    given = unicodedata.normalize(form, given)
    assert list(text.tokenize(given))[:-1] == words
    assert labelled.words_of(given) == words
    assert pairs.tokenize(given) == words


def test_settings_cut_otherwise() -> None:
    assert list(text.tokenize("Ab  कि", "characters")) == ["a", "b", " ", "कि", "<eos>"]
    assert list(text.tokenize("今天 很好", "spaces")) == ["今天", "很好", "<eos>"]


@pytest.mark.parametrize(
    ("given", "words"),
    [("今天很好。pytorch", "auto"), ("की का के", "auto"), ("กำลังดี", "auto"), ("ab कि", "characters")],
)
def test_what_is_generated_reads_as_it_was_written(tmp_path: Path, given: str, words: str) -> None:
    path = tmp_path / "text.txt"
    path.write_text(f"{given}\n" * 100, encoding="utf-8")
    task = LanguageTask.load(path, LanguageData(words=words))
    numbers = task.numbers(unicodedata.normalize("NFD", given))
    assert 0 not in numbers
    assert task.text(numbers).replace("。 ", "。") == given
    assert "unknown words" in task.report


def test_pairs_are_joined_as_people_write() -> None:
    assert pairs.join(pairs.tokenize("今天很好。")) == "今天很好。"


def test_many_unknown_words_name_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(f"word{number}" for number in range(300)), encoding="utf-8")
    assert "data.words=" in str(LanguageTask.load(path, LanguageData()).report["unknown words"])
    assert unknown_share(0.01) == "1.0 % of the validation part"


def test_a_text_is_cut_no_further_than_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    cut = text.cut_words
    monkeypatch.setattr(text, "cut_words", lambda *given: calls.append(1) or cut(*given))
    corpus = text.prepare("a b c\n" * 10_000, "x", vocabulary=9, tokens=400, least=11)
    assert len(corpus.train) + len(corpus.valid) + len(corpus.test) == 400
    assert len(calls) <= 101


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_text_of_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(("tiếng việt\n" * 100).encode(encoding))
    task = LanguageTask.load(path, LanguageData())
    assert set(task.corpus.words) == {"<unk>", "tiếng", "việt", "<eos>"}
    assert ("encoding" in task.report) == (encoding == "utf-16")
    assert np.all(task.corpus.train > 0)
