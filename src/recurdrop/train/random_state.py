"""Every random state that training depends on, as plain values and tensors."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """Return the states of torch's generators, NumPy's and Python's."""
    _, keys, *rest = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, list(words), gauss],
    }


def restore(state: dict[str, Any]) -> None:
    """Put back what `capture` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))


def seed(number: int) -> None:
    """Seed torch's generators, NumPy's and Python's."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


@contextmanager
def put_back() -> Iterator[None]:
    """Put back at the end what was before, also after an error."""
    state = capture()
    try:
        yield
    finally:
        restore(state)
