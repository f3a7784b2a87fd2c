"""FastDropoutLinear against every mask there is."""

from __future__ import annotations

import itertools

import pytest
import torch
from against_torch import numbers
from torch import nn

import recurdrop as rd
from recurdrop.nn.fast_dropout import FastDropoutLinear, Moments


def laws(width: int) -> tuple[torch.Tensor, torch.Tensor, Moments]:
    """Skewed two-point laws of `width` inputs: values (2, width), the first one's probability, and the moments."""
    values, p = numbers(2, width), torch.linspace(0.2, 0.7, width, dtype=torch.float64)
    mean = p * values[0] + (1 - p) * values[1]
    return values, p, Moments(mean, p * (1 - p) * (values[0] - values[1]).square())


@pytest.mark.parametrize("scaling", ["classic", "inverted"])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_exact_for_random_inputs_and_masks(p: float, scaling: str) -> None:
    width = 4
    layer = FastDropoutLinear(width, 3, p=p, scaling=scaling, dtype=torch.float64)
    values, first, moments = laws(width)
    picks = torch.tensor(list(itertools.product((0, 1), repeat=width)))
    x = torch.where(picks == 0, values[0], values[1])
    of_x = torch.where(picks == 0, first, 1 - first).prod(1)
    bits = picks.double()
    of_bits = (bits * (1 - p) + (1 - bits) * p).prod(1)
    scale = 1 / (1 - p) if scaling == "inverted" and p < 1 else 1.0
    y = (x[:, None] * bits * scale) @ layer.weight.T + layer.bias
    weight = (of_x[:, None] * of_bits)[..., None]
    mean = (weight * y).sum((0, 1))
    spread = (weight * (y - mean).square()).sum((0, 1))
    found = layer(moments)
    # Measured: 7.6e-17 of numbers near 1.
    torch.testing.assert_close(found.mean, mean, rtol=0, atol=3e-16)
    torch.testing.assert_close(found.variance, spread, rtol=0, atol=3e-16)


@pytest.mark.parametrize("scaling", ["classic", "inverted"])
def test_to_torch_is_the_mean(scaling: str) -> None:
    x = numbers(3, 4, 5)
    for bias in (True, False):
        layer = FastDropoutLinear(5, 2, bias, p=0.3, scaling=scaling, dtype=torch.float64)
        assert torch.equal(layer.to_torch()(x), layer(x).mean)


def test_it_is_torch_linear_without_dropout() -> None:
    theirs, x = nn.Linear(5, 2), numbers(3, 5).float()
    layer = FastDropoutLinear(5, 2, p=0)
    layer.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(layer.state_dict(), strict=True)
    y = layer(x)
    assert torch.equal(y.mean, theirs(x))
    assert torch.equal(y.variance, torch.zeros(3, 2))
    assert torch.equal(layer((x, torch.zeros_like(x))).mean, y.mean)


def test_p_may_be_reassigned() -> None:
    layer = FastDropoutLinear(5, 2, p=0.5, dtype=torch.float64)
    layer.p = 0.25
    other = FastDropoutLinear(5, 2, p=0.25, dtype=torch.float64)
    other.load_state_dict(layer.state_dict())
    x = numbers(3, 5)
    assert all(torch.equal(a, b) for a, b in zip(layer(x), other(x), strict=True))
    assert repr(layer) == "FastDropoutLinear(in_features=5, out_features=2, bias=True, p=0.25, scaling='classic')"


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"p of FastDropoutLinear must be a number in \[0, 1\]; got 1.5"):
        rd.nn.FastDropoutLinear(2, 2, p=1.5)
    with pytest.raises(ValueError, match="scaling must be 'classic' or 'inverted'; got 'none'"):
        rd.nn.FastDropoutLinear(2, 2, scaling="none")
