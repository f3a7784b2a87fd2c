"""Weights of AllenNLP's augmented LSTM and the stacks made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from recurdrop.bridges.weights import Array, Weights, from_state_dict, stacked, tensor, to_state_dict
from recurdrop.errors import invalid

Module = Literal["AugmentedLstm", "BiAugmentedLstm", "StackedBidirectionalLstm"]
_PLACES: dict[str, str] = {
    "AugmentedLstm": "",
    "BiAugmentedLstm": "{direction}_layers.{layer}.",
    "StackedBidirectionalLstm": "{direction}_layer_{layer}.",
}
_REQUIRED = ("input_linearity.weight", "state_linearity.weight", "state_linearity.bias")
# An AugmentedLstm of AllenNLP 0.9 has no `cell`.
_NAME = re.compile(r"(?:(forward|backward)_layers?[._](\d+)\.)?(?:cell\.)?((?:input|state)_linearity\.(?:weight|bias))")


def from_allennlp(state: Mapping[str, Array]) -> dict[str, Tensor]:
    """Turn the weights of an AugmentedLstm, or of a stack of them, into a state dict for `rd.LSTM` or torch's.

    Equation:
        W, b_ih are input_linearity, U, b_hh state_linearity; the gates have torch's order, i, f, g, o. Without
        `use_input_projection_bias` (always in StackedBidirectionalLstm) b_ih = 0.

    What can't be expressed is the highway (`use_highway=True`, AllenNLP's default), since torch's LSTM has no gate
    past the cell; also StackedAlternatingLstm, whose layers alternate in direction, and ELMo's cell with projection
    and clipping. The weights don't tell `go_forward`: an AugmentedLstm with `go_forward=False` is an LSTM on the
    reversed sequence. `recurrent_dropout_probability` and `layer_dropout_probability` are the arguments of
    `noise=rd.AllenNLP(…)`.

    Args:
        state: `state_dict()` of AugmentedLstm, BiAugmentedLstm (one or two directions) or StackedBidirectionalLstm.

    Returns:
        State dict of copies, in the weights' dtype.

    Raises:
        ValueError: a highway, another module, or shapes that don't fit.
    """
    parts: dict[tuple[int, str], dict[str, Array]] = {}
    for name, value in state.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise invalid(
                "the names must be those of AugmentedLstm, BiAugmentedLstm or StackedBidirectionalLstm",
                name,
                "Give that module's own state_dict(), not its wrapper's; of a StackedAlternatingLstm each layer's "
                "by itself, for an LSTM of its own, on reversed input for every second one.",
            )
        direction, layer, parameter = match.groups()
        parts.setdefault((int(layer or 0), direction or "forward"), {})[parameter] = value
    read = {key: _read(part) for key, part in parts.items()}
    return to_state_dict(list(stacked(read, ("forward", "backward"))))


def to_allennlp(state: Mapping[str, Array], module: Module = "BiAugmentedLstm") -> dict[str, Tensor]:
    """Turn the state dict of an LSTM into that of a module of AllenNLP 2.10 with `use_highway=False`.

    StackedBidirectionalLstm has no bias on its input: state_linearity gets b_ih + b_hh there. In the others the
    biases stay apart, for `bias=True` (`use_input_projection_bias=True`); zeros stand for none.

    Args:
        state: `state_dict()` of an LSTM without `proj_size`.
        module: "AugmentedLstm" (one layer, one direction), "BiAugmentedLstm", or "StackedBidirectionalLstm" (two
            directions).

    Raises:
        ValueError: no LSTM, a stack that the module can't have, an unknown module.
    """
    if module not in _PLACES:
        raise invalid(f"module must be one of {', '.join(map(repr, _PLACES))}", module, "Choose one of them.")
    layers = from_state_dict(state)
    if layers[0][0].gates != 4:
        raise invalid(
            "AllenNLP's augmented cell is an LSTM", f"{layers[0][0].gates} gate(s)", "Give an LSTM's weights."
        )
    shape = (len(layers), len(layers[0]))
    if (module == "AugmentedLstm" and shape != (1, 1)) or (module == "StackedBidirectionalLstm" and shape[1] != 2):
        rule = "one layer and one direction" if module == "AugmentedLstm" else "two directions"
        raise invalid(f"{module} has {rule}", f"{shape[0]} layer(s), {shape[1]} direction(s)", "Use BiAugmentedLstm.")
    found = {}
    for layer, parts in enumerate(layers):
        for weights, direction in zip(parts, ("forward", "backward"), strict=False):
            place = _PLACES[module].format(layer=layer, direction=direction) + "cell."
            b_ih, b_hh = weights.biases()
            found[place + "input_linearity.weight"] = weights.weight_ih
            found[place + "state_linearity.weight"] = weights.weight_hh
            if module == "StackedBidirectionalLstm":
                found[place + "state_linearity.bias"] = b_ih + b_hh
            else:
                found[place + "input_linearity.bias"] = b_ih
                found[place + "state_linearity.bias"] = b_hh
    return found


def _read(part: Mapping[str, Array]) -> Weights:
    found = {name: tensor(value, name) for name, value in part.items()}
    w_ih, w_hh, b_hh = (found.get(name) for name in _REQUIRED)
    if w_ih is None or w_hh is None or b_hh is None:
        raise invalid(f"a layer must have {', '.join(_REQUIRED)}", sorted(part), "Give the whole state_dict().")
    if w_hh.dim() == 2 and len(w_hh) != 4 * w_hh.shape[1]:
        raise invalid(
            "state_linearity.weight must have shape (4·H, H), as an LSTM has; (5·H, H) has a highway",
            tuple(w_hh.shape),
            "Train it with use_highway=False, or keep that module.",
        )
    b_ih = found.get("input_linearity.bias", torch.zeros_like(b_hh))
    return Weights(w_ih, w_hh, b_ih, b_hh).checked()
