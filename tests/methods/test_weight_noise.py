"""Weight noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import recurdrop as rd
from recurdrop.testing import MethodConformance
from recurdrop.testing.methods import check


class TestWeightNoise(MethodConformance):
    method = rd.WeightNoise(0.1)
    shapes = {"weight_hh": "R C", "weight_ih": "R I"}

    def check_law(self, site: str, value: Tensor, p: float) -> None:
        if value.dim() == 0:
            check(value == 1, "the scale is not 1")
            return
        n = value.numel()
        check(abs(value.mean()) < 5 * p / math.sqrt(n), value.mean())
        check(abs(value.std() - p) < 5 * p / math.sqrt(2 * n), value.std())


def test_it_is_added() -> None:
    made = rd.RNN(3, 4, noise=rd.WeightNoise(0.2), dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    (masks,) = made.sample_masks(5, 2)
    noisy = torch.nn.RNN(3, 4, dtype=torch.float64)
    noisy.load_state_dict(made.state_dict())
    with torch.no_grad():
        noisy.weight_hh_l0 += masks.weight_hh[1]
        noisy.weight_ih_l0 += masks.weight_ih[1]
    assert torch.allclose(made(x, masks=[masks])[0], noisy(x)[0], rtol=0, atol=1e-15)


def test_std_is_no_probability() -> None:
    assert rd.WeightNoise(3).std == 3.0
    with pytest.raises(ValueError, match="std of WeightNoise must be a number of 0 or more; got -1"):
        rd.WeightNoise(-1)
