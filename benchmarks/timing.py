"""Candidates in turns: A B A B."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.steps import Step

WARM_UPS = 2


@dataclass(frozen=True)
class Times:
    """The seconds of one candidate's steps."""

    median: float
    least: float


def alternate(steps: Mapping[str, Step], rounds: int, *, pause: float = 0.0) -> dict[str, Times]:
    """Run every candidate once a round, after warm-ups, without the garbage collector.

    Args:
        steps: the candidates.
        rounds: that count.
        pause: seconds of rest before each step, so that the threads of another process come to rest.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    gc.collect()
    gc.disable()
    try:
        for done in range(WARM_UPS + rounds):
            for name, step in steps.items():
                time.sleep(pause)
                taken = step()
                if done >= WARM_UPS:
                    seconds[name].append(taken)
    finally:
        gc.enable()
    return {name: Times(statistics.median(taken), min(taken)) for name, taken in seconds.items()}
