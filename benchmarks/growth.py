"""How the time grows: at odd sizes against their even neighbours, and with T and B."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.cases import GROWTH, MAIN, in_loop
from benchmarks.rows import Row, Settings
from benchmarks.steps import batch, ours, plain, training
from benchmarks.timing import alternate
from benchmarks.verify import wrong


def growth(settings: Settings) -> Iterator[Row]:
    """Time per flop at one size ÷ at the other; 1 is linear. A single example has nobody to share a weight with."""
    if not settings.wanted("growth"):
        return
    for name, pair in GROWTH.items():
        method = in_loop(pair.odd.cell)[MAIN]
        fault = wrong(pair.odd, method) or wrong(pair.even, method)
        if fault:
            yield Row(name, "time per flop", wrong=fault)
            continue
        steps = {}
        for size, case in (("odd", pair.odd), ("even", pair.even)):
            steps[f"ours, {size}"] = training(case, ours(case, method), batch(case))
            steps[f"torch.nn, {size}"] = training(case, plain(case), batch(case))
        times = alternate(steps, settings.rounds)
        flops = pair.odd.flops / pair.even.flops
        ratios = {
            who: times[f"{who}, odd"].median / times[f"{who}, even"].median / flops for who in ("ours", "torch.nn")
        }
        yield Row(name, "time per flop", ratios["ours"], None, {"torch.nn": ratios["torch.nn"]}, times)
