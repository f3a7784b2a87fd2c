"""Rows of a comparison as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from recurdrop.records import NONE, Row, Spread

COLUMNS = (
    "method",
    "train\nperplexity",
    "validation\nperplexity",
    "gap\nnats",
    "to none\nnats/token",
    "seeds\nbetter",
    "validation\nat the end",
    "time per\nstep",
)


def spread(value: Spread, digits: int = 1) -> str:
    """Return `mean ± half`, the mean alone where there is no half, or "diverged"."""
    if not math.isfinite(value.mean):
        return "diverged"
    half = "" if math.isnan(value.half) else f" ± {value.half:.{digits}f}"
    return f"{value.mean:.{digits}f}{half}"


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's text for each of `COLUMNS`."""
    failed = math.isnan(row.loss)
    return (
        row.method,
        spread(row.train),
        spread(row.valid),
        "–" if failed else f"{row.gap:.2f}".replace("-", "−"),
        "–" if failed or row.difference is None else _signed(row.difference),
        "–" if row.difference is None else f"{row.wins}/{row.seeds}",
        spread(row.last),
        f"{row.step:.2f}×",
    )


def _signed(value: Spread) -> str:
    half = "" if math.isnan(value.half) else f" ± {value.half:.3f}"
    return f"{value.mean:+.3f}{half}".replace("-", "−")


def caption(rows: Sequence[Row]) -> str:
    """Say what the columns hold."""
    seeds = rows[0].seeds
    return (
        f"Best first, by mean validation loss over {seeds} seed{'s' * (seeds != 1)}. Each run stands with its best "
        "epoch, chosen on the validation part, so none gets early stopping too; “at the end” is the last epoch. Train "
        "perplexity is that of a fixed slice, in evaluation mode. ± after a perplexity is the standard deviation over "
        "seeds. "
        "“To none” is the validation loss less that of none with the same seed (below 0 is better; −0.1 is about 10 % "
        "less perplexity), ± half of its 95 % interval (Student's t over the pairs, not corrected for many methods). "
        "Gap is validation less train loss. Time per step is relative to none, from the fastest tenth of the steps."
    )


def verdict(rows: Sequence[Row]) -> str:
    """Say in one sentence what came out."""
    winner = rows[0]
    if math.isnan(winner.loss):
        return "Every run diverged; lower the learning rate."
    if winner.difference is None:
        return "No method is ahead of none on this text with these settings."
    none = next(row for row in rows if row.method == NONE)
    difference, half = winner.difference.mean, winner.difference.half
    start = f"{winner.method} leads: {100 * -math.expm1(difference):.1f} % less validation perplexity than none"
    if not math.isfinite(none.loss):
        return f"{winner.method} leads; none diverged."
    if math.isnan(half):
        return f"{start}, on one seed; more seeds would tell whether that is luck."
    if difference + half < 0:
        return f"{start}, and the 95 % interval of the paired difference is below 0."
    return f"{start}, but the 95 % interval of the paired difference includes 0; more seeds would tell."


def test_line(rows: Sequence[Row]) -> str:
    """Return the test perplexities, which only the winner and none have."""
    found = [f"{row.method} {spread(row.test)}" for row in rows if row.test is not None]
    return f"Test perplexity, looked at once the ranking stood: {', '.join(found)}." if found else ""
