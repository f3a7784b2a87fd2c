"""Back-propagation through windows of varying length: Merity et al. 2018."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.optim import Optimizer

from recurdrop.errors import invalid


@contextmanager
def rescaled_lr(optimizer: Optimizer, factor: float) -> Iterator[None]:
    """Multiply every group's learning rate; what it was is back at the end, also after an error.

    Schedulers of the learning rate don't notice. `torch.optim.ASGD` applies a step size one step late and so does not
    go with it; `NTASGD` does.
    """
    before = [group["lr"] for group in optimizer.param_groups]
    try:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        yield
    finally:
        for group, lr in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = lr


class Window(NamedTuple):
    """One window of a stream: inputs `stream[start:stop]`, targets one step later.

    Attributes:
        start: its first step.
        stop: the step after its last.
        scale: the factor on the learning rate.
    """

    start: int
    stop: int
    scale: float

    def rescaled(self, optimizer: Optimizer) -> Any:
        """Return `rescaled_lr(optimizer, self.scale)`: `with window.rescaled(opt): opt.step()`."""
        return rescaled_lr(optimizer, self.scale)


class VariableBPTT:
    """Windows of random length over streams of text, so that their borders fall elsewhere in every epoch.

    Equation:
        b      = bptt / 2 with probability `half`, else bptt
        length = min(maximum, max(minimum, ⌊N(b, deviation²)⌋))
        lr     ← lr · length / bptt for this window's step
    Evaluation:
        Fixed windows; `half=0, deviation=0` gives them.
    Source:
        Merity, Keskar, Socher 2018, arXiv:1708.02182, section 4.1: bptt 70, half of it with probability 0.05,
        deviation 5.
    Authors' code:
        At least 5 steps, and at most bptt + 10 in versions that save memory (`maximum`). A last window of a single step
        is skipped there; here it is kept.

    Without the factor on lr, a mean loss over tokens would give a token of a short window more weight. The last window
    ends with the stream and keeps the factor of its drawn length.

    Iterating gives one epoch, and goes on where an interrupted one stopped: `state_dict` inside the loop counts the
    window in hand as done. An epoch's windows are a function of seed and epoch alone; no random state is touched.

    Args:
        steps: steps of a stream that have a target: its length - 1.
        bptt: length of a full window in steps.
        half: probability of a window half as long.
        deviation: standard deviation of the length, in steps.
        minimum: fewest steps of a window, but for the last.
        maximum: most steps; None for no limit.
        seed: of the lengths; None for that of torch's default generator (`torch.initial_seed()`).

    Attributes:
        epoch: passes done.
        done: windows done of this pass.

    Raises:
        ValueError: an argument breaks its rule.

    Example:
        >>> for window in (windows := VariableBPTT(len(stream) - 1, bptt=70)):
        ...     x, y = stream[window.start : window.stop], stream[window.start + 1 : window.stop + 1]
        ...     ...  # zero_grad, loss, backward, clipping
        ...     with window.rescaled(optimizer):
        ...         optimizer.step()
    """

    def __init__(
        self,
        steps: int,
        bptt: int = 70,
        *,
        half: float = 0.05,
        deviation: float = 5.0,
        minimum: int = 5,
        maximum: int | None = None,
        seed: int | None = None,
    ) -> None:
        for name, count in (("steps", steps), ("bptt", bptt), ("minimum", minimum)):
            if count < 1:
                raise invalid(f"{name} of VariableBPTT must be 1 or more", count, "Give a number of steps.")
        if maximum is not None and maximum < minimum:
            raise invalid("maximum of VariableBPTT must be at least minimum", maximum, f"Give {minimum} or more.")
        if not 0 <= half <= 1:
            raise invalid("half of VariableBPTT must be a probability", half, "Give e.g. 0.05.")
        if not 0 <= deviation < math.inf:
            raise invalid("deviation of VariableBPTT must be 0 or more", deviation, "Give steps, e.g. 5.")
        if seed is not None and seed < 0:
            raise invalid("seed of VariableBPTT must be 0 or more", seed, "Give a whole number, or None.")
        self.steps, self.bptt, self.half, self.deviation = steps, bptt, half, deviation
        self.minimum, self.maximum = minimum, maximum
        self.seed = torch.initial_seed() if seed is None else seed
        self.epoch = self.done = 0

    def windows(self, epoch: int) -> list[Window]:
        """Return all windows of an epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        start, found = 0, []
        while start < self.steps:
            base = self.bptt / 2 if rng.random() < self.half else self.bptt
            length = max(self.minimum, int(rng.normal(base, self.deviation)))
            if self.maximum is not None:
                length = min(length, self.maximum)
            found.append(Window(start, min(start + length, self.steps), length / self.bptt))
            start += length
        return found

    def __iter__(self) -> Iterator[Window]:
        windows = self.windows(self.epoch)
        while self.done < len(windows):
            self.done += 1
            yield windows[self.done - 1]
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Return the place and the seed."""
        return {"seed": self.seed, "epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from a place, with its seed."""
        self.seed, self.epoch, self.done = (state_dict[name] for name in ("seed", "epoch", "done"))
