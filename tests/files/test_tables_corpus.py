"""Small tables as people export them: each is read as it was meant, or refused in a line that says why."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recurdrop.cli.kinds import kind_of
from recurdrop.files.reading import Reading
from recurdrop.files.tables import read_table
from recurdrop.kinds.classify.files import read_rows
from recurdrop.kinds.forecast.data import prepare
from recurdrop.kinds.forecast.task import ForecastData, ForecastTask

ROWS = 40
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
FORMS = {
    "iso": "%Y-%m-%d",
    "clock": "%Y-%m-%d %H:%M:%S",
    "german": "%d.%m.%Y",
    "american": "%m/%d/%Y",
    "british": "%d/%m/%Y %H:%M",
    "zone": "%Y-%m-%dT%H:%M:%SZ",
}
MISSING = ["", "?", "NA", "-", ".", "null", "n/a"]
VALUES = [round(1234.5 + 10 * i + (i * 7919 % 13) / 4, 2) for i in range(ROWS)]


def written(value: float, style: str) -> str:
    if style == "point":
        return f"{value:.2f}"
    if style == "comma":
        return f"{value:.2f}".replace(".", ",")
    text = f"{value:,.2f}"
    return text if style == "thousands" else text.translate(str.maketrans(",.", ".,"))


CASES = list(itertools.product(DELIMITERS, ["point", "comma", "thousands", "dots"], FORMS, ["utf-8", "utf-8-sig"]))
CASES += list(itertools.product(DELIMITERS, ["point"], FORMS, ["utf-16", "cp1252"]))
CASES += list(itertools.product(DELIMITERS, ["comma", "thousands"], FORMS, ["cp1252"]))


@pytest.mark.parametrize(("place", "case"), list(enumerate(CASES)))
def test_a_table_is_read_as_it_was_meant(tmp_path: Path, place: int, case: tuple[str, str, str, str]) -> None:
    delimiter, style, form, encoding = case
    dates = pd.date_range("2020-01-01", periods=ROWS)
    numbers = [written(value, style) for value in VALUES]
    numbers[7] = MISSING[place % len(MISSING)]
    other = [str(i % 3) for i in range(ROWS)]
    cut = DELIMITERS[delimiter]
    quoted = [f'"{x}"' if cut in x or place % 3 == 0 else x for x in numbers]
    lines = [cut.join(row) for row in zip(dates.strftime(FORMS[form]), quoted, other, strict=True)]
    text = "\r\n".join([cut.join(["day", "größe (m²)", "x"]), *lines, ""])
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    table = read_table(path)
    assert delimiter in table.said and f"{ROWS} rows, 3 columns" in table.said
    series = prepare(table.frame, "größe (m²)")
    assert series.columns == ("größe (m²)", "x")
    np.testing.assert_array_equal(series.times, dates.to_numpy())
    assert series.replaced == {"größe (m²)": 1}
    expected = list(VALUES)
    expected[7] = expected[6]
    np.testing.assert_allclose(series.actual, expected, rtol=1e-15)


TEXTS = ["good film", "it was, well, dull", 'a "great" one', "null", "None"]


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("labels", [("001", "010"), ("01", "1"), ("1E2", "100"), ("None", "NA"), ("true", "null")])
def test_labels_and_texts_stay_as_they_are_written(tmp_path: Path, delimiter: str, labels: tuple[str, str]) -> None:
    cut = DELIMITERS[delimiter]
    rows = [(TEXTS[i % 5], labels[i % 2]) for i in range(40)]
    quoted = ['"' + text.replace('"', '""') + '"' + cut + label for text, label in rows]
    (tmp_path / "t.csv").write_text("\n".join([f"text{cut}label", *quoted]) + "\n")
    read = read_rows(tmp_path / "t.csv", text="text", label="label")[""]
    assert list(zip(read.texts, read.labels, strict=True)) == rows
    assert read.missing == 0


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("stray", [(10, 200), (0, 299), (5, 6)])
def test_stray_quotes_swallow_no_rows(tmp_path: Path, delimiter: str, stray: tuple[int, int]) -> None:
    cut = DELIMITERS[delimiter]
    texts = [f"{chr(34) * (i in stray)}text {i}" for i in range(300)]
    lines = [f"{text}{cut}{'ab'[i % 2]}" for i, text in enumerate(texts)]
    (tmp_path / "t.csv").write_text("\n".join([f"text{cut}label", *lines]) + "\n")
    table = read_table(tmp_path / "t.csv")
    assert table.frame["text"].tolist() == texts
    assert "2 lines have a quote that nothing closes" in table.said


def test_a_stray_quote_in_a_line_that_has_no_other_reading_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text,label\nfine,a\n"open, and more,b\nfine,a\n')
    with pytest.raises(ValueError, match=r"quote that opens a field must be closed.*line 3: "):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "columns", "first"),
    [
        ("t;T (C, 2 m)\n1;2,5\n2;3,5\n", ["t", "T (C, 2 m)"], ["1", "2,5"]),
        ("sep=;\nV;X\n1;2,5\n", ["V", "X"], ["1", "2,5"]),
        ("0.78,1.61\n0.80,1.50\n0.90,1.40\n", ["1", "2"], ["0.78", "1.61"]),
        ("2019,2020,2021\n1.5,2.5,3.5\n", ["2019", "2020", "2021"], ["1.5", "2.5", "3.5"]),
        ("V\n1,5\n2,5\n", ["V"], ["1,5"]),
    ],
)
def test_delimiter_and_header_are_those_that_fit_all_rows(
    tmp_path: Path, text: str, columns: list[str], first: list[str]
) -> None:
    (tmp_path / "t.csv").write_text(text)
    frame = read_table(tmp_path / "t.csv").frame
    assert list(frame.columns) == columns
    assert frame.iloc[0].tolist() == first


def test_long_texts_without_a_header_are_cut_at_tabs(tmp_path: Path) -> None:
    rows = [("one, two, three, " * (3 + i % 5) + str(i), "ab"[i % 2]) for i in range(30)]
    (tmp_path / "t.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in rows))
    frame = read_table(tmp_path / "t.tsv").frame
    assert list(frame.columns) == ["1", "2"]
    assert list(frame.itertuples(index=False, name=None)) == rows


def test_every_guess_has_a_setting(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b;c\n1,2;3\n")
    assert list(read_table(path, Reading(delimiter="semicolon")).frame.columns) == ["a,b", "c"]
    assert len(read_table(path, Reading(header="no")).frame) == 2
    path.write_bytes("标题,类别\n好,坏\n".encode("gbk"))
    assert list(read_table(path, Reading(encoding="gbk")).frame.columns) == ["标题", "类别"]
    with pytest.raises(ValueError, match=r"data\.header must be one of auto, yes, no"):
        Reading(header="maybe").check_reading()


def column(**columns: list[str]) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    return pd.DataFrame({**columns, "y": [str(i * i % 17) for i in range(rows)]})


def test_rows_from_new_to_old_are_refused_by_dates_seconds_and_counts() -> None:
    for start, step in ((9999, -60), (1_700_000_000, -60), (1_700_000_000, -61)):
        with pytest.raises(ValueError, match=r"from old to new by column 't'"):
            prepare(column(t=[str(start + step * i + (step == -61) * (i % 2)) for i in range(30)]), "y")
    frame = column(t=[str(30 - i) for i in range(30)])
    assert prepare(frame, "y", date="").report["t"] == "left out: it counts the rows"


def test_seconds_since_1970_are_times() -> None:
    series = prepare(column(t=[str(1_600_000_000 + 3600 * i) for i in range(30)]), "y")
    assert series.times is not None and str(series.times[1]) == "2020-09-13T13:26:40.000000000"
    assert series.report["t"] == "times, 60 min apart, s since 1970; left out: it counts the rows"


def test_midnight_may_stand_without_a_clock() -> None:
    hours = pd.date_range("2020-03-01 20:00", periods=30, freq="h")
    series = prepare(column(t=[str(hour).removesuffix(" 00:00:00") for hour in hours]), "y")
    np.testing.assert_array_equal(series.times, hours.to_numpy())


@pytest.mark.parametrize("odd", ["", "Total"])
def test_a_row_without_a_date_is_named_or_left_out(odd: str) -> None:
    frame = column(t=[*pd.date_range("2020-03-01", periods=30).strftime("%Y-%m-%d"), odd])
    with pytest.raises(ValueError, match=r"every row must have a date in column 't'.*in row 31.*data.undated"):
        prepare(frame, "y")
    series = prepare(frame, "y", reading=Reading(undated="drop"))
    assert series.times is not None and len(series.times) == len(series.values) == 30
    assert series.report["left out"].startswith("1 rows without a date in 't', the first is row 31")


def test_of_two_readings_of_a_date_the_one_with_equal_steps_is_taken() -> None:
    months = pd.date_range("1980-01-01", periods=36, freq="MS")
    frame = column(t=list(months.strftime("%d/%m/%Y")))
    series = prepare(frame, "y")
    np.testing.assert_array_equal(series.times, months.to_numpy())
    assert "the day first (data.day_first)" in series.report["t"]


def test_offsets_may_change_with_the_clocks() -> None:
    hours = pd.date_range("2020-03-28 12:00", periods=30, freq="h", tz="Europe/Berlin")
    series = prepare(column(t=[hour.isoformat() for hour in hours]), "y")
    np.testing.assert_array_equal(series.times, hours.tz_convert("UTC").tz_localize(None).to_numpy())


def test_a_number_that_is_none_is_named() -> None:
    x = [str(i % 5) for i in range(40)]
    x[7] = "3o"
    series = prepare(column(x=x), "y")
    assert series.report["x"] == "left out: 3o in row 8 is no number (data.missing, data.decimal)"
    assert prepare(column(x=x), "y", reading=Reading(missing=("3o",))).replaced == {"x": 1}


@pytest.mark.parametrize("power", [200, -200])
@pytest.mark.filterwarnings("error")
def test_values_whose_deviation_can_not_be_told_are_named(power: int) -> None:
    with pytest.raises(ValueError, match="column 'x' must have values whose deviation can be told"):
        prepare(column(x=[f"{i % 5 + 1}e{power}" for i in range(40)]), "y")


def test_what_is_small_beside_the_mean_is_kept() -> None:
    y = [f"1234567.{i % 7}25" for i in range(40)]
    series = prepare(pd.DataFrame({"y": y}), "y")
    np.testing.assert_array_equal(series.actual, [float(value) for value in y])
    np.testing.assert_allclose(series.in_unit(series.target).numpy(), series.actual, rtol=0, atol=1e-6)


def test_three_years_of_months_get_a_window_of_a_season_and_it_is_said() -> None:
    months = pd.date_range("2020-01-01", periods=36, freq="MS").strftime("%Y-%m-%d")
    series = prepare(column(t=list(months)), "y")
    task = ForecastTask(series, ForecastData("y", fit_window=True), "t.csv", "")
    assert task.windows.lookback == 12
    assert task.report["window"] == "12 rows, since 48 do not fit 25 training rows (--window)"
    with pytest.raises(ValueError, match=r"Lower --window \(data\.lookback\)"):
        ForecastTask(series, ForecastData("y"), "t.csv", "")


def test_a_text_of_numbers_is_said_to_look_like_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("0.78,1.61\n" * 30)
    with pytest.raises(ValueError, match=r"table of numbers with 2 columns.*--target"):
        kind_of(tmp_path / "t.txt", {})
    (tmp_path / "t.txt").write_text("It was 1878, the year.\n" * 30)
    assert kind_of(tmp_path / "t.txt", {}) == "language"


def test_a_column_of_years_is_of_numbers() -> None:
    series = prepare(column(year=[str(2010 + i // 20) for i in range(60)]), "y")
    assert series.times is None
    assert series.columns == ("year", "y")
