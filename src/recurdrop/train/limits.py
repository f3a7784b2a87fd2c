"""Settings that describe more than a machine holds are named before memory runs out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from recurdrop.errors import invalid
from recurdrop.kinds.base import Task

_TOO_LARGE = ("allocate memory", "out of memory", "overflow", "too large", "invalid size", "negative dimension")
"""What torch says of a tensor that has no place."""


def check_model(task: Task[Any, Any], settings: Any) -> None:
    """Make a model as `task.build` does, without its memory, to see that it can be made; torch's generator stays.

    Raises:
        ValueError: settings that don't fit together, or a model that is larger than the machine's memory.
    """
    with torch.random.fork_rng(devices=[]), fits_in_memory("model", settings), torch.device("meta"):
        model = task.build(settings)
    needed = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if needed > _memory():
        raise _too_large(
            "model", settings, f"{needed / 2**30:.0f} GiB of weights for {_memory() / 2**30:.0f} of memory"
        )


@contextmanager
def fits_in_memory(part: str, settings: Any) -> Iterator[None]:
    """Blame the largest number among some settings where what is made from them does not fit into memory.

    Args:
        part: name of the settings, such as "model".
        settings: dataclass.

    Raises:
        ValueError: memory runs out inside.
    """
    try:
        yield
    except (MemoryError, OverflowError) as error:
        raise _too_large(part, settings, str(error) or "no memory left") from None
    except (RuntimeError, TypeError) as error:
        first_line = str(error).partition("\n")[0]
        if not any(words in first_line.lower() for words in _TOO_LARGE):
            raise
        raise _too_large(part, settings, first_line) from None


def _too_large(part: str, settings: Any, why: str) -> ValueError:
    numbers = {name: _largest(value) for name, value in vars(settings).items()}
    name = max(numbers, key=lambda key: numbers[key])
    value = f"{part}.{name} = {getattr(settings, name)} ({why})"
    return invalid(f"what [{part}] describes must fit into memory", value, "Lower it.")


def _largest(value: Any) -> float:
    if isinstance(value, tuple):
        return max(map(_largest, value), default=0)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _memory() -> float:
    """Return the bytes of the machine's memory; infinity where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return float("inf")
