from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recurdrop.kinds.classify.data import LabelledText, load, words_of
from recurdrop.kinds.classify.files import read_rows

IMDB = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "imdb"


def table(tmp_path: Path, labels: list[object], texts: list[object], name: str = "t.csv") -> Path:
    path = tmp_path / name
    frame = pd.DataFrame({"text": texts, "label": labels})
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    return path


def text_of(data: LabelledText, part: str) -> list[str]:
    return [" ".join(data.words[i] for i in ids) for ids in getattr(data, part).texts]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("It's GOOD,<br />not bad.<BR/>(10/10)", ["it's", "good", "not", "bad", "10", "10"]),
        ("L’été  d_e -- <i>x</i>", ["l’été", "d", "e", "i", "x", "i"]),
        (" … ", []),
    ],
)
def test_words(given: str, expected: list[str]) -> None:
    assert words_of(given) == expected


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.parquet"])
def test_one_file_gives_three_parts_with_the_same_share_of_each_class(tmp_path: Path, name: str) -> None:
    labels = ["b"] * 20 + ["a"] * 60
    texts = [f"word number {i}" for i in range(80)]
    data = load(table(tmp_path, labels, texts, name))
    assert data.classes == ("a", "b")
    assert {part: Counter(getattr(data, part).labels.tolist()) for part in ("train", "valid", "test")} == {
        "train": {0: 48, 1: 16},
        "valid": {0: 6, 1: 2},
        "test": {0: 6, 1: 2},
    }
    again, other = load(table(tmp_path, labels, texts, name)), load(table(tmp_path, labels, texts, name), seed=1)
    assert again.train.labels.tolist() == data.train.labels.tolist() != other.train.labels.tolist()
    assert {key: data.report[key] for key in data.report if "table" not in key} == {
        "empty": 0,
        "valid in train": 0,
        "test in train": 0,
    }


def test_every_row_is_in_one_part_with_its_label(tmp_path: Path) -> None:
    texts = [f"w{i} w{i}" for i in range(40)]
    data = load(table(tmp_path, [i % 2 for i in range(40)], texts), valid=0.2)
    rows = list(zip(text_of(data, "train"), data.train.labels, strict=True))
    assert len(rows) == 24
    assert all(int(text.split()[0][1:]) % 2 == label for text, label in rows)
    unseen = [ids.tolist() for part in (data.valid, data.test) for ids in part.texts]
    assert unseen == [[1, 1]] * 16  # words of other parts are unknown


def test_the_vocabulary_is_the_most_frequent_words_of_training(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for part, texts in {"train": "a a a b b c d d", "test": "e e e e b"}.items():
        table(folder, ["x", "y"] * 10, [texts, texts] * 10, f"{part}.csv")
    data = load(folder, vocabulary=5)
    assert data.words == ("", "<unk>", "a", "b", "d")
    assert data.test.texts[0].tolist() == [1, 1, 1, 1, 3]
    assert data.train.texts[0].tolist() == [2, 2, 2, 3, 3, 1, 4, 4]
    assert data.train.texts[0].dtype == data.train.labels.dtype == np.int64
    assert [ids.tolist() for ids in data.numbered(["B, A! z", ""])] == [[3, 2, 1], []]
    assert {key: data.report[key] for key in data.report if "table" not in key} == {
        "empty": 0,
        "valid in train": 2,
        "test in train": 0,
    }


def test_a_word_that_occurs_once_in_training_is_unknown(tmp_path: Path) -> None:
    data = load(table(tmp_path, [0, 1] * 10, ["once" if i == 0 else "many" for i in range(20)]))
    assert data.words == ("", "<unk>", "many")


@pytest.mark.parametrize(("keep", "expected"), [("last", "y z"), ("first", "x y")])
def test_long_texts_lose_one_end(tmp_path: Path, keep: str, expected: str) -> None:
    data = load(table(tmp_path, [0, 1] * 10, ["x y z"] * 20), max_length=2, keep=keep)
    assert set(text_of(data, "train") + text_of(data, "test")) == {expected}
    assert " ".join(data.words[i] for i in data.numbered(["x y z"])[0]) == expected


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10, 9, 2], ("2", "9", "10")),
        (["10", "9", "b"], ("10", "9", "b")),
        ([True, False, True], ("False", "True")),
        ([1.0, 0.0, None], ("0", "1")),
    ],
)
def test_classes_are_sorted_as_integers_if_all_are(
    tmp_path: Path, labels: list[object], classes: tuple[str, ...]
) -> None:
    data = load(table(tmp_path, labels * 10, ["some words"] * 30))
    assert data.classes == classes


def test_rows_without_text_or_label_are_left_out_and_counted(tmp_path: Path) -> None:
    texts: list[object] = ["good film", "bad film"] * 12
    labels: list[object] = ["pos", "neg"] * 12
    texts[0], texts[1], labels[2] = None, "!?", None
    data = load(table(tmp_path, labels, texts))
    assert data.report["empty"] == 3
    assert sum(len(part.labels) for part in (data.train, data.valid, data.test)) == 21


def test_texts_of_validation_and_test_that_training_has_are_counted(tmp_path: Path) -> None:
    data = load(table(tmp_path, ["a", "b"] * 50, ["same text", "other one"] * 50))
    assert {key: data.report[key] for key in data.report if "table" not in key} == {
        "empty": 0,
        "valid in train": 10,
        "test in train": 10,
    }


def test_a_given_validation_part_is_taken(tmp_path: Path) -> None:
    for part, count in {"train": 4, "valid": 2, "test": 6}.items():
        table(tmp_path, ["a", "b"] * (count // 2), [f"{part} text"] * count, f"{part}.tsv.gz")
    data = load(tmp_path)
    assert [len(p.labels) for p in (data.train, data.valid, data.test)] == [4, 2, 6]
    assert set(text_of(data, "valid")) == {"<unk> text"}


def imdb_lines(count: int) -> list[str]:
    return [f"{i // (count // 2)}\t{i}\t7\t{['bad', 'good'][i // (count // 2)]}\twith tab" for i in range(count)]


def test_imdb_is_cut_at_its_first_three_tabs(tmp_path: Path) -> None:
    lines = imdb_lines(40)
    (tmp_path / "test.tsv").write_text("\n".join(lines))
    with gzip.open(tmp_path / "train.tsv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    data = load(tmp_path)
    assert data.classes == ("neg", "pos")
    assert [len(p.labels) for p in (data.train, data.valid, data.test)] == [36, 4, 40]
    rows = list(zip(text_of(data, "test"), data.test.labels.tolist(), strict=True))
    assert sorted(rows) == [("bad with tab", 0)] * 20 + [("good with tab", 1)] * 20
    single = load(tmp_path / "test.tsv")
    assert [len(p.labels) for p in (single.train, single.valid, single.test)] == [32, 4, 4]


def test_the_folders_of_aclimdb(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("pos", "neg", "unsup"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(10):
                (tmp_path / part / name / f"{i}_{i}.txt").write_text(f"a {name} film", encoding="utf-8")
    (tmp_path / "test" / "neg" / "10_1.txt").touch()
    data = load(tmp_path)
    assert data.classes == ("neg", "pos")
    expected = {(f"a {name} film", i) for i, name in enumerate(data.classes)}
    assert set(zip(text_of(data, "test"), data.test.labels.tolist(), strict=True)) == expected
    assert len(data.train.labels) == 18


def test_a_broken_line_of_imdb_is_named(tmp_path: Path) -> None:
    lines = imdb_lines(40)
    lines[6] = "1\tno tabs left"
    (tmp_path / "t.tsv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="whose line 7 is not"):
        load(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_bytes("\n".join(lines).encode() + b"\xff")
    with pytest.raises(ValueError, match=r"(?i)utf-8"):
        load(tmp_path / "t.tsv")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"] * 40, r"two classes or more; got \('a',\)"),
        (["a"] * 36 + ["b"] * 4, "10 rows or more to cut a part from; got \"4 of 'b'\""),
        ([i + 0.5 for i in range(40)], "not real numbers; got \"0.5 in 'label'\""),
        ([None] * 40, "40 rows have no text or no label"),
    ],
)
def test_labels_that_can_not_be_learned_are_refused(tmp_path: Path, labels: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(table(tmp_path, labels, ["some words"] * 40))


def test_a_column_that_is_missing_and_a_class_that_training_lacks_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, ["a", "b"] * 20, ["some words"] * 40, "test.csv")
    with pytest.raises(ValueError, match=r"--text must name a column .*got 'txt'\. Did you mean 'text'"):
        load(path, text="txt")
    with pytest.raises(ValueError, match="--label must name a column"):
        load(path, label="class")
    with pytest.raises(ValueError, match=r"must hold train and test.*with test"):
        load(tmp_path)
    table(tmp_path, ["a", "c"] * 20, ["some words"] * 40, "train.csv")
    with pytest.raises(ValueError, match="every class must occur in training; got 'b'"):
        load(tmp_path)


def test_the_hash_follows_texts_and_labels(tmp_path: Path) -> None:
    def sha256(labels: list[object], texts: list[object]) -> str:
        return load(table(tmp_path, labels, texts)).sha256

    labels: list[object] = ["a", "b"] * 20
    texts: list[object] = ["some words"] * 40
    first = sha256(labels, texts)
    assert first == sha256(labels, texts)
    assert len({first, sha256(labels[::-1], texts), sha256(labels, ["other", *texts[1:]])}) == 3


@pytest.mark.skipif(not IMDB.exists(), reason="needs IMDB in shared/data/imdb")
def test_imdb_as_published() -> None:
    rows = read_rows(IMDB, text="", label="")
    assert {part: Counter(found.labels) for part, found in rows.items()} == {
        part: {"neg": 12_500, "pos": 12_500} for part in ("train", "test")
    }
    assert sum("\t" in text for found in rows.values() for text in found.texts) == 27
    assert not any("\n" in text for found in rows.values() for text in found.texts)
    assert 25_000 - len(set(rows["train"].texts)) == 96
    assert Counter(words_of(" ".join(rows["train"].texts[:500]))).most_common(1)[0][0] == "the"
