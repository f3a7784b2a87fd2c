"""The temporal order problem: which of two symbols came first, told at the end of the sequence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DISTRACTORS = 4
SYMBOLS = DISTRACTORS + 2
CLASSES = ("XX", "XY", "YX", "YY")


def sequences(
    rng: np.random.Generator, count: int, *, length: int, low: int, high: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw sequences.

    X or Y stands at one step of [0, low) and at one of [low, high); all other steps are distractors, each of the four
    equally probable.

    Source:
        Hochreiter & Schmidhuber 1997, Neural Computation 9:1735, experiment 6a, without its symbols for start and end.

    Args:
        rng: what draws.
        count: B.
        length: T, steps.
        low: end of the range of the first symbol.
        high: end of that of the second.

    Returns:
        Symbols (B, T), 0 to 3 distractors, 4 for X and 5 for Y; the number of each sequence's class (B,) in `CLASSES`.
    """
    symbols = rng.integers(DISTRACTORS, size=(count, length))
    pair = rng.integers(2, size=(count, 2))
    rows = np.arange(count)
    symbols[rows, rng.integers(low, size=count)] = DISTRACTORS + pair[:, 0]
    symbols[rows, rng.integers(low, high, size=count)] = DISTRACTORS + pair[:, 1]
    return symbols, 2 * pair[:, 0] + pair[:, 1]
