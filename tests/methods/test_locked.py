"""Locked dropout."""

from __future__ import annotations

import pytest
import torch

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestLocked(MethodConformance):
    method = rd.Locked(input=0.4, between=0.3, output=0.2)
    shapes = {"input": "1 B I", "output": "1 B H"}


def test_places_and_rates() -> None:
    noise = rd.Locked(input=0.1, between=[0.3, 0.5], output=0.9)
    masks = rd.GRU(400, 400, 3, noise=noise).sample_masks(2, 100)
    found = [
        [None if v is None else round((v == 0).double().mean().item(), 1) for v in (m.input, m.output)] for m in masks
    ]
    assert found == [[0.1, 0.3], [None, 0.5], [None, 0.9]]


def test_the_same_units_are_dropped_at_every_step() -> None:
    made = rd.LSTM(3, 6, noise=rd.Locked(output=0.5), dtype=torch.float64)
    x = torch.randn(8, 5, 3, dtype=torch.float64)
    plain, noisy = torch.nn.LSTM.forward(made, x)[0], made(x)[0]
    ratio = noisy / plain
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), rtol=0, atol=1e-12)
    assert {round(v, 9) for v in ratio.flatten().tolist()} == {0.0, 2.0}
    assert not torch.equal(ratio[:, 0], ratio[:, 1])


def test_between_needs_one_value_a_connection() -> None:
    with pytest.raises(ValueError, match="between of Locked governs 1 place in"):
        rd.LSTM(3, 4, 2, noise=rd.Locked(between=[0.1, 0.2]))
    with pytest.raises(ValueError, match="between of Locked governs 0 places"):
        rd.LSTM(3, 4, noise=rd.Locked(between=[0.1]))
