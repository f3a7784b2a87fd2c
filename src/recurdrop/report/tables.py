"""Rows of a comparison as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from recurdrop.records import NONE, Metric, Row, RunRecord, Spread


def columns(run: RunRecord) -> tuple[str, ...]:
    """Return the heads of the table, from any run of the comparison."""
    metric = named(run.metric)
    unit = run.loss_unit.partition(" (")[0].replace(" per ", "/")
    return (
        "method",
        f"train\n{metric}",
        f"validation\n{metric}",
        f"gap\n{unit}",
        f"to none\n{unit}",
        "seeds\nbetter",
        "validation\nat the end",
        "time per\nstep",
    )


def named(metric: Metric) -> str:
    """Return a metric's name with its unit."""
    return f"{metric.name}, {metric.unit}" if metric.unit else metric.name


def spread(value: Spread, digits: int = 1) -> str:
    """Return `mean ± half`, the mean alone where there is no half, or "diverged"."""
    if not math.isfinite(value.mean):
        return "diverged"
    half = "" if math.isnan(value.half) else f" ± {value.half:.{digits}f}"
    return _minus(f"{value.mean:.{digits}f}{half}")


def cells(row: Row, metric: Metric) -> tuple[str, ...]:
    """Return a row's text for each of `columns`."""
    if row.baseline:
        return (f"{row.method} (baseline)", "–", spread(row.valid, metric.digits), *"–––––")
    failed = math.isnan(row.loss)
    return (
        row.method,
        spread(row.train, metric.digits),
        spread(row.valid, metric.digits),
        "–" if failed else _minus(f"{row.gap:.2f}"),
        "–" if failed or row.difference is None else _signed(row.difference),
        "–" if row.difference is None else f"{row.wins}/{row.seeds}",
        spread(row.last, metric.digits),
        f"{row.step:.2f}×",
    )


def _signed(value: Spread) -> str:
    if not math.isfinite(value.mean):
        return "–"
    half = "" if math.isnan(value.half) else f" ± {value.half:.3f}"
    return _minus(f"{value.mean:+.3f}{half}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def caption(rows: Sequence[Row], run: RunRecord) -> str:
    """Say what the columns hold."""
    name, seeds = run.metric.name, winner(rows).seeds
    example = "; −0.1 is about 10 % less perplexity" if name == "perplexity" else ""
    bare = any(row.baseline and math.isnan(row.loss) for row in rows)
    place = f"; one without a loss stands right above the first method that is worse by {name}"
    baselines = f" A baseline needs no training{place * bare}."
    return (
        f"Best first, by mean validation loss over {seeds} seed{'s' * (seeds != 1)}. Each run stands with its best "
        f"epoch, chosen on the validation part, so none gets early stopping too; “at the end” is the last epoch. Train "
        f"{name} is that of a fixed slice, in evaluation mode. ± after {name} is the standard deviation over seeds. "
        f"“To none” is the validation loss less that of none with the same seed (below 0 is better{example}), "
        "± half of its 95 % interval (Student's t over the pairs, not corrected for many methods). "
        "Gap is validation less train loss. Time per step is relative to none, from the fastest tenth of the steps."
        + baselines
        * any(row.baseline for row in rows)
    )


def winner(rows: Sequence[Row]) -> Row:
    """Return the best row that is no baseline."""
    return next(row for row in rows if not row.baseline)


def best_baseline(rows: Sequence[Row], metric: Metric) -> Row | None:
    """Return the baseline with the best metric, if there is one."""
    found = [row for row in rows if row.baseline and math.isfinite(row.valid.mean)]
    return min(found, key=lambda row: -row.valid.mean if metric.higher_is_better else row.valid.mean, default=None)


def verdict(rows: Sequence[Row], metric: Metric) -> str:
    """Say in a sentence or two what came out."""
    best, baseline = winner(rows), best_baseline(rows, metric)
    found = _verdict(best, next(row for row in rows if row.method == NONE), metric)
    if baseline is None or math.isnan(best.loss):
        return found
    theirs, value = _value(baseline, metric), _value(best, metric)
    mine = "the model without regularization" if best.method == NONE else best.method
    if metric.better(best.valid.mean, baseline.valid.mean):
        return f"{found} The best baseline, {baseline.method} (no training), has validation {metric.name} {theirs}."
    return (
        f"{found} But {mine} does not beat the baseline {baseline.method}, which needs no training: "
        f"validation {metric.name} {value} against {theirs}."
    )


def _verdict(best: Row, none: Row, metric: Metric) -> str:
    if math.isnan(best.loss):
        return "Every run diverged; lower the learning rate."
    if best.difference is None:
        return "No method is ahead of none on these data with these settings."
    if not math.isfinite(none.loss):
        return f"{best.method} leads; none diverged."
    start = f"{best.method} leads: {_lead(best, none, metric)}"
    difference, half = best.difference.mean, best.difference.half
    if math.isnan(half):
        return f"{start}, on one seed; more seeds would tell whether that is luck."
    if difference + half < 0:
        return f"{start}, and the 95 % interval of the paired difference is below 0."
    return f"{start}, but the 95 % interval of the paired difference includes 0; more seeds would tell."


def _lead(best: Row, none: Row, metric: Metric) -> str:
    """Return a share where that means something, else both values: less loss need not be a better metric."""
    mine, base = best.valid.mean, none.valid.mean
    if not metric.higher_is_better and 0 < mine < base:
        return f"{100 * (1 - mine / base):.1f} % less validation {metric.name} than none"
    return f"validation {metric.name} {_value(best, metric)}, none {_value(none, metric)}"


def _value(row: Row, metric: Metric) -> str:
    return _minus(f"{row.valid.mean:.{metric.digits}f} {metric.unit}".rstrip())


def test_line(rows: Sequence[Row], metric: Metric) -> str:
    """Return the test results, which only the winner, none and baselines have."""
    found = [f"{row.method} {spread(row.test, metric.digits)}" for row in rows if row.test is not None]
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"Test {metric.name}{unit}, looked at once the ranking stood: {'; '.join(found)}." if found else ""
