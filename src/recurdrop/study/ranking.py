"""From run records to a ranking: statistics over seeds, paired with the runs without regularization."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from recurdrop.errors import invalid
from recurdrop.kinds.base import Score
from recurdrop.records import NONE, Metric, Row, RunRecord, Spread
from recurdrop.spread import deviation, interval


def rank(records: Sequence[RunRecord], baselines: Mapping[str, Score] | None = None) -> list[Row]:
    """Rank the methods by mean validation loss at each run's best epoch; what diverged comes last.

    A baseline has its place by its loss; one that has none comes right above the first method whose metric it beats.

    Args:
        records: one run for each method and seed, `NONE` among the methods.
        baselines: scores on the validation part by name.

    Raises:
        ValueError: a method lacks a seed that `NONE` has, or has one more.
    """
    runs: dict[str, dict[int, RunRecord]] = {}
    for record in records:
        runs.setdefault(record.method, {})[record.seed] = record
    base = runs.get(NONE, {})
    for method, by_seed in runs.items():
        if by_seed.keys() != base.keys():
            rule = f"each method must have run with the seeds of {NONE}, {sorted(base)}"
            raise invalid(rule, f"{sorted(by_seed)} for {method}", "Run the missing ones.")
    seeds = sorted(base)
    none = [base[seed] for seed in seeds]
    rows = [_row([by_seed[seed] for seed in seeds], none) for by_seed in runs.values()]
    found = {name: _baseline(name, score) for name, score in (baselines or {}).items()}
    rows = sorted([*rows, *(row for row in found.values() if math.isfinite(row.loss))], key=_place)
    for row in found.values():
        if not math.isfinite(row.loss):
            rows.insert(_above(row, rows, records[0].metric), row)
    return rows


def _above(baseline: Row, rows: list[Row], metric: Metric) -> int:
    """Return the place of a baseline without a loss: over the first row that is worse, or has diverged."""
    value = baseline.valid.mean
    beaten = (i for i, row in enumerate(rows) if metric.better(value, row.valid.mean) or math.isnan(row.valid.mean))
    return next(beaten, len(rows))


def _baseline(name: str, score: Score) -> Row:
    valid, nothing = Spread(score.metric, math.nan), Spread(math.nan, math.nan)
    return Row(name, "", "", 0, score.loss, nothing, valid, math.nan, None, 0, math.nan, nothing, math.nan)


def _place(row: Row) -> tuple[bool, float, str]:
    loss = row.loss
    return (math.isnan(loss), loss if math.isfinite(loss) else 0.0, row.method)


def _step_seconds(runs: list[RunRecord]) -> float:
    """Return the lower decile of the times of an update, of the fastest run: other programs only ever add time."""
    return min(sorted(run.step_seconds)[len(run.step_seconds) // 10] for run in runs)


def _row(runs: list[RunRecord], base: list[RunRecord]) -> Row:
    first = runs[0]
    pairs = list(zip(runs, base, strict=True))
    differences = [run.best.valid - none.best.valid for run, none in pairs]
    return Row(
        method=first.method,
        noise=first.noise,
        cite=first.cite,
        seeds=len(runs),
        loss=deviation([run.best.valid for run in runs]).mean,
        train=deviation([run.best.train_metric for run in runs]),
        valid=deviation([run.best.valid_metric for run in runs]),
        gap=deviation([run.best.valid - run.best.train for run in runs]).mean,
        difference=None if first.method == NONE else interval(differences),
        wins=sum(difference < 0 for difference in differences),
        best_epoch=statistics.fmean(run.curve.index(run.best) + 1 for run in runs),
        last=deviation([run.curve[-1].valid_metric for run in runs]),
        step=_step_seconds(runs) / _step_seconds(base),
    )
