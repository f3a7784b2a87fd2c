"""Masks that layers and modules of ours get from outside a call: held over calls, or shared by two passes.

Whoever gives masks does so in a context of its own (`contextvars`), so that other threads that run the same model see
nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

Giver = Callable[[nn.Module, Any], Any]
"""From a module of ours and its input to what it takes as `masks=` or `mask=`; None leaves it as it is."""

_GIVERS: ContextVar[tuple[Giver, ...]] = ContextVar("givers", default=())


def given_masks(module: nn.Module, input: Any) -> Any:
    """Return the masks that the outermost giver has for a call in training mode; None where there is none."""
    if torch.compiler.is_compiling():
        return None  # models with compiled parts are refused by everyone who gives masks
    for giver in _GIVERS.get():
        masks = giver(module, input)
        if masks is not None:
            return masks
    return None


@contextmanager
def giving(giver: Giver) -> Iterator[None]:
    """Let a function give masks to calls in this thread."""
    token = _GIVERS.set((*_GIVERS.get(), giver))
    try:
        yield
    finally:
        _GIVERS.reset(token)
