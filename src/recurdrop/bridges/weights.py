"""Torch's recurrent weights as one record for each layer and direction, to and from a state dict."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.sites import GATES

Array = Tensor | np.ndarray[Any, Any]

_NAME = re.compile(r"(weight|bias)_(ih|hh)_l(\d+)(_reverse)?")


class Weights(NamedTuple):
    """One layer's weights in one direction, gates along the first axis; biases are both there or both None.

    Attributes:
        weight_ih: (G·H, I).
        weight_hh: (G·H, H).
        bias_ih: (G·H,).
        bias_hh: (G·H,).
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None

    @property
    def gates(self) -> int:
        """4 for LSTM, 3 for GRU, 1 for RNN."""
        return len(self.weight_hh) // self.weight_hh.shape[1]

    def biases(self) -> tuple[Tensor, Tensor]:
        """Return b_ih and b_hh, zeros if there are none."""
        zeros = self.weight_hh.new_zeros(len(self.weight_hh))
        return (
            zeros if self.bias_ih is None else self.bias_ih,
            zeros.clone() if self.bias_hh is None else self.bias_hh,
        )

    def checked(self) -> Weights:
        """Return itself after a look at the shapes.

        Raises:
            ValueError: they are not those of an LSTM, GRU or RNN.
        """
        rows, hidden = self.weight_hh.shape if self.weight_hh.dim() == 2 else (0, 0)
        if not hidden or rows % hidden or rows // hidden not in GATES.values():
            raise invalid(
                "the recurrent matrix, in torch's layout, must have shape (G·H, H) with G = 4 for LSTM, 3 for GRU, "
                "1 for RNN",
                tuple(self.weight_hh.shape),
                "Give the weights of such a layer as that library hands them out.",
            )
        for name, value, shape in (
            ("input matrix", self.weight_ih, (rows, self.weight_ih.shape[-1])),
            ("input's bias", self.bias_ih, (rows,)),
            ("recurrent bias", self.bias_hh, (rows,)),
        ):
            if value is not None and tuple(value.shape) != shape:
                raise invalid(
                    f"the {name}, in torch's layout, must have shape {shape} beside a recurrent matrix of "
                    f"{(rows, hidden)}",
                    tuple(value.shape),
                    "Give the weights of one layer together.",
                )
        return self

    def reordered(self, order: Mapping[int, Sequence[int]]) -> Weights:
        """Return the weights with gate k taken from place order[G][k]."""
        places = order[self.gates]

        def move(value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            blocks = value.chunk(len(places))
            return torch.cat([blocks[k] for k in places])

        return Weights(*map(move, self))  # type: ignore[arg-type]


def tensor(value: Array, name: str) -> Tensor:
    """Return a copy of `value` that shares nothing.

    Raises:
        ValueError: it does not hold floating-point numbers.
    """
    found = value.detach().clone() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    if not found.is_floating_point():
        raise invalid(f"{name} must hold floating-point numbers", found.dtype, "Give the weights as trained.")
    return found


def to_state_dict(layers: Sequence[Sequence[Weights]]) -> dict[str, Tensor]:
    """Name the weights of a stack as torch does.

    Args:
        layers: for each layer one `Weights`, or two: forward and backward.

    Returns:
        A state dict, with biases everywhere or nowhere, as torch has it.

    Raises:
        ValueError: the layers can't be one stack.
    """
    if not layers:
        raise invalid("there must be at least one layer", 0, "Give one layer's weights, or several layers'.")
    _check_stack(layers)
    biased = any(weights.bias_ih is not None for parts in layers for weights in parts)
    state = {}
    for index, parts in enumerate(layers):
        for weights, reverse in zip(parts, ("", "_reverse"), strict=False):
            values = [*weights[:2], *(weights.biases() if biased else ())]
            for name, value in zip(Weights._fields, values, strict=False):
                state[f"{name}_l{index}{reverse}"] = value.contiguous()
    return state


def from_state_dict(state: Mapping[str, Array]) -> list[list[Weights]]:
    """Read what `state_dict()` of a recurrent layer returns, as `to_state_dict` takes it.

    Raises:
        ValueError: it is not the whole state dict of an LSTM, GRU or RNN without `proj_size`.
    """
    parts: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, value in state.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise invalid(
                "the names must be those of an LSTM, GRU or RNN without proj_size, such as weight_ih_l0",
                name,
                "Give the bare layer's state_dict(), without parametrizations; projections have no counterpart.",
            )
        kind, matrix, layer, reverse = match.groups()
        parts.setdefault((int(layer), reverse or ""), {})[f"{kind}_{matrix}"] = tensor(value, name)
    names = {frozenset(part) for part in parts.values()}
    if len(names) != 1 or not names <= {frozenset(Weights._fields), frozenset(Weights._fields[:2])}:
        raise invalid("every layer must be there, with the same names", sorted(state), "Give the whole state_dict().")
    layers = list(stacked({key: Weights(**part).checked() for key, part in parts.items()}, ("", "_reverse")))
    _check_stack(layers)
    return layers


def stacked(parts: Mapping[tuple[int, str], Weights], directions: Sequence[str]) -> Iterator[list[Weights]]:
    """Sort weights by layer, and within it as `directions` has them.

    Raises:
        ValueError: one is not there.
    """
    count = len({layer for layer, _ in parts})
    used = [direction for direction in directions if any(direction == d for _, d in parts)]
    wanted = [[(layer, direction) for direction in used] for layer in range(count)]
    if parts.keys() != {key for pair in wanted for key in pair}:
        raise invalid(
            "every layer from 0 on must be there, in the same directions", sorted(parts), "Give the whole state_dict()."
        )
    for pair in wanted:
        yield [parts[key] for key in pair]


def _check_stack(layers: Sequence[Sequence[Weights]]) -> None:
    first = layers[0][0]
    directions = len(layers[0])
    inputs = first.weight_ih.shape[1]
    for index, parts in enumerate(layers):
        wanted = (directions, tuple(first.weight_hh.shape), inputs)
        for weights in parts:
            found = (len(parts), tuple(weights.weight_hh.shape), weights.weight_ih.shape[1])
            if found != wanted:
                raise invalid(
                    f"layer {index} must have, as part of one stack, {wanted[0]} direction(s), a recurrent matrix of "
                    f"{wanted[1]} in torch's layout, and {wanted[2]} inputs",
                    found,
                    "Convert layers that differ one by one, each into a layer of its own.",
                )
        inputs = directions * first.weight_hh.shape[1]
