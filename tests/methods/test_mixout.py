"""Mixout."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import recurdrop as rd
from recurdrop.testing import MethodConformance
from recurdrop.testing.methods import check


class TestMixout(MethodConformance):
    method = rd.Mixout(0.4)
    shapes = {"weight_hh": "R C", "weight_ih": "R I"}

    def make(self, cell: str, noise: Any = "method", **options: Any) -> Any:
        # Mixed with themselves, as the initial reference has it, weights would not change.
        layer = super().make(cell, noise, **options)
        if isinstance(layer.noise, rd.Mixout):
            reference = {name: torch.full_like(p, 0.3) for name, p in layer.state_dict().items()}
            layer.noise = dataclasses.replace(layer.noise, reference=reference)
        return layer

    def check_law(self, site: str, value: Tensor, p: float) -> None:
        taken = (value.sub(0.3).abs() < 1e-12) | (value == 0)
        kept = -0.3 * p / (1 - p) if (value < 0).any() else 1 / (1 - p)
        check(bool((value[~taken] - kept).abs().lt(1e-12).all()), f"{site} keeps by other values")
        frequency = taken.double().mean().item()
        check(abs(frequency - p) < 5 * math.sqrt(p * (1 - p) / value.numel()), frequency)


def test_initial_weights_are_those_of_the_first_training_forward() -> None:
    made = rd.GRU(3, 4, noise=rd.Mixout(1), dtype=torch.float64)
    pretrained = torch.nn.GRU(3, 4, dtype=torch.float64)
    made.load_state_dict(pretrained.state_dict())
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    expected = pretrained(x)[0]
    assert torch.allclose(made(x)[0], expected, rtol=0, atol=1e-14)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "weight" in name:
                p.add_(1)
    assert torch.allclose(made(x)[0], expected, rtol=0, atol=1e-14)
    assert not torch.allclose(made.eval()(x)[0], expected)


def test_the_mean_is_the_weight() -> None:
    made = rd.RNN(
        3, 4, noise=rd.Mixout(0.3, reference={n: torch.full_like(p, 5) for n, p in rd.RNN(3, 4).named_parameters()})
    )
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(4, 4, dtype=torch.float64)
    for _ in range(400):
        scale, shift = made.sample_masks(1, 1, generator=generator)[0].weight_hh
        mixed = made.weight_hh_l0.detach().double() * scale + shift
        total += mixed / 400
        is_reference = scale == 0
        expected = (torch.where(is_reference, 5.0, made.weight_hh_l0.detach().double()) - 0.3 * 5) / 0.7
        assert torch.allclose(mixed, expected, atol=1e-5)
    spread = 5.5 * math.sqrt(0.3 / 0.7 / 400)
    assert (total - made.weight_hh_l0.detach()).abs().max() < 5 * spread


def test_a_reference_must_fit() -> None:
    with pytest.raises(ValueError, match=r"needs weight_hh_l0 of shape \(4, 4\); got \(2, 2\)"):
        rd.RNN(3, 4, noise=rd.Mixout(reference=torch.nn.RNN(3, 2).state_dict()))
    with pytest.raises(ValueError, match='must be "initial" or a state_dict'):
        rd.Mixout(reference="best")
