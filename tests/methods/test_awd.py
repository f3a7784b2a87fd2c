"""AWD-LSTM's noise in the layer."""

from __future__ import annotations

import torch

import recurdrop as rd
from recurdrop.testing import MethodConformance
from recurdrop.testing.methods import tensors


class TestAWD(MethodConformance):
    method = rd.AWD()
    shapes = {"weight_hh": "R C", "input": "1 B I", "output": "1 B H"}


def test_it_is_its_two_parts() -> None:
    noise = rd.AWD(input=0.1, between=0.2, output=0.3, weight=0.4)
    parts = [rd.Locked(input=0.1, between=0.2, output=0.3), rd.WeightDrop(0.4)]
    drawn = [
        tensors(rd.LSTM(5, 6, 3, noise=n).sample_masks(4, 3, generator=torch.Generator().manual_seed(0)))
        for n in (noise, parts)
    ]
    assert len(drawn[0]) == 7
    for (site, a), (other, b) in zip(*drawn, strict=True):
        assert site == other
        assert torch.equal(a, b)
