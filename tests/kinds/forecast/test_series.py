from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recurdrop.files.tables import read_table
from recurdrop.kinds.forecast.data import interval, prepare
from recurdrop.kinds.forecast.windows import WindowBatches, Windows, spread_over

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
NAN = math.nan


def days(count: int, form: str = "%Y-%m-%d") -> list[str]:
    return list(pd.date_range("2020-01-01", periods=count).strftime(form))


def table(count: int = 10) -> pd.DataFrame:
    return pd.DataFrame({"y (K)": [float(i * i) for i in range(count)], "x": [float(i % 3) for i in range(count)]})


def test_columns_are_scaled_by_the_training_rows_alone() -> None:
    frame = table()
    series = prepare(frame, "y (K)", split=(0.5, 0.2, 0.3))
    assert series.ends == (5, 7, 10)
    assert (series.columns, series.place) == (("y (K)", "x"), 0)
    y = np.array([0.0, 1, 4, 9, 16])
    assert series.center == pytest.approx(y.mean())
    assert series.scale == pytest.approx(y.std())
    torch.testing.assert_close(
        series.in_unit(series.target), torch.tensor(frame["y (K)"].to_numpy()), rtol=1e-6, atol=1e-5
    )
    x = np.array([0.0, 1, 2, 0, 1])
    assert series.values[8, 1].item() == pytest.approx((2 - x.mean()) / x.std())


@pytest.mark.parametrize("split", [(4, 3, 2), (4.0, 3.0, 2.0), (0.4, 0.3, 0.2)])
def test_a_split_is_of_shares_or_rows(split: tuple[float, ...]) -> None:
    assert prepare(table(), "y (K)", split=split).ends == (4, 7, 9)


def test_missing_values_take_the_last_valid_one_and_are_counted() -> None:
    frame = table(8)
    frame["x"] = [NAN, -9999, 2.0, 5.0, math.inf, NAN, -1.0, 0.0]
    frame["y (K)"] = [1.0, NAN, 3.0, 4.0, -9999, 0.0, 2.0, 5.0]
    series = prepare(frame, "y (K)", split=(4, 2, 2))
    unscaled = series.values * series.values.new_tensor([series.scale, np.std([2, 2, 2, 5])])
    unscaled += unscaled.new_tensor([series.center, np.mean([2, 2, 2, 5])])
    torch.testing.assert_close(unscaled[:, 1], torch.tensor([2.0, 2, 2, 5, 5, 5, -1, 0]))
    torch.testing.assert_close(unscaled[:, 0], torch.tensor([1.0, 1, 3, 4, 4, 0, 2, 5]))
    assert series.replaced == {"y (K)": 2, "x": 4}
    assert series.report["x"].startswith("4 of 8 values missing")
    assert series.observed.tolist() == [True, False, True, True, False, True, True, True]
    assert prepare(frame, "y (K)", split=(4, 2, 2), sentinels=()).replaced == {"y (K)": 1, "x": 3}


def test_columns_that_help_no_forecast_are_left_out_and_said() -> None:
    frame = table(6).assign(
        No=range(1, 7), wind=list("NESWNE"), gone=[NAN] * 6, same=1.0, day=days(6), flag=[True, False] * 3
    )
    series = prepare(frame, "y (K)")
    assert series.columns == ("y (K)", "x", "flag")
    assert series.report == {
        "No": "left out: it counts the rows",
        "wind": "left out: not numbers",
        "gone": "left out: all values missing",
        "same": "left out: constant in the training rows",
        "day": "times, 1 d apart",
    }


def test_chosen_features_always_hold_the_target() -> None:
    frame = table().assign(z=1.5, No=range(10))
    assert prepare(frame, "y (K)", features=("No",)).columns == ("No", "y (K)")
    assert prepare(frame, "y (K)", features=("y (K)", "x")).columns == ("y (K)", "x")


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%SZ", None])
def test_dates_are_found_and_read_in_the_order_that_fits(form: str | None) -> None:
    dates = pd.date_range("2020-01-01", periods=40)
    frame = table(40).assign(when=dates if form is None else dates.strftime(form), other=["may", "12"] * 20)
    series = prepare(frame, "y (K)")
    assert series.times is not None
    np.testing.assert_array_equal(series.times, dates.to_numpy())
    assert interval(series.times) == np.timedelta64(1, "D")
    assert series.report["other"] == "left out: not numbers"


def test_steps_of_another_length_are_counted() -> None:
    frame = table(11).assign(date=[*days(9), days(9)[-1], "2020-01-15"])
    assert prepare(frame, "y (K)", split=(3, 1, 1)).report["date"] == "times, 1 d apart, 2 steps of another length"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"target": "z"}, "target must name a column.*'y \\(K\\)', 'x'"),
        ({}, {"features": ("z",)}, "features must name a column"),
        ({"x": list("abcdefghij")}, {"target": "x"}, "'x' must hold numbers; got 'a in row 1'"),
        ({"x": list("abcdefghij")}, {"features": ("x",)}, "'x' must hold numbers"),
        ({"x": [NAN] * 10}, {"target": "x"}, "must have values"),
        ({"x": [1.0] * 8 + [2.0] * 2}, {"target": "x"}, "must vary in the training rows; got \"'x', always 1"),
        ({"x": [0.1] * 8 + [0.2] * 2}, {"target": "x"}, "must vary in the training rows; got \"'x', always 0.1"),
        ({}, {"split": (8, 2, 1)}, "no more than the 10 rows"),
        ({}, {"split": (0.97, 0.01, 0.01)}, "every part of the split must have rows"),
        ({}, {"split": (0.5, 0.6, 0.1)}, "three shares"),
        ({}, {"split": (0.5, 2, 1)}, "three shares"),
        ({}, {"split": (0.5, 0.5)}, "three shares"),
        ({"d": days(10)[::-1]}, {}, "from old to new by column 'd'.*2020-01-10T00:00:00 to 2020-01-01"),
        ({}, {"split": (math.inf, 1, 1)}, "three shares"),
        ({"d": [days(10)[i] for i in (0, 2, 1, 3, 5, 4, 6, 7, 8, 9)]}, {}, "from old to new by column 'd'.*7 of 9"),
        ({"d": days(10)[:9] + days(1)}, {}, "from old to new by column 'd'"),
        ({"d": [f"n{i}" for i in range(10)]}, {"date": "d"}, "'d' must hold dates; got 'n0'"),
        ({}, {"date": "d"}, "date must name a column"),
    ],
)
def test_what_can_not_be_forecast_is_refused(
    change: dict[str, list[object]], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(table().assign(**change), **({"target": "y (K)"} | options))  # type: ignore[arg-type]


def test_two_series_one_after_the_other_are_refused() -> None:
    frame = table(40).assign(d=days(20) * 2)
    with pytest.raises(ValueError, match=r"'d'.*2020-01-20T00:00:00 is followed by 2020-01-01T00:00:00.*one series"):
        prepare(frame, "y (K)")


def test_a_clock_set_back_is_no_other_series() -> None:
    hours = pd.date_range("2020-10-24", periods=39, freq="h").insert(27, pd.Timestamp("2020-10-25 02:00"))
    frame = table(40).assign(d=hours.strftime("%Y-%m-%d %H:%M"))
    assert prepare(frame, "y (K)").report["d"] == "times, 60 min apart, 1 steps of another length"


def test_a_window_ends_horizon_rows_before_its_target() -> None:
    series = prepare(table(20), "y (K)", split=(10, 6, 4))
    windows = Windows(lookback=5, step=2, horizon=3, stride=2)
    assert windows.offsets.tolist() == [-4, -2, 0]
    assert [windows.last_rows(series, part).tolist() for part in range(3)] == [[4, 6], [7, 9, 11], [13, 15]]
    cut = windows.cut(series.values, torch.tensor([6, 9]))
    torch.testing.assert_close(cut[0], series.values[[2, 4, 6]])
    torch.testing.assert_close(cut[1], series.values[[5, 7, 9]])
    x, y = WindowBatches(series, windows, torch.tensor([4, 6, 9]), 2)[1]
    torch.testing.assert_close(x, cut[1:])
    torch.testing.assert_close(y, series.target[[12]])


def test_windows_of_every_length_hold_the_last_row() -> None:
    assert [len(Windows(n, 3, 1, 1).offsets) for n in (3, 4, 6, 7)] == [1, 2, 2, 3]
    assert Windows(6, 1, 1, 1).offsets.tolist() == [-5, -4, -3, -2, -1, 0]


def test_no_example_has_a_missing_target_and_none_lies_in_two_parts() -> None:
    frame = table(20)
    frame.loc[[5, 12], "y (K)"] = NAN
    series = prepare(frame, "y (K)", split=(10, 6, 4))
    targets = [(Windows(2, 1, 2, 1).last_rows(series, part) + 2).tolist() for part in range(3)]
    assert targets == [[3, 4, 6, 7, 8, 9], [10, 11, 13, 14, 15], [16, 17, 18, 19]]


@pytest.mark.parametrize(("lookback", "horizon"), [(8, 3), (3, 8)])
def test_a_part_too_short_for_an_example_is_refused(lookback: int, horizon: int) -> None:
    series = prepare(table(20), "y (K)", split=(10, 6, 4))
    with pytest.raises(ValueError, match=r"training part.*takes 11 rows.*got '10 rows'. Lower --window"):
        Windows(lookback, 1, horizon, 1).last_rows(series, 0)
    assert len(Windows(7, 1, 3, 1).last_rows(series, 0)) == 1


@pytest.mark.parametrize("setting", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (2, 3, 1, 1)])
def test_windows_of_no_rows_are_refused(setting: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"1 row or more|exceed the lookback"):
        Windows(*setting)


def test_a_slice_is_spread_evenly() -> None:
    rows = torch.arange(100, 111)
    assert spread_over(rows, 3).tolist() == [100, 105, 110]
    assert spread_over(rows, 11).tolist() == spread_over(rows, 99).tolist() == rows.tolist()


def test_real_tables_are_prepared() -> None:
    for folder, file, target, found in (
        ("jena-climate", "weather_2020.csv.gz", "T (degC)", {"wv (m/s)": 1, "max. PAR": 30, "OT": 50}),
        ("ett", "ETTh1.csv.gz", "OT", {}),
        ("small-forecast", "pollution.csv.gz", "pm2.5", {"pm2.5": 2067}),
    ):
        path = DATA / folder / file
        if not path.exists():
            pytest.skip(f"{folder} is not here")
        series = prepare(read_table(path).frame, target)
        assert {name.split(" (\ufffd")[0]: count for name, count in series.replaced.items()} == found
        assert (series.times is None) == (folder == "small-forecast")
        assert series.values.isfinite().all()
        train = series.values[: series.ends[0]]
        torch.testing.assert_close(train.double().mean(0), torch.zeros(train.shape[1]).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [0.1, 21.3, 1013.2])
def test_what_is_constant_but_for_rounding_is_left_out(value: float) -> None:
    frame = table(100).assign(same=[value] * 80 + [2 * value] * 20, late=[NAN] * 90 + list(range(10)))
    series = prepare(frame, "y (K)")
    assert series.columns == ("y (K)", "x")
    assert series.report["same"] == series.report["late"] == "left out: constant in the training rows"
    assert series.replaced == {}


def test_rows_without_one_moment_each_need_no_times() -> None:
    frame = table(48).assign(Date=[day for day in days(2) for _ in range(24)])
    with pytest.raises(ValueError, match=r'name another column as date \(""'):
        prepare(frame, "y (K)")
    series = prepare(frame, "y (K)", date="")
    assert series.times is None
    assert series.columns == ("y (K)", "x")


def test_times_whose_offset_changes_are_read() -> None:
    moments = pd.date_range("2020-03-28", periods=48, freq="h", tz="Europe/Berlin")
    series = prepare(table(48).assign(when=[moment.isoformat() for moment in moments]), "y (K)")
    assert series.times is not None
    np.testing.assert_array_equal(np.diff(series.times), np.timedelta64(1, "h"))


def test_names_of_months_are_no_dates() -> None:
    series = prepare(table(40).assign(month=["January", "May"] * 20), "y (K)")
    assert series.times is None
    assert series.report["month"] == "left out: not numbers"
