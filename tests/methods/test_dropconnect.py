"""DropConnect."""

from __future__ import annotations

import pytest
import torch

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestBothMatrices(MethodConformance):
    method = rd.DropConnect(0.4, hh=True, ih=True)
    shapes = {"weight_hh": "R C", "weight_ih": "R I"}


class TestPerExample(MethodConformance):
    method = rd.DropConnect(0.4, ih=True, per_example=True)
    shapes = {"weight_hh": "B R C", "weight_ih": "B R I"}


@pytest.mark.parametrize("kind", [rd.LSTM, rd.GRU, rd.RNN])
def test_each_example_has_its_matrix(kind) -> None:
    noise = rd.DropConnect(0.4, ih=True, per_example=True)
    made = kind(3, 4, noise=noise, dtype=torch.float64)
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    (masks,) = made.sample_masks(5, 3)
    y = made(x, masks=[masks])[0]
    for b in range(3):
        own = rd.Masks(weight_hh=masks.weight_hh[b], weight_ih=masks.weight_ih[b])
        assert torch.allclose(made(x[:, b : b + 1], masks=[own])[0], y[:, b : b + 1], rtol=0, atol=1e-13)


def test_a_fast_backend_refuses_per_example_masks_with_the_reason() -> None:
    made = rd.LSTM(3, 4, noise=rd.DropConnect(per_example=True), backend="eager")
    with pytest.raises(rd.BackendError, match="one matrix for all examples"):
        made(torch.zeros(2, 2, 3))


def test_it_needs_a_matrix() -> None:
    with pytest.raises(ValueError, match="needs a matrix to act on"):
        rd.DropConnect(0.5, hh=False)
