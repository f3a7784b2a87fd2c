"""Keras's recurrent layers on its torch backend, and ours with Keras's weights and Keras's own masks."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from keras_on_torch import keras, quiet
from torch import Tensor

import recurdrop as rd

pytestmark = quiet

BATCH, TIME, INPUT, HIDDEN = 4, 9, 3, 5
# Keras's matmul rounds float64 to float32; measured 5e-7 of states within ±1.
ROUNDING = 2e-6


class Peer(NamedTuple):
    """How a cell of Keras and one of torch correspond.

    Attributes:
        keras: the layer's class in Keras.
        ours: the layer's class here.
        gates: for each gate in torch's order (i, f, g, o; r, z, n), its place in Keras's (i, f, c, o; z, r, h).
    """

    keras: Any
    ours: Any
    gates: tuple[int, ...]


PEERS = {
    "LSTM": Peer(keras.layers.LSTM, rd.LSTM, (0, 1, 2, 3)),
    "GRU": Peer(keras.layers.GRU, rd.GRU, (1, 0, 2)),
    "RNN": Peer(keras.layers.SimpleRNN, rd.RNN, (0,)),
}
RATES = [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (0.4, 0.3)]


def _keras_layer(cell: str, dropout: float, recurrent_dropout: float, **extra: Any) -> Any:
    """Return Keras's layer with weights that differ in every gate and unit, biases included."""
    options = {"return_sequences": True, "return_state": True, "dtype": "float64", "seed": 1}
    layer = PEERS[cell].keras(HIDDEN, dropout=dropout, recurrent_dropout=recurrent_dropout, **options, **extra)
    layer.build((BATCH, TIME, INPUT))
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(w.shape, generator=generator, dtype=torch.float64) / 2 for w in layer.weights]
    layer.set_weights([w.numpy() for w in drawn])
    return layer


def _load(ours: Any, cell: str, weights: list[Tensor]) -> None:
    """Give our layer Keras's weights: kernel (I, G·H), recurrent kernel (H, G·H), bias (G·H,) or, GRU, (2, G·H)."""
    kernel, recurrent, bias = weights
    order = PEERS[cell].gates

    def by_gate(value: Tensor) -> Tensor:
        blocks = value.chunk(len(order), -1)
        return torch.cat([blocks[k] for k in order], -1)

    b_ih, b_hh = bias if bias.dim() == 2 else (bias, torch.zeros_like(bias))
    state = {"weight_ih_l0": by_gate(kernel).T, "weight_hh_l0": by_gate(recurrent).T}
    ours.load_state_dict(state | {"bias_ih_l0": by_gate(b_ih), "bias_hh_l0": by_gate(b_hh)}, strict=True)


def _ours(cell: str, theirs: Any, dropout: float, recurrent_dropout: float, backend: str) -> Any:
    noise = rd.Keras(dropout=dropout, recurrent_dropout=recurrent_dropout)
    layer = PEERS[cell].ours(INPUT, HIDDEN, batch_first=True, noise=noise, backend=backend, dtype=torch.float64)
    _load(layer, cell, [torch.tensor(w) for w in theirs.get_weights()])
    return layer


def _listen(cell: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keep the masks that Keras's cell draws."""
    heard: dict[str, Any] = {}

    def keep(name: str) -> None:
        inner = getattr(cell, name)

        def get(step_input: Tensor) -> Any:
            heard[name] = inner(step_input)
            return heard[name]

        monkeypatch.setattr(cell, name, get)

    keep("get_dropout_mask")
    keep("get_recurrent_dropout_mask")
    return heard


def _as_mask(heard: Any, order: tuple[int, ...]) -> Tensor | None:
    """Return Keras's mask, a tensor (B, F) or a list of one a gate, as (1, B, F) or (1, B, G, F) in torch's order."""
    if heard is None:
        return None
    if isinstance(heard, list):
        return torch.stack([heard[k].detach() for k in order], 1)[None]
    return heard.detach()[None]


def _assert_same(found: tuple[Any, Any], keras_result: list[Tensor]) -> None:
    """Compare (y, state) with Keras's [y, h] or [y, h, c]."""
    y, state = found
    states = state if isinstance(state, tuple) else (state,)
    expected = [value.detach() for value in keras_result]
    assert len(expected) == 1 + len(states)
    torch.testing.assert_close(y.detach(), expected[0], rtol=0, atol=ROUNDING)
    for ours, theirs in zip(states, expected[1:], strict=True):
        torch.testing.assert_close(ours[0].detach(), theirs, rtol=0, atol=ROUNDING)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(BATCH, TIME, INPUT, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("backend", ["auto", "eager", "reference"])
@pytest.mark.parametrize("rates", RATES, ids=str)
@pytest.mark.parametrize("cell", PEERS)
def test_with_keras_masks_our_training_forward_is_keras(
    cell: str, rates: tuple[float, float], backend: str, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = _keras_layer(cell, *rates)
    ours = _ours(cell, theirs, *rates, backend)
    heard = _listen(theirs.cell, monkeypatch)
    expected = theirs(x, training=True)
    order = PEERS[cell].gates
    given = _as_mask(heard.get("get_dropout_mask"), order)
    recurrent = _as_mask(heard.get("get_recurrent_dropout_mask"), order)
    assert ((given is not None), (recurrent is not None)) == tuple(rate > 0 for rate in rates)
    for mask, rate in ((given, rates[0]), (recurrent, rates[1])):
        if mask is not None:
            values = {0.0, round(1 / (1 - rate), 6)}
            assert {round(v, 6) for v in mask.flatten().tolist()} == values, "Keras's mask is not what this test thinks"
    _assert_same(ours(x, masks=(rd.Masks(input=given, recurrent=recurrent),)), expected)
    if any(rates):
        y, _ = ours.eval()(x)
        assert not torch.allclose(y, expected[0])


@pytest.mark.parametrize("rates", RATES, ids=str)
@pytest.mark.parametrize("cell", PEERS)
def test_masks_are_shared_as_keras_shares_them(
    cell: str, rates: tuple[float, float], x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = _keras_layer(cell, *rates)
    heard = _listen(theirs.cell, monkeypatch)
    theirs(x, training=True)
    (masks,) = _ours(cell, theirs, *rates, "auto").sample_masks(TIME, BATCH)
    order = PEERS[cell].gates
    for name, ours in (("get_dropout_mask", masks.input), ("get_recurrent_dropout_mask", masks.recurrent)):
        expected = _as_mask(heard.get(name), order)
        assert (ours is None) == (expected is None)
        if ours is not None and expected is not None:
            assert ours.shape == expected.shape
            assert (ours.dim() == 4) == (rates[1] > 0 and cell != "RNN")
            if ours.dim() == 4:
                assert not torch.equal(ours[:, :, 0], ours[:, :, 1])
                assert not torch.equal(expected[:, :, 0], expected[:, :, 1])


@pytest.mark.parametrize("rates", RATES, ids=str)
@pytest.mark.parametrize("cell", PEERS)
def test_evaluation_is_keras_evaluation(cell: str, rates: tuple[float, float], x: Tensor) -> None:
    theirs = _keras_layer(cell, *rates)
    ours = _ours(cell, theirs, *rates, "auto").eval()
    state = torch.get_rng_state()
    _assert_same(ours(x), theirs(x, training=False))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("cell", PEERS)
def test_initial_state_and_gradients_are_keras(cell: str, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = _keras_layer(cell, 0.4, 0.3)
    ours = _ours(cell, theirs, 0.4, 0.3, "eager")
    heard = _listen(theirs.cell, monkeypatch)
    start = [torch.randn(BATCH, HIDDEN, dtype=torch.float64) for _ in range(2 if cell == "LSTM" else 1)]
    theirs_x, ours_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = theirs(theirs_x, initial_state=start if cell == "LSTM" else start[0], training=True)
    order = PEERS[cell].gates
    masks = rd.Masks(
        input=_as_mask(heard["get_dropout_mask"], order), recurrent=_as_mask(heard["get_recurrent_dropout_mask"], order)
    )
    hx = [h[None] for h in start]
    found = ours(ours_x, tuple(hx) if cell == "LSTM" else hx[0], masks=(masks,))
    _assert_same(found, expected)
    weight = torch.randn_like(expected[0])
    (expected[0] * weight).sum().backward()
    (found[0] * weight).sum().backward()
    scale = float(theirs_x.grad.abs().max())
    torch.testing.assert_close(ours_x.grad, theirs_x.grad, rtol=0, atol=ROUNDING * scale)
