"""Gaussian dropout."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import recurdrop as rd
from recurdrop.testing import MethodConformance
from recurdrop.testing.methods import check


class TestGaussian(MethodConformance):
    method = rd.Gaussian(0.2)
    shapes = {"output": "T B H"}
    at_one = False

    def check_law(self, site: str, value: Tensor, p: float) -> None:
        sigma, n = math.sqrt(p / (1 - p)), value.numel()
        check(abs(value.mean() - 1) < 5 * sigma / math.sqrt(n), value.mean())
        check(abs(value.std() - sigma) < 5 * sigma / math.sqrt(2 * n), value.std())
        beyond = ((value - 1).abs() > 2 * sigma).double().mean().item()
        check(abs(beyond - 0.0455) < 5 * math.sqrt(0.0455 * 0.9545 / n), f"{beyond} lies beyond two deviations")


class TestPerSequence(TestGaussian):
    method = rd.Gaussian(0.2, site="recurrent", per="sequence")
    shapes = {"recurrent": "1 B H"}


class TestAtTheWeights(TestGaussian):
    method = rd.Gaussian(0.2, site="weight_hh")
    shapes = {"weight_hh": "R C"}


class TestAtTheInput(TestGaussian):
    method = rd.Gaussian(0.2, site="input")
    shapes = {"input": "T B I"}


class TestAtTheCandidate(TestGaussian):
    method = rd.Gaussian(0.2, site="candidate")
    cells = ("LSTM", "GRU")
    shapes = {"candidate": "T B H"}


class TestAtTheCell(TestGaussian):
    method = rd.Gaussian(0.1, site="cell")
    cells = ("LSTM",)
    shapes = {"cell": "T B H"}


def test_the_four_numbers_of_a_counter_are_independent() -> None:
    values = rd.GRU(4, 4, noise=rd.Gaussian(0.5)).sample_masks(100, 100)[0].output.double().flatten(0, 1) - 1
    correlation = torch.corrcoef(values.T) - torch.eye(4, dtype=torch.float64)
    squares = torch.corrcoef(values.T.square()) - torch.eye(4, dtype=torch.float64)
    assert correlation.abs().max() < 5 / 100
    assert squares.abs().max() < 5 / 100


def test_p_of_one_has_no_variance_to_give() -> None:
    with pytest.raises(ValueError, match=r"must be a number in \[0, 1\); got 1"):
        rd.Gaussian(1)
