"""Weights of haste's LSTM and GRU."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recurdrop.bridges.weights import Array, Weights, from_state_dict, tensor, to_state_dict
from recurdrop.errors import invalid

# LSTM: i, g, f, o against torch's i, f, g, o. GRU: z, r, n against torch's r, z, n. Both are their own inverse.
_ORDER = {4: (0, 2, 1, 3), 3: (1, 0, 2)}
_NAMES = {4: {"kernel", "recurrent_kernel", "bias"}, 3: {"kernel", "recurrent_kernel", "bias", "recurrent_bias"}}


def from_haste(*layers: Mapping[str, Array]) -> dict[str, Tensor]:
    """Turn the weights of `haste_pytorch.LSTM` or `GRU` into a state dict for `rd.LSTM`, `rd.GRU` or torch's layer.

    Equation:
        W = kernelᵀ, U = recurrent_kernelᵀ with the gates in torch's order; haste has i, g, f, o and z, r, n. The LSTM
        has one bias, b; here b_ih = b and b_hh = 0 (haste's own `to_native_weights` halves it; the sum is the same).
        The GRU, whose reset gate comes after the product, as torch's, has b_ih = bias and b_hh = recurrent_bias.

    Haste's `dropout` and `zoneout` are `noise=rd.Haste(dropout=…, zoneout=…)`. Its `forget_bias` only says where
    training starts, and is in the bias.

    Args:
        *layers: the `state_dict()` of each layer of a stack; haste's layers run in one direction.

    Returns:
        State dict of copies, in the weights' dtype.

    Raises:
        ValueError: names of another layer (LayerNormLSTM, LayerNormGRU, IndRNN: no layer of torch's computes those),
            or shapes that don't fit.
    """
    return to_state_dict([[_read(layer)] for layer in layers])


def to_haste(state: Mapping[str, Array]) -> list[dict[str, Tensor]]:
    """Turn the state dict of an LSTM or GRU into haste's, one for each layer of the stack.

    Haste's layers always have biases: the LSTM gets b_ih + b_hh, and zeros stand for none.

    Args:
        state: `state_dict()` of a layer in one direction and without `proj_size`.

    Raises:
        ValueError: an RNN or a bidirectional layer, which haste lacks, or no state dict of such a layer.
    """
    found = []
    for parts in from_state_dict(state):
        if len(parts) > 1 or parts[0].gates not in _ORDER:
            kind = "a bidirectional layer" if len(parts) > 1 else "an RNN"
            raise invalid(
                "haste has LSTM and GRU in one direction", kind, "Convert each direction of an LSTM or GRU by itself."
            )
        found.append(_write(parts[0]))
    return found


def _read(layer: Mapping[str, Array]) -> Weights:
    if set(layer) not in _NAMES.values():
        raise invalid(
            f"a layer of haste must have {', '.join(sorted(_NAMES[4]))}, and recurrent_bias if it is a GRU",
            sorted(layer),
            "Give the state_dict() of one haste LSTM or GRU; its layer-norm and IndRNN layers have no counterpart.",
        )
    found = {name: tensor(value, name) for name, value in layer.items()}
    bias = found["bias"]
    b_hh = found.get("recurrent_bias", torch.zeros_like(bias))
    w_ih, w_hh = (found[name].movedim(0, -1) for name in ("kernel", "recurrent_kernel"))
    weights = Weights(w_ih, w_hh, bias, b_hh).checked()
    if _NAMES.get(weights.gates) != set(layer):
        raise invalid(
            "recurrent_bias must be there in a GRU, and in no LSTM", sorted(layer), "Give one layer's state_dict()."
        )
    return weights.reordered(_ORDER)


def _write(weights: Weights) -> dict[str, Tensor]:
    theirs = weights.reordered(_ORDER)
    b_ih, b_hh = theirs.biases()
    found = {"kernel": theirs.weight_ih.T.contiguous(), "recurrent_kernel": theirs.weight_hh.T.contiguous()}
    return found | ({"bias": b_ih, "recurrent_bias": b_hh} if theirs.gates == 3 else {"bias": b_ih + b_hh})
