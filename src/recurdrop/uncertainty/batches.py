"""Batches inside arguments and states: repeated, cut and joined along the axis of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid

Dims = int | Sequence[int]


def batch_of(args: Sequence[Any], in_dims: Dims) -> int:
    """Return B, the number of examples in every tensor.

    Raises:
        ValueError: there is none, or more than one; what is no tensor.
    """
    sizes = set[int]()
    for arg, dim in zip(args, _dims(args, in_dims), strict=True):
        for tensor in _tensors(arg):
            if not -tensor.dim() <= dim < tensor.dim():
                rule = f"every tensor must have the axis {dim} that in_dims names"
                raise invalid(rule, tuple(tensor.shape), "Give one axis for each argument.")
            sizes.add(tensor.shape[dim])
    if len(sizes) != 1:
        raise invalid("the arguments must have one number of examples", sorted(sizes), "Give their axes in in_dims.")
    return sizes.pop()


def repeated(args: Sequence[Any], in_dims: Dims, count: int) -> list[Any]:
    """Return the arguments with their examples `count` times over, one batch after the other."""

    def many(value: Any, dim: int) -> Any:
        return _map(value, lambda x: torch.cat([x] * count, dim))

    return [many(arg, dim) for arg, dim in zip(args, _dims(args, in_dims), strict=True)]


def rows_of(state: Any, start: int, rows: int, total: int) -> Any:
    """Return some examples of a state, which has them on axis 1.

    Raises:
        ValueError: it has not `total` examples.
    """

    def part(x: Tensor) -> Tensor:
        if x.dim() < 2 or x.shape[1] != total:
            raise invalid(
                f"the state of all samples has {total} examples on axis 1",
                tuple(x.shape),
                "Give the state of the prediction before; one that samples share is an argument like any other.",
            )
        return x.narrow(1, start, rows).contiguous()

    return _map(state, part)


def joined(states: Sequence[Any]) -> Any:
    """Join states along axis 1."""
    rest = [iter(list(_tensors(state))) for state in states]
    return _map(states[0], lambda _: torch.cat([next(tensors) for tensors in rest], 1))


def _dims(args: Sequence[Any], in_dims: Dims) -> Sequence[int]:
    dims = [in_dims] * len(args) if isinstance(in_dims, int) else in_dims
    if len(dims) != len(args) or not args:
        raise invalid("in_dims must be one axis, or one for each argument", in_dims, f"There are {len(args)}.")
    return dims


def _tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _map(value, found.append)
    return found


def _map(value: Any, act: Callable[[Tensor], Any]) -> Any:
    """Act on every tensor in a value, in order."""
    if isinstance(value, Tensor):
        return act(value)
    if isinstance(value, dict):
        return {name: _map(part, act) for name, part in value.items()}
    if isinstance(value, tuple | list) and not isinstance(value, PackedSequence):
        parts = [_map(part, act) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    raise invalid("arguments and states are tensors", type(value).__name__, "Give padded tensors, and lengths.")
