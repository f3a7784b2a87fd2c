"""Layers of Keras on its torch backend, and ours with their weights converted, in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from keras_on_torch import keras, quiet
from torch import Tensor

import recurdrop as rd
from recurdrop.bridges import from_keras, to_keras

pytestmark = quiet

BATCH, TIME, INPUT, HIDDEN = 4, 9, 3, 5
# Keras's matmul rounds float64 to float32; measured 3.5e-7 of states within ±1.
ROUNDING = 1e-6
KINDS = {
    "LSTM": (keras.layers.LSTM, rd.LSTM),
    "GRU": (keras.layers.GRU, rd.GRU),
    "RNN": (keras.layers.SimpleRNN, rd.RNN),
}


def _keras_stack(cell: str, layers: int, bidirectional: bool, bias: bool) -> list[Any]:
    """Return Keras's layers, built and with weights that differ in every gate and unit, biases included."""
    found, width = [], INPUT
    for index in range(layers):
        layer = KINDS[cell][0](HIDDEN, return_sequences=True, use_bias=bias, dtype="float64")
        if bidirectional:
            layer = keras.layers.Bidirectional(layer, dtype="float64")
        layer.build((BATCH, TIME, width))
        rng = np.random.default_rng(index)
        layer.set_weights([rng.normal(size=w.shape) / 2 for w in layer.get_weights()])
        width = HIDDEN * (1 + bidirectional)
        found.append(layer)
    return found


def _run(stack: list[Any], x: Tensor) -> Tensor:
    for layer in stack:
        x = layer(x)
    return x.detach()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(BATCH, TIME, INPUT, dtype=torch.float64)


FORMS = [(1, False, True), (2, False, True), (1, True, True), (2, True, True), (2, True, False), (1, False, False)]


@pytest.mark.parametrize(("layers", "bidirectional", "bias"), FORMS)
@pytest.mark.parametrize("cell", KINDS)
def test_our_layer_computes_keras(cell: str, layers: int, bidirectional: bool, bias: bool, x: Tensor) -> None:
    stack = _keras_stack(cell, layers, bidirectional, bias)
    ours = KINDS[cell][1](
        INPUT, HIDDEN, layers, bias=bias, bidirectional=bidirectional, batch_first=True, dtype=torch.float64
    )
    ours.load_state_dict(from_keras(*(layer.get_weights() for layer in stack)), strict=True)
    torch.testing.assert_close(ours(x)[0].detach(), _run(stack, x), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("layers", "bidirectional", "bias"), FORMS)
@pytest.mark.parametrize("cell", KINDS)
def test_keras_computes_our_layer(cell: str, layers: int, bidirectional: bool, bias: bool, x: Tensor) -> None:
    stack = _keras_stack(cell, layers, bidirectional, bias)
    ours = KINDS[cell][1](
        INPUT, HIDDEN, layers, bias=bias, bidirectional=bidirectional, batch_first=True, dtype=torch.float64
    )
    for layer, weights in zip(stack, to_keras(ours.state_dict()), strict=True):
        layer.set_weights(weights)
    torch.testing.assert_close(_run(stack, x), ours(x)[0].detach(), rtol=0, atol=ROUNDING)


def test_keras_with_the_reset_before_the_product_is_refused() -> None:
    layer = keras.layers.GRU(HIDDEN, reset_after=False)
    layer.build((BATCH, TIME, INPUT))
    with pytest.raises(ValueError, match=r"reset_after=True.*; got 'a bias of shape \(15,\)'\. Train the layer"):
        from_keras(layer.get_weights())
