from __future__ import annotations

import dataclasses

from recurdrop.measured import Measured
from recurdrop.report.results_tables import results_tables

PLAIN = Measured(
    recipe="plain",
    against="",
    seed=1,
    metric="BLEU",
    digits=1,
    higher_is_better=True,
    command="recurdrop reproduce plain",
    commit="abc1234",
    version="0.1.0",
    torch="2.13.0",
    machine="x86_64, Linux, 1 threads",
    precision="32",
    minutes=1.5,
    epochs=4,
    best_epoch=2,
    measured={"valid": {"BLEU": 10.0}, "test": {"BLEU": 11.0}},
    baselines={"valid": {"copy": 1.0}, "test": {"copy": 2.0}},
    published={"test": 12.5},
)


def noisy(seed: int, valid: float, test: float) -> Measured:
    measured = {"valid": {"BLEU": valid}, "test": {"BLEU": test}}
    return dataclasses.replace(PLAIN, recipe="noisy", against="plain", seed=seed, measured=measured, published={})


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_a_single_run_has_a_row_with_its_baselines_and_its_command() -> None:
    text = results_tables([PLAIN])
    assert rows(text)[2:] == [
        *[
            [
                "plain",
                "BLEU",
                "– / 12.5",
                "10.0",
                "11.0",
                "1",
                "4 (2)",
                "1.5",
                "x86_64, Linux, 1 threads, 32",
                "abc1234",
            ]
        ],
        ["copy", "BLEU", "", "1.0", "2.0", "", "", "", "", ""],
    ]
    assert text.splitlines()[-1] == "- `recurdrop reproduce plain`"
    assert "seed 1" not in text  # one seed has no table of seeds


def test_seeds_are_summed_up_and_each_is_shown() -> None:
    text = results_tables([noisy(1, 12.0, 13.0), noisy(2, 14.0, 15.0), noisy(3, 16.0, 17.0)])
    table = rows(text)
    assert table[2][3:6] == ["14.0 ± 2.0", "15.0 ± 2.0", "3"]
    assert ["noisy", "valid", "12.0", "14.0", "16.0"] in table
    assert ["noisy", "test", "13.0", "15.0", "17.0"] in table


def test_differences_are_paired_over_the_seeds_that_both_have() -> None:
    plain = [dataclasses.replace(PLAIN, seed=seed) for seed in (1, 2, 4)]
    table = rows(results_tables([*plain, noisy(1, 12.0, 10.0), noisy(2, 14.0, 13.0), noisy(3, 90.0, 90.0)]))
    # Differences 2 and 4: mean 3, deviation √2, half of the interval 12.706 · √2 / √2.
    assert ["noisy − plain", "BLEU", "valid", "3.00 ± 12.71", "2 of 2"] in table
    assert ["noisy − plain", "BLEU", "test", "0.50 ± 19.06", "1 of 2"] in table
    assert not any("noisy − plain" in row for row in rows(results_tables([*plain, noisy(3, 90.0, 90.0)])))


def test_lower_is_better_where_the_metric_says_so() -> None:
    lower = [dataclasses.replace(x, higher_is_better=False) for x in (PLAIN, noisy(1, 9.0, 12.0))]
    table = rows(results_tables(lower))
    assert ["noisy − plain", "BLEU", "valid", "−1.00", "1 of 1"] in table
    assert ["noisy − plain", "BLEU", "test", "1.00", "0 of 1"] in table


def test_only_the_recipes_that_are_asked_for_are_shown_in_their_order() -> None:
    table = rows(results_tables([PLAIN, noisy(1, 1.0, 1.0)], ["noisy", "plain"]))
    assert [row[0] for row in table[2:4]] == ["noisy", "plain"]
    assert "noisy" not in results_tables([PLAIN, noisy(1, 1.0, 1.0)], ["plain"])


def test_bars_in_a_cell_are_escaped() -> None:
    assert r"x86 \| 64" in results_tables([dataclasses.replace(PLAIN, machine="x86 | 64")])
