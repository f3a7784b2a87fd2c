"""Weights of Keras's LSTM, GRU and SimpleRNN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurdrop.bridges.weights import Array, Weights, from_state_dict, tensor, to_state_dict
from recurdrop.errors import invalid

# LSTM: i, f, c, o, as torch's i, f, g, o. GRU: z, r, h, against torch's r, z, n; the exchange is its own inverse.
_ORDER = {4: (0, 1, 2, 3), 3: (1, 0, 2), 1: (0,)}


def from_keras(*layers: Sequence[Array], reset_after: bool = True) -> dict[str, Tensor]:
    """Turn Keras's weights into a state dict for `rd.LSTM`, `rd.GRU`, `rd.RNN` or torch's own layer.

    Equation:
        W = kernelᵀ, U = recurrent_kernelᵀ with the gates in torch's order. LSTM and SimpleRNN have one bias, b; here
        b_ih = b and b_hh = 0. The GRU has two, its rows: b_ih and b_hh.

    The weights don't tell everything. The same function is computed if the layer has Keras's default activations
    (tanh, and sigmoid for the gates; Keras before 2.3 had hard_sigmoid; SimpleRNN: tanh or relu, here
    `nonlinearity=`), go_backwards=False, and merge_mode="concat" if it is Bidirectional. Its input is (B, T, F), so
    make the layer here with `batch_first=True`; its arguments `dropout` and `recurrent_dropout` are `rd.Keras`.
    `unit_forget_bias` only says where training starts, and is in the bias.

    Args:
        *layers: what `get_weights()` of a layer returns; several layers become one stack. An LSTM or SimpleRNN gives
            kernel (I, G·H), recurrent kernel (H, G·H) and bias (G·H,); a GRU's bias is (2, 3·H); none with
            `use_bias=False`; a Bidirectional layer has the backward direction's after the forward's.
        reset_after: the GRU's argument of this name. It matters where the weights can't tell, with `use_bias=False`.

    Returns:
        State dict of copies, in the weights' dtype.

    Raises:
        ValueError: a GRU with `reset_after=False`, which torch's GRU can't express; shapes that don't fit; layers of
            one stack that differ in width, cell or directions.

    Example:
        >>> rnn = rd.GRU(14, 32, batch_first=True, noise=rd.Keras(dropout=0.2, recurrent_dropout=0.2))
        >>> rnn.load_state_dict(from_keras(keras_layer.get_weights()))
    """
    return to_state_dict([_read(layer, reset_after) for layer in layers])


def to_keras(state: Mapping[str, Array]) -> list[list[np.ndarray[Any, Any]]]:
    """Turn the state dict of an LSTM, GRU or RNN into Keras's weights.

    LSTM and SimpleRNN of Keras have one bias, and get b_ih + b_hh; the GRU, which must have `reset_after=True`, keeps
    two. Without biases, the Keras layer must have `use_bias=False`.

    Args:
        state: `state_dict()` of a layer without `proj_size`.

    Returns:
        For each layer of the stack the arrays that `set_weights()` takes, of a Bidirectional layer if the stack is.

    Raises:
        ValueError: the state dict is not that of such a layer.
    """
    return [[array for weights in parts for array in _write(weights)] for parts in from_state_dict(state)]


def _read(layer: Sequence[Array], reset_after: bool) -> list[Weights]:
    count = len(layer)
    if isinstance(layer, Mapping) or count not in (2, 3, 4, 6):
        raise invalid(
            "a layer's weights must be a list of 2 arrays, 3 with a bias, and twice as many if it is Bidirectional",
            f"{type(layer).__name__} of {count}",
            "Give layer.get_weights() of one recurrent layer; several layers are several arguments.",
        )
    half = count // 2 if count > 3 else count
    return [_direction(layer[start : start + half], reset_after) for start in range(0, count, half)]


def _direction(arrays: Sequence[Array], reset_after: bool) -> Weights:
    names = ("the kernel", "the recurrent kernel", "the bias")
    found = [tensor(array, name) for array, name in zip(arrays, names, strict=False)]
    weights = Weights(found[0].movedim(0, -1), found[1].movedim(0, -1)).checked()
    if weights.gates == 3 and (not reset_after or any(bias.dim() == 1 for bias in found[2:])):
        raise invalid(
            "a GRU must have reset_after=True, its reset gate after the recurrent product, as torch's GRU",
            f"a bias of shape {tuple(found[2].shape)}" if reset_after else "reset_after=False",
            "Train the layer with reset_after=True; the gate before the product, U_n (r ⊙ h'), has no weights there.",
        )
    if len(found) == 3:
        bias = found[2]
        b_ih, b_hh = bias if weights.gates == 3 and len(bias) == 2 else (bias, torch.zeros_like(bias))
        weights = weights._replace(bias_ih=b_ih, bias_hh=b_hh).checked()
    return weights.reordered(_ORDER)


def _write(weights: Weights) -> list[np.ndarray[Any, Any]]:
    theirs = weights.reordered(_ORDER)
    found = [theirs.weight_ih.T, theirs.weight_hh.T]
    if theirs.bias_ih is not None and theirs.bias_hh is not None:
        found.append(torch.stack(theirs.biases()) if theirs.gates == 3 else theirs.bias_ih + theirs.bias_hh)
    return [value.contiguous().cpu().numpy() for value in found]
