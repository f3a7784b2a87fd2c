from __future__ import annotations

import numpy as np
import pytest

from recurdrop.kinds.translate.data import BOS, EOS, PAD, UNK, Vocabulary, join, prepare, tokenize, tokenize_like_moses
from recurdrop.kinds.translate.files import Pair, Parallel


def parallel(train: list[Pair], *, tokenized: bool = True) -> Parallel:
    parts = {"train": train, "valid": [("b z a", "x y x y")], "test": [("a", "y")]}
    return Parallel("t", "0", tokenized, parts, 0)


def test_words_are_numbered_from_the_most_frequent_of_the_training_part() -> None:
    pairs = prepare(parallel([("b b a", "x"), ("b a c", "y x"), ("c <unk>", "y x")]), min_count=2, max_length=9)
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert pairs.source.words == ("<pad>", "<unk>", "<bos>", "<eos>", "b", "a", "c")
    assert pairs.target.words[4:] == ("x", "y")
    assert pairs.target.counts == (0, 0, 0, 3, 3, 2)
    train, valid = pairs.parts["train"], pairs.parts["valid"]
    assert train.source.tolist() == [[4, 4, 5], [4, 5, 6], [6, UNK, PAD]]
    assert train.lengths.tolist() == [3, 3, 2]
    assert train.target.tolist() == [[BOS, 4, EOS, PAD], [BOS, 5, 4, EOS], [BOS, 5, 4, EOS]]
    assert train.target_lengths.tolist() == [2, 3, 3]
    assert valid.source.tolist() == [[4, UNK, 5]]
    assert valid.references == ("x y x y",)
    assert (train.source.dtype, len(train)) == (np.int32, 3)


def test_rare_words_are_counted_as_unknown() -> None:
    words = Vocabulary.of([["a", "b", "a"], ["c"]], 2)
    assert words.words[4:] == ("a",)
    assert words.counts == (0, 2, 0, 2, 2)
    assert words.tokens(words.numbers(["a", "b"])) == ["a", "<unk>"]


def test_markers_in_a_text_are_unknown_words() -> None:
    markers = "<pad> <bos> <eos> <unk>"
    pairs = prepare(parallel([(f"a {markers}", f"x {markers}"), ("a", "x")]), min_count=1, max_length=9)
    train = pairs.parts["train"]
    assert train.source.tolist() == [[4, UNK, UNK, UNK, UNK], [4, PAD, PAD, PAD, PAD]]
    assert train.lengths.tolist() == [5, 1]
    assert train.target.tolist()[0] == [BOS, 4, UNK, UNK, UNK, UNK, EOS]
    assert train.target_lengths.tolist() == [6, 2]
    assert pairs.target.words[4:] == ("x",)
    assert pairs.target.counts == (0, 4, 0, 2, 2)


def test_long_pairs_are_left_out_of_training_alone() -> None:
    data = parallel([("a", "x"), ("b b b", "y"), ("c", "y y y")])
    pairs = prepare(data, min_count=1, max_length=2)
    assert (len(pairs.parts["train"]), pairs.too_long) == (1, 2)
    assert pairs.source.words[4:] == ("a",)
    assert pairs.parts["valid"].target_lengths.tolist() == [5]
    with pytest.raises(ValueError, match=r"must leave training pairs; got 0\. Give 1 or more"):
        prepare(data, min_count=1, max_length=0)


def test_raw_text_becomes_tokens_and_keeps_its_references() -> None:
    pairs = prepare(parallel([("A man, a Plan.", "Ein T-Shirt!")], tokenized=False), min_count=1, max_length=9)
    assert pairs.source.words[4:] == ("a", "man", ",", "plan", ".")
    assert pairs.target.words[4:] == ("ein", "t-shirt", "!")
    assert pairs.parts["train"].references == ("Ein T-Shirt!",)


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("The man's 3.5 km/h, don't…", ["the", "man", "'s", "3.5", "km", "/", "h", ",", "don", "'t", "…"]),
        ("ein 'U-Bahn'-Schild (groß)", ["ein", "'", "u-bahn", "'", "-", "schild", "(", "groß", ")"]),
        ("a &quot; b", ["a", '"', "b"]),
        ("  ", []),
    ],
)
def test_tokens(sentence: str, tokens: list[str]) -> None:
    assert tokenize(sentence) == tokens


def test_tokens_as_moses_writes_them() -> None:
    assert tokenize_like_moses('A "B" & C\'s') == ["a", "&quot;", "b", "&quot;", "&amp;", "c", "&apos;s"]


def test_joined_tokens_read_as_a_sentence() -> None:
    assert join(["the", "man", "&apos;s", "hat", ",", "red", "."]) == "the man's hat, red."
