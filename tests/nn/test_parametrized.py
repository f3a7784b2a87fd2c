"""Weights behind `torch.nn.utils.parametrize` are evaluated once a forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import recurdrop as rd

NOISES = [None, rd.Zoneout(h=0.2), rd.WeightDrop(0.3), rd.Mixout(0.3), rd.Variational(recurrent=0.3)]


class Counted(nn.Module):
    calls = 0

    def forward(self, weight: Tensor) -> Tensor:
        self.calls += 1
        return 2 * weight


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("steps", [5, 40])
def test_once_a_forward(noise: Any, training: bool, steps: int) -> None:
    layer = rd.LSTM(4, 8, 2, noise=noise).train(training)
    for name in ("weight_ih_l0", "weight_hh_l0", "weight_hh_l1"):
        parametrize.register_parametrization(layer, name, Counted())
    counters: list[Any] = [layer.parametrizations[name][0] for name in layer.parametrizations]
    layer(torch.randn(steps, 2, 4))  # the first one may copy reference weights
    for record in (True, False):
        for counter in counters:
            counter.calls = 0
        with torch.set_grad_enabled(record):
            layer(torch.randn(steps, 2, 4))
        assert [counter.calls for counter in counters] == [1, 1, 1]


def test_the_power_iteration_moves_on_once_a_forward_and_stands_when_masks_are_drawn() -> None:
    layer = parametrizations.spectral_norm(rd.GRU(4, 8, noise=rd.Zoneout(h=0.2)), "weight_hh_l0")
    norm: Any = layer.parametrizations.weight_hh_l0[0]
    expected = norm._u.clone(), norm._v.clone()
    once: Any = parametrizations.spectral_norm(nn.Linear(8, 24, bias=False))
    once.parametrizations.weight.original.data = layer.parametrizations.weight_hh_l0.original.data
    once.parametrizations.weight[0]._u.copy_(expected[0])
    once.parametrizations.weight[0]._v.copy_(expected[1])
    layer.sample_masks(5, 2)
    rd.describe(layer)
    assert torch.equal(norm._u, expected[0])
    layer(torch.randn(5, 2, 4))
    once(torch.randn(2, 8))
    torch.testing.assert_close(norm._u, once.parametrizations.weight[0]._u)
    assert not torch.equal(norm._u, expected[0])


@pytest.mark.parametrize("noise", [None, rd.WeightDrop(0.3)], ids=repr)
def test_gradients_and_values_are_those_of_the_weight(noise: Any) -> None:
    torch.manual_seed(1)
    layer, x = rd.LSTM(4, 8, noise=noise).double(), torch.randn(5, 2, 4).double()
    plain = rd.LSTM(4, 8, noise=noise).double()
    plain.load_state_dict({k: 2 * v if k == "weight_hh_l0" else v for k, v in layer.state_dict().items()})
    parametrize.register_parametrization(layer, "weight_hh_l0", Counted())
    outputs = []
    for each in (layer, plain):
        torch.manual_seed(2)
        outputs.append(each(x)[0])
        outputs[-1].sum().backward()
    # Measured 0 and 4e-16.
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-14)
    gradient = layer.parametrizations.weight_hh_l0.original.grad
    torch.testing.assert_close(gradient, 2 * plain.weight_hh_l0.grad, rtol=0, atol=1e-13)
