"""What language models of every make have in common: the loss, and states that are cut off from their history."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from torch import Tensor
from torch.nn import functional as F

S = TypeVar("S")


def cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return the loss in nats: of logits (T, B, V) and word numbers (T, B)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def detached(state: S) -> S:
    """Return a state, a tensor or tuples of them, cut off from its history."""
    cut = state.detach() if isinstance(state, Tensor) else tuple(map(detached, cast(tuple[Any, ...], state)))
    return cast(S, cut)
