from __future__ import annotations

import math

import pytest

from recurdrop.records import NONE, Metric, Point, Row, RunRecord, Spread
from recurdrop.report import tables

NAN = math.nan
PERPLEXITY = Metric("perplexity", digits=1)
ERROR = Metric("MAE", "degC", digits=3)
ACCURACY = Metric("accuracy", higher_is_better=True, digits=2)


def record(metric: Metric = PERPLEXITY, loss_unit: str = "nats per token") -> RunRecord:
    point = Point(1, 1.0, 1.0, 1.0, 1.0)
    return RunRecord("t", NONE, "", "", {}, 1, {}, {}, metric, loss_unit, {}, {}, (point,), (0.1,))


def baseline(name: str, metric: float, loss: float = NAN, test: Spread | None = None) -> Row:
    nothing = Spread(NAN, NAN)
    return Row(name, "", "", 0, loss, nothing, Spread(metric, NAN), NAN, None, 0, NAN, nothing, NAN, test)


def measured(method: str, metric: float, difference: Spread | None = None) -> Row:
    found = Spread(metric, 0.0)
    return Row(method, "X()", "cite", 3, 4.0, found, found, 1.0, difference, 3, 5.0, found, 1.5)


def row(method: str, loss: float = 4.0, difference: Spread | None = None, test: Spread | None = None) -> Row:
    valid = Spread(math.exp(loss), 1.0)
    return Row(method, "X()", "cite", 3, loss, Spread(20.0, 0.55), valid, 1.234, difference, 2, 5.0, valid, 1.5, test)


def test_cells_by_hand() -> None:
    found = tables.cells(row("awd", difference=Spread(-0.1234, 0.0567)), PERPLEXITY)
    assert found == ("awd", "20.0 ± 0.6", "54.6 ± 1.0", "1.23", "−0.123 ± 0.057", "2/3", "54.6 ± 1.0", "1.50×")
    assert len(found) == len(tables.columns(record()))
    assert tables.cells(row(NONE), PERPLEXITY)[4:6] == ("–", "–")
    assert tables.cells(row("x", difference=Spread(0.02, NAN)), PERPLEXITY)[4] == "+0.020"


def test_cells_of_a_method_that_diverged() -> None:
    diverged = row("x", loss=NAN, difference=Spread(NAN, NAN))
    assert tables.cells(diverged, PERPLEXITY)[2:6] == ("diverged", "–", "–", "2/3")
    beside_none = row("x", difference=Spread(NAN, NAN))  # which diverged
    assert tables.cells(beside_none, PERPLEXITY)[4] == "–"


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Spread(-0.1, 0.05), "awd leads: 9.5 % less validation perplexity than none, and the 95 %"),
        (Spread(-0.1, 0.1), "includes 0"),
        (Spread(-0.1, 0.2), "includes 0"),
        (Spread(-0.1, NAN), "on one seed"),
    ],
)
def test_the_verdict_is_no_stronger_than_the_interval(difference: Spread, words: str) -> None:
    assert words in tables.verdict([row("awd", 3.9, difference), row(NONE)], PERPLEXITY)


def test_the_verdict_when_none_wins_or_diverges() -> None:
    assert tables.verdict([row(NONE), row("awd", 4.1, Spread(0.1, 0.01))], PERPLEXITY).startswith(
        "No method is ahead of none"
    )
    assert (
        tables.verdict([row("awd", 4.1, Spread(NAN, NAN)), row(NONE, NAN)], PERPLEXITY) == "awd leads; none diverged."
    )
    assert tables.verdict([row(NONE, NAN)], PERPLEXITY).startswith("Every run diverged")


def test_the_test_line_names_those_that_were_tested() -> None:
    rows = [row("awd", test=Spread(50.0, 0.5)), row("locked"), row(NONE, test=Spread(60.25, NAN))]
    assert tables.test_line(rows, PERPLEXITY).endswith("awd 50.0 ± 0.5; none 60.2.")
    assert tables.test_line([row(NONE, NAN)], PERPLEXITY) == ""


def test_the_caption_says_how_many_seeds() -> None:
    assert "over 3 seeds" in tables.caption([row(NONE)], record())


def test_heads_have_the_units_of_metric_and_loss() -> None:
    words = tables.columns(record())
    assert words[1:5] == ("train\nperplexity", "validation\nperplexity", "gap\nnats/token", "to none\nnats/token")
    degrees = tables.columns(record(ERROR, "standard deviations (squared)"))
    assert degrees[2:4] == ("validation\nMAE, degC", "gap\nstandard deviations")


def test_cells_have_the_digits_of_the_metric_and_a_baseline_only_its_metric() -> None:
    assert tables.cells(measured("awd", 0.12345, Spread(-0.1, NAN)), ERROR)[1:3] == ("0.123 ± 0.000",) * 2
    found = tables.cells(baseline("persistence", -1.2345), ERROR)
    assert found == ("persistence (baseline)", "–", "−1.234", "–", "–", "–", "–", "–")


@pytest.mark.parametrize(
    ("metric", "mine", "base", "words"),
    [
        (ERROR, 0.4, 0.5, "awd leads: 20.0 % less validation MAE than none, and the 95 %"),
        (ERROR, 0.6, 0.5, "awd leads: validation MAE 0.600 degC, none 0.500 degC, and"),  # less loss, yet more error
        (ERROR, -0.5, -0.4, "awd leads: validation MAE −0.500 degC, none −0.400 degC, and"),
        (ACCURACY, 0.9, 0.8, "awd leads: validation accuracy 0.90, none 0.80, and"),
    ],
)
def test_the_verdict_says_a_share_where_it_means_something(
    metric: Metric, mine: float, base: float, words: str
) -> None:
    rows = [measured("awd", mine, Spread(-0.1, 0.05)), measured(NONE, base)]
    assert tables.verdict(rows, metric).startswith(words)


@pytest.mark.parametrize(
    ("metric", "values", "words"),
    [
        (
            ERROR,
            (0.5, 0.4),
            "But awd does not beat the baseline last, which needs no training: validation MAE 0.450 degC",
        ),
        (ERROR, (0.5, 0.45), "does not beat"),  # as good is not better
        (ERROR, (0.5, 0.6), "The best baseline, mean (no training), has validation MAE 0.500 degC."),
        (ACCURACY, (0.3, 0.4), "The best baseline, last (no training), has validation accuracy 0.40."),
        (ACCURACY, (0.3, 0.5), "does not beat the baseline last"),
    ],
)
def test_the_verdict_sets_the_best_method_against_the_best_baseline(
    metric: Metric, values: tuple[float, float], words: str
) -> None:
    mean, last = values
    rows = [
        baseline("last", last),
        measured("awd", 0.45, Spread(-0.1, 0.05)),
        baseline("mean", mean),
        measured(NONE, 0.46),
    ]
    assert words in tables.verdict(rows, metric)
    assert "awd leads" in tables.verdict(rows, metric)


def test_the_winner_is_no_baseline() -> None:
    rows = [baseline("last", 0.1), measured(NONE, 0.46), measured("awd", 0.5, Spread(0.1, 0.05))]
    assert tables.winner(rows).method == NONE
    found = tables.verdict(rows, ERROR)
    assert found.startswith("No method is ahead of none on these data")
    assert "But the model without regularization does not beat the baseline last" in found
    diverged = [baseline("last", 0.1), row(NONE, NAN)]
    assert tables.verdict(diverged, ERROR) == "Every run diverged; lower the learning rate."


def test_the_test_line_has_the_unit_and_baselines() -> None:
    rows = [row("awd", test=Spread(1.5, 0.25)), baseline("last", 2.0, test=Spread(2.5, NAN))]
    line = "Test MAE (degC), looked at once the ranking stood: awd 1.500 ± 0.250; last 2.500."
    assert tables.test_line(rows, ERROR) == line


def test_the_caption_explains_what_there_is() -> None:
    bare, valued = baseline("last", 0.1), baseline("mean", 0.1, loss=1.0)
    assert "less perplexity" in tables.caption([row(NONE)], record())
    assert "less perplexity" not in tables.caption([row(NONE)], record(ERROR))
    assert "baseline" not in tables.caption([row(NONE)], record(ERROR))
    assert tables.caption([valued, row(NONE)], record(ERROR)).endswith("A baseline needs no training.")
    assert "without a loss stands right above" in tables.caption([bare, row(NONE)], record(ERROR))
    assert "Train MAE is" in tables.caption([bare, row(NONE)], record(ERROR))
