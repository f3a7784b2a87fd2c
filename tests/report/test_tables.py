from __future__ import annotations

import math

import pytest

from recurdrop.records import NONE, Row, Spread
from recurdrop.report import tables

NAN = math.nan


def row(method: str, loss: float = 4.0, difference: Spread | None = None, test: Spread | None = None) -> Row:
    valid = Spread(math.exp(loss), 1.0)
    return Row(method, "X()", "cite", 3, loss, Spread(20.0, 0.55), valid, 1.234, difference, 2, 5.0, valid, 1.5, test)


def test_cells_by_hand() -> None:
    found = tables.cells(row("awd", difference=Spread(-0.1234, 0.0567)))
    assert found == ("awd", "20.0 ± 0.6", "54.6 ± 1.0", "1.23", "−0.123 ± 0.057", "2/3", "54.6 ± 1.0", "1.50×")
    assert len(found) == len(tables.COLUMNS)
    assert tables.cells(row(NONE))[4:6] == ("–", "–")
    assert tables.cells(row("x", difference=Spread(0.02, NAN)))[4] == "+0.020"


def test_cells_of_a_method_that_diverged() -> None:
    diverged = row("x", loss=NAN, difference=Spread(NAN, NAN))
    assert tables.cells(diverged)[2:6] == ("diverged", "–", "–", "2/3")


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
    assert words in tables.verdict([row("awd", 3.9, difference), row(NONE)])


def test_the_verdict_when_none_wins_or_diverges() -> None:
    assert tables.verdict([row(NONE), row("awd", 4.1, Spread(0.1, 0.01))]).startswith("No method is ahead of none")
    assert tables.verdict([row("awd", 4.1, Spread(NAN, NAN)), row(NONE, NAN)]) == "awd leads; none diverged."
    assert tables.verdict([row(NONE, NAN)]).startswith("Every run diverged")


def test_the_test_line_names_those_that_were_tested() -> None:
    rows = [row("awd", test=Spread(50.0, 0.5)), row("locked"), row(NONE, test=Spread(60.25, NAN))]
    assert tables.test_line(rows).endswith("awd 50.0 ± 0.5, none 60.2.")
    assert tables.test_line([row(NONE, NAN)]) == ""


def test_the_caption_says_how_many_seeds() -> None:
    assert "over 3 seeds" in tables.caption([row(NONE)])
