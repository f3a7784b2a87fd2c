from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from recurdrop.files.numbers import read_numbers
from recurdrop.files.tables import column, content, located, read_table

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ROWS = b"a,b\n1,x\n2,NA\n"


@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_form_of_one_table_reads_alike(tmp_path: Path, delimiter: bytes, ending: bytes, packed: bool) -> None:
    data = ROWS.replace(b",", delimiter).replace(b"\n", ending)
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    frame = read_table(path).frame
    assert list(frame.columns) == ["a", "b"]
    assert frame["a"].tolist() == ["1", "2"]
    assert frame["b"].tolist() == ["x", "NA"]  # what is missing is for the reader of the column to say


def test_parquet_reads_as_it_was_written(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    written = pd.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]})
    written.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet").frame, written)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_units_in_a_header_are_read_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("SWDR (W/m²),b\n1,2\n".encode(encoding))
    assert list(read_table(tmp_path / "t.csv").frame.columns) == ["SWDR (W/m²)", "b"]


def test_a_quoted_field_may_hold_the_delimiter(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n"1,5",2\n')
    assert read_table(tmp_path / "t.csv").frame.iloc[0].tolist() == ["1,5", "2"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none", None, "must be a file that exists"),
        (".", None, "the folder"),
        ("empty", b" \n", "must not be empty"),
        ("header", b"a,b\n", "must have rows"),
        ("ragged", b"a,b\n1,2\n1,2,3,4\n", "more fields than the header; got .*line 3"),
        ("wide", b"a,b\n1,2,3\n4,5,6\n", "more fields than the header"),
        ("book.xlsx", b"PK\x03\x04\0\0", "NUL bytes.*Export it as CSV"),
        ("cut.parquet", b"PAR1 and no more", "Parquet file must be whole"),
        ("plain.csv.gz", ROWS, "whole gzip data"),
        ("cut.csv.gz", gzip.compress(ROWS * 99, mtime=0)[:-12], "whole gzip data"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / name)


def test_a_missing_column_is_answered_with_those_there_are() -> None:
    frame = pd.DataFrame({"T (degC)": [1.0], "p (mbar)": [2.0]})
    assert column(frame, "T (degC)", "--target").tolist() == [1.0]
    with pytest.raises(ValueError, match=r"--target.*'t \(degc\)'. Did you mean 'T \(degC\)'\? .* 'p \(mbar\)'\.$"):
        column(frame, "t (degc)", "--target")
    with pytest.raises(ValueError, match=r"got 'xyz'\. The columns are"):
        column(frame, "xyz", "--target")
    with pytest.raises(ValueError, match=r"'c29' and 10 more\.$"):
        column(pd.DataFrame({f"c{i}": [1] for i in range(40)}), "xyz", "--target")


def test_a_folder_holds_the_named_file_plain_or_packed(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(ROWS))
    assert located(tmp_path, "t.csv") == tmp_path / "t.csv.gz"
    (tmp_path / "t.csv").write_bytes(ROWS)
    assert located(tmp_path, "t.csv") == tmp_path / "t.csv"
    assert located(tmp_path / "t.csv.gz", "other.csv") == tmp_path / "t.csv.gz"
    assert content(tmp_path / "t.csv.gz") == ROWS
    for source, name, message in (
        (tmp_path, "u.csv", "must hold u.csv"),
        (tmp_path, None, "needs the name"),
        (tmp_path / "v", None, "exists"),
    ):
        with pytest.raises(ValueError, match=message):
            located(source, name)


def test_the_weather_of_jena_reads_with_its_mangled_units() -> None:
    path = DATA / "jena-climate" / "weather_2020.csv.gz"
    if not path.exists():
        pytest.skip("jena-climate is not here")
    frame = read_table(path).frame
    assert frame.shape == (52_696, 22)
    assert frame.columns[-1] == "OT" and sum("\ufffd" in name for name in frame.columns) == 3
    assert int(sum((read_numbers(frame[name]).values == -9999).sum() for name in frame.columns[1:])) == 81
    assert frame["T (degC)"].iloc[0] == "0.71"


def test_a_quote_in_a_tab_separated_text_swallows_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    lines = ["text\tlabel", '"good film\tpos', "dull\tneg", 'so "so"\tneg', '"bad\tneg']
    path.write_text("\n".join(lines) + "\n")
    assert read_table(path).frame["text"].tolist() == ['"good film', "dull", 'so "so"', '"bad']
    path.write_text("\n".join([*lines[:1], '"good ""film"""\tpos', "dull\tneg"]) + "\n")
    assert read_table(path).frame["text"].tolist() == ['good "film"', "dull"]
    path.write_text('text\tlabel\n"two\nlines"\tpos\n')
    assert read_table(path).frame["text"].tolist() == ["two\nlines"]


@pytest.mark.parametrize("name", ["time", None])
def test_the_index_of_a_parquet_file_is_a_column(tmp_path: Path, name: str | None) -> None:
    pytest.importorskip("pyarrow")
    index = pd.date_range("2020-01-01", periods=2, name=name)
    pd.DataFrame({"a": [1.5, 2.5]}, index=index).to_parquet(tmp_path / "t.parquet")
    frame = read_table(tmp_path / "t.parquet").frame
    assert list(frame.columns) == [name or "index", "a"]
    assert frame.iloc[:, 0].tolist() == index.tolist()
