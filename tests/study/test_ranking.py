from __future__ import annotations

import math
import random

import pytest

from recurdrop.kinds.base import Score
from recurdrop.records import NONE, Metric, Point, RunRecord, Spread
from recurdrop.spread import deviation, interval
from recurdrop.study.ranking import rank

PERPLEXITY = Metric("perplexity", digits=1)


def run(
    method: str, seed: int, valid: list[float], seconds: tuple[float, ...] = (1.0,), metric: Metric = PERPLEXITY
) -> RunRecord:
    curve = tuple(
        Point(10 * (i + 1), loss - 1, loss, math.exp(loss - 1), math.exp(loss)) for i, loss in enumerate(valid)
    )
    rest = ({}, {}, metric, "nats per token", {}, {})
    return RunRecord("language", method, method.upper(), "cite", {}, seed, *rest, curve, seconds)


def test_deviation_by_hand() -> None:
    assert deviation([1.0, 2.0, 6.0]) == Spread(3.0, pytest.approx(math.sqrt((4 + 1 + 9) / 2)))
    alone = deviation([2.0])
    assert alone.mean == 2.0
    assert math.isnan(alone.half)
    assert math.isnan(deviation([1.0, math.nan]).mean)


def test_interval_by_hand() -> None:
    # differences 0.1, 0.2, 0.3: standard error 0.1 / sqrt(3), t with 2 degrees of freedom 4.303
    found = interval([0.1, 0.2, 0.3])
    assert found.mean == pytest.approx(0.2)
    assert found.half == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert interval([0.0, 2.0]).half == pytest.approx(12.706)
    many = [0.0, 2.0] * 50
    assert interval(many).half == pytest.approx(2.042 * math.sqrt(100 / 99) / 10)
    assert math.isnan(interval([1.0]).half)


def test_the_interval_holds_the_truth_19_times_in_20() -> None:
    draw = random.Random(0)  # noqa: S311
    hits = 0
    for _ in range(2000):
        found = interval([draw.gauss(0.3, 1) for _ in range(4)])
        hits += abs(found.mean - 0.3) < found.half
    assert 1900 - 45 < hits < 1900 + 45  # 4.6 binomial standard deviations


def test_ranking_by_hand() -> None:
    records = [
        run("worse", 1, [3.0, 2.9], (0.3, 0.1, 0.5)),
        run(NONE, 2, [2.2, 2.4]),
        run("better", 2, [2.1, 1.9], (9.0, 8.0)),
        run(NONE, 1, [2.5, 2.0, 3.0], (0.2, 0.4, 0.1)),
        run("better", 1, [2.0, 1.9]),
        run("worse", 2, [2.1, 2.0]),
    ]
    better, none, worse = rank(records)
    assert [better.method, none.method, worse.method] == ["better", NONE, "worse"]
    assert none.loss == pytest.approx(2.1)
    assert none.valid.mean == pytest.approx((math.exp(2.0) + math.exp(2.2)) / 2)
    assert none.valid.half == pytest.approx((math.exp(2.2) - math.exp(2.0)) / math.sqrt(2))
    assert none.train.mean == pytest.approx((math.exp(1.0) + math.exp(1.2)) / 2)
    assert none.last.mean == pytest.approx((math.exp(3.0) + math.exp(2.4)) / 2)
    assert none.gap == pytest.approx(1.0)
    assert none.best_epoch == 1.5
    assert none.difference is None
    # paired by seed, whatever the order of the records: 1.9 - 2.0 and 1.9 - 2.2; 2.9 - 2.0 and 2.0 - 2.2
    assert better.difference is not None
    assert better.difference.mean == pytest.approx(-0.2)
    assert better.difference.half == pytest.approx(12.706 * 0.1)
    assert (better.wins, worse.wins, none.wins, better.seeds) == (2, 1, 0, 2)
    assert worse.difference is not None
    assert worse.difference.mean == pytest.approx(0.35)
    assert (better.noise, better.cite) == ("BETTER", "cite")
    assert (none.step, better.step, worse.step) == (1.0, 10.0, 1.0)  # fastest: 0.1, 1.0, 0.1


def test_time_is_the_lower_decile_so_that_one_lucky_step_does_not_count() -> None:
    slow = tuple([0.5] + [2.0] * 10 + [9.0] * 9)
    _, row = rank([run(NONE, 1, [1.0], (1.0,) * 20), run("slow", 1, [2.0], slow)])
    assert row.step == 2.0


def test_what_diverged_comes_last() -> None:
    records = [run(NONE, 1, [5.0]), run("a", 1, [math.nan]), run("b", 1, [6.0])]
    assert [row.method for row in rank(records)] == [NONE, "b", "a"]
    row = rank(records)[-1]
    assert math.isnan(row.loss)
    assert row.difference is not None
    assert math.isnan(row.difference.mean)
    assert row.wins == 0


def test_unpaired_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[1\].*\[1, 2\] for a"):
        rank([run(NONE, 1, [1.0]), run("a", 1, [1.0]), run("a", 2, [1.0])])
    with pytest.raises(ValueError, match="Run the missing"):
        rank([run("a", 1, [1.0])])


def baseline_places(baselines: dict[str, Score], metric: Metric = PERPLEXITY) -> list[str]:
    values = [("better", 1.0), (NONE, 2.0), ("worse", 3.0), ("diverged", math.nan)]
    return [row.method for row in rank([run(name, 1, [value], metric=metric) for name, value in values], baselines)]


def test_baselines_have_their_place_by_loss_or_else_by_metric() -> None:
    two, three = math.exp(2.5), math.exp(3.5)
    assert baseline_places({"b": Score(1.5, 99.0)}) == ["better", "b", NONE, "worse", "diverged"]
    assert baseline_places({"b": Score(math.nan, two)}) == ["better", NONE, "b", "worse", "diverged"]
    assert baseline_places({"b": Score(math.nan, three)}) == ["better", NONE, "worse", "b", "diverged"]
    assert baseline_places({"b": Score(math.nan, 0.1)})[0] == "b"
    # with a metric of which more is better, exp(2.5) beats the first two, and exp(0.5) none that did not diverge
    accuracy = Metric("accuracy", higher_is_better=True)
    assert baseline_places({"b": Score(math.nan, math.exp(2.5))}, accuracy)[0] == "b"
    assert baseline_places({"b": Score(math.nan, math.exp(0.5))}, accuracy).index("b") == 3


def test_a_baseline_has_values_and_no_seeds() -> None:
    records = [run(NONE, 1, [2.0]), run("a", 1, [3.0])]
    _, row, _ = rank(records, {"persistence": Score(2.5, 0.75)})
    assert (row.method, row.loss, row.valid.mean, row.seeds, row.difference) == ("persistence", 2.5, 0.75, 0, None)
    assert row.baseline
    assert math.isnan(row.train.mean)
    assert not any(row.baseline for row in rank(records))


def test_the_rows_hold_the_metric_that_was_recorded() -> None:
    record = run(NONE, 1, [3.0, 2.0])
    points = tuple(Point(p.update, p.train, p.valid, 100 + p.train, 10 + p.valid) for p in record.curve)
    (row,) = rank([RunRecord(**{**vars(record), "curve": points})])
    assert (row.train.mean, row.valid.mean, row.last.mean, row.loss) == (101.0, 12.0, 12.0, 2.0)
