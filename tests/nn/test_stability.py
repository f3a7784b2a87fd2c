"""Failures that were seen in the wild: states that explode, and weight drop that loses the weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from against_torch import BATCH, HIDDEN, INPUT, OURS, TIME, numbers

import recurdrop as rd

STEPS = 1000
WEIGHT_NOISE = [
    rd.WeightDrop(0.5),
    rd.DropConnect(0.5, ih=True),
    rd.DropConnect(0.5, per_example=True),
    rd.WeightNoise(0.1),
]


@pytest.mark.parametrize("backend", ["eager", "reference"])
@pytest.mark.parametrize("extreme", [False, True], ids=["initial weights", "gates shut"])
@pytest.mark.parametrize(
    "noise",
    [
        rd.Keras(dropout=0.5, recurrent_dropout=0.5),
        rd.Variational(recurrent=0.5),
        rd.Variational(recurrent=0.5, tied=False),
        rd.Dropout(0.5, site="recurrent"),
    ],
    ids=str,
)
def test_gru_state_stays_within_one(noise: rd.Method, extreme: bool, backend: str) -> None:
    # Masking the state itself multiplies what is kept by 1 / (1 - p) at each step: 2^1000 here (Keras 3.0 to 3.7).
    layer = rd.GRU(INPUT, HIDDEN, noise=noise, backend=backend)
    if extreme:
        with torch.no_grad():
            layer.bias_ih_l0[HIDDEN : 2 * HIDDEN] = 40  # z = 1: the old state is carried on
    x = numbers(STEPS, BATCH, INPUT).float()
    h_0 = torch.tanh(numbers(1, BATCH, HIDDEN, seed=1).float())
    with torch.no_grad():
        y, h_n = layer(x, h_0)
    assert float(y.abs().max()) <= 1
    assert float(h_n.abs().max()) <= 1
    assert float(y.abs().max()) > 0.1
    if extreme:
        torch.testing.assert_close(y, h_0.expand_as(y))


@pytest.mark.parametrize("noise", WEIGHT_NOISE, ids=str)
@pytest.mark.parametrize("cell", OURS)
def test_weight_noise_leaves_the_raw_weights_untouched_and_gives_each_a_gradient(cell: str, noise: Any) -> None:
    layer = OURS[cell](INPUT, HIDDEN, 2, bidirectional=True, noise=noise, dtype=torch.float64)
    identity = [id(p) for p in layer.parameters()]
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    versions = [p._version for p in layer.parameters()]
    x = numbers(TIME, BATCH, INPUT)
    outputs = []
    for _ in range(3):
        y, _ = layer(x)
        outputs.append(y.detach())
        y.square().sum().backward()
    layer.eval()(x)[0].sum().backward()
    assert not torch.equal(outputs[0], outputs[1])
    assert [id(p) for p in layer.parameters()] == identity
    assert [p._version for p in layer.parameters()] == versions
    assert all(torch.equal(p, before[name]) for name, p in layer.named_parameters())
    assert list(layer.state_dict()) == list(before)
    assert len(before) == 16
    for name, p in layer.named_parameters():
        assert p.grad is not None, name
        assert bool(p.grad.isfinite().all()), name
        assert float(p.grad.abs().max()) > 0, name


@pytest.mark.parametrize("cell", OURS)
def test_gradient_of_a_dropped_weight_is_zero_and_of_a_kept_one_scaled(cell: str) -> None:
    layer = OURS[cell](INPUT, HIDDEN, bidirectional=True, noise=rd.WeightDrop(0.5), dtype=torch.float64)
    x = numbers(TIME, BATCH, INPUT)
    masks = layer.sample_masks(TIME, BATCH)
    layer(x, masks=masks)[0].square().sum().backward()
    for m, weight in zip(masks, (layer.weight_hh_l0, layer.weight_hh_l0_reverse), strict=True):
        assert set(m.weight_hh.unique().tolist()) == {0.0, 2.0}
        assert torch.equal(weight.grad != 0, m.weight_hh != 0)
    dropped = OURS[cell](INPUT, HIDDEN, bidirectional=True, dtype=torch.float64)
    dropped.load_state_dict(layer.state_dict())
    with torch.no_grad():
        dropped.weight_hh_l0.mul_(masks[0].weight_hh)
        dropped.weight_hh_l0_reverse.mul_(masks[1].weight_hh)
    dropped(x)[0].square().sum().backward()
    for m, name in zip(masks, ("weight_hh_l0", "weight_hh_l0_reverse"), strict=True):
        expected = getattr(dropped, name).grad * m.weight_hh
        torch.testing.assert_close(getattr(layer, name).grad, expected, rtol=1e-12, atol=1e-14)


def test_first_step_from_zeros_does_not_depend_on_the_recurrent_matrix() -> None:
    layer = rd.LSTM(INPUT, HIDDEN, noise=rd.WeightDrop(0.5))
    x = numbers(3, BATCH, INPUT).float()
    first, second = layer(x)[0], layer(x)[0]
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])
