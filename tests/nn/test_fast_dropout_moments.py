"""Moment functions against quadrature, enumeration and finite differences; what is approximate, within what is said."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from recurdrop.nn.fast_dropout import Moments, add, interpolate, product, relu, sigmoid, tanh
from recurdrop.nn.fast_dropout.moments import as_moments

MU = torch.linspace(-9, 9, 181, dtype=torch.float64)
DEVIATIONS = (0.0, 0.3, 1.0, 3.0, 30.0, 300.0)


def normal(s: float) -> Moments:
    """Means from -9 to 9 and, so that wide laws are met off centre too, from -3 s to 3 s."""
    mu = torch.cat((MU, MU / 3 * s))
    return Moments(mu, torch.full_like(mu, s * s))


def quadrature(f: Callable[[Tensor], Tensor], x: Moments) -> Moments:
    """Integrate by trapezoids, which are exact to rounding for smooth f of a normal number."""
    t = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    weights = torch.exp(-t.square() / 2)
    weights /= weights.sum()
    y = f(x.mean[:, None] + x.variance.sqrt()[:, None] * t)
    mean = y @ weights
    return Moments(mean, (y - mean[:, None]).square() @ weights)


def worst(f: Callable[[Tensor], Tensor], moments: Callable[[Moments], Moments]) -> tuple[float, float]:
    """Return the largest error of the mean and of the variance."""
    errors = []
    for s in DEVIATIONS:
        found, expected = moments(normal(s)), quadrature(f, normal(s))
        errors.append([float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)])
    return tuple(max(column) for column in zip(*errors, strict=True))


@pytest.mark.parametrize(
    ("f", "moments", "variance", "mean_error", "variance_error"),
    [
        (torch.sigmoid, sigmoid, "paper", 0.0177, 0.0271),
        (torch.sigmoid, sigmoid, "consistent", 0.0177, 0.0161),
        (torch.tanh, tanh, "paper", 0.0354, 0.1083),
        (torch.tanh, tanh, "consistent", 0.0354, 0.0643),
    ],
)
def test_errors_are_those_said(
    f: Callable[[Tensor], Tensor],
    moments: Callable[..., Moments],
    variance: str,
    mean_error: float,
    variance_error: float,
) -> None:
    found = worst(f, lambda x: moments(x, variance))
    assert 0.99 * mean_error < found[0] <= mean_error
    assert 0.99 * variance_error < found[1] <= variance_error


@pytest.mark.parametrize("s", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("f", "moments"), [(torch.sigmoid, sigmoid), (torch.tanh, tanh)])
def test_consistent_variance_is_closer(
    f: Callable[[Tensor], Tensor], moments: Callable[..., Moments], s: float
) -> None:
    exact = quadrature(f, normal(s)).variance
    paper, consistent = (
        (moments(normal(s), v).variance - exact).square().mean().sqrt() for v in ("paper", "consistent")
    )
    # Measured: from 0.05 (σ, s = 0.3) to 0.81 (tanh, s = 3).
    assert consistent < 0.85 * paper


def test_paper_formulas() -> None:
    """Wang and Manning's, number by number; tanh(x) is 2σ(2x) - 1, and not 2σ(x) - 1."""
    mu, s2 = 0.7, 1.9
    a, b = 4 - 2 * math.sqrt(2), -math.log(math.sqrt(2) - 1)

    def logistic(mu: float, s2: float) -> tuple[float, float]:
        mean = 1 / (1 + math.exp(-mu / math.sqrt(1 + math.pi * s2 / 8)))
        second = 1 / (1 + math.exp(-a * (mu - b) / math.sqrt(1 + math.pi * a * a * s2 / 8)))
        return mean, second - mean**2

    x = Moments(torch.tensor(mu, dtype=torch.float64), torch.tensor(s2, dtype=torch.float64))
    mean, variance = logistic(2 * mu, 4 * s2)
    assert [float(v) for v in sigmoid(x)] == pytest.approx(logistic(mu, s2), rel=1e-14)
    assert [float(v) for v in tanh(x)] == pytest.approx((2 * mean - 1, 4 * variance), rel=1e-14)


def test_of_a_constant() -> None:
    """The mean is exact without variance; the consistent variance stays 0, the paper's does not."""
    x = as_moments(MU)
    for moments, f in ((sigmoid, torch.sigmoid), (tanh, torch.tanh), (lambda x, _: relu(x), torch.relu)):
        found = moments(x, "consistent")
        assert torch.equal(found.mean, f(MU))
        assert torch.equal(found.variance, torch.zeros_like(MU))
    assert torch.equal(sigmoid(x, "paper").mean, torch.sigmoid(MU))
    assert float(sigmoid(x, "paper").variance.max()) == pytest.approx(0.0271, rel=0.01)


def test_variance_is_never_negative() -> None:
    """The paper's is a difference that is 0 where σ² is 1/2 (for tanh, at half that x), give or take rounding."""
    mu = torch.cat((torch.linspace(-40, 40, 2001), torch.linspace(0.4, 0.9, 2001)))
    for s2 in (0.0, 1e-12, 1e-6, 1.0, 1e6):
        x = Moments(mu, torch.full_like(mu, s2))
        for found in (sigmoid(x), tanh(x), sigmoid(x, "consistent"), tanh(x, "consistent"), relu(x)):
            assert float(found.variance.min()) >= 0


@pytest.mark.parametrize("s", [1e-3, 0.3, 1.0, 30.0])
def test_relu_is_exact(s: float) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(100)
    for mu in (-4 * s, -1.0, -s, 0.0, 0.3 * s, 1.0, 5 * s):
        low, high = max(0.0, mu - 12 * s), max(0.0, mu + 12 * s)
        t = (high - low) / 2 * nodes + (high + low) / 2
        density = (high - low) / 2 * weights * np.exp(-(((t - mu) / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi))
        mean = float(density @ t)
        spread = float(density @ (t - mean) ** 2) + mean**2 * math.erfc(mu / s / math.sqrt(2)) / 2
        found = relu(Moments(*(torch.tensor(v, dtype=torch.float64) for v in (mu, s * s))))
        # Measured: 5e-15 and 8e-15, nearly all of it the quadrature's.
        assert float(found.mean) == pytest.approx(mean, rel=0, abs=1e-14 * (s + abs(mu)))
        assert float(found.variance) == pytest.approx(spread, rel=0, abs=1e-14 * s * s)


def test_relu_does_not_cancel() -> None:
    """E[y²] - E[y]² has no right digit here in single precision."""
    x = Moments(torch.tensor([1e3, 1e3, -1e3]), torch.tensor([1e-4, 1e-6, 1e-4]))
    torch.testing.assert_close(relu(x).variance, torch.tensor([1e-4, 1e-6, 0.0]), rtol=1e-6, atol=0)
    torch.testing.assert_close(relu(x).mean, torch.tensor([1e3, 1e3, 0.0]), rtol=0, atol=0)


def two_points(values: tuple[float, float], p: float) -> tuple[Moments, list[tuple[float, float]]]:
    """A skewed law of two values: its moments, and each value with its probability."""
    law = [(values[0], p), (values[1], 1 - p)]
    mean = sum(v * w for v, w in law)
    spread = sum((v - mean) ** 2 * w for v, w in law)
    return Moments(*(torch.tensor(v, dtype=torch.float64) for v in (mean, spread))), law


LAWS = [two_points(*law) for law in (((-1.3, 0.8), 0.3), ((0.4, 2.1), 0.6), ((0.1, 0.9), 0.25))]


@pytest.mark.parametrize(
    ("moments", "f"),
    [
        (lambda x, y, z: add(x, y), lambda x, y, z: x + y),
        (lambda x, y, z: product(x, y), lambda x, y, z: x * y),
        (interpolate, lambda new, old, z: (1 - z) * new + z * old),
    ],
    ids=["add", "product", "interpolate"],
)
def test_combinations_are_exact(moments: Callable[..., Moments], f: Callable[..., float]) -> None:
    cases = [
        (f(*(v for v, _ in case)), math.prod(w for _, w in case)) for case in itertools.product(*(l for _, l in LAWS))
    ]
    mean = sum(v * w for v, w in cases)
    spread = sum((v - mean) ** 2 * w for v, w in cases)
    assert [float(v) for v in moments(*(m for m, _ in LAWS))] == pytest.approx((mean, spread), rel=1e-14)


FUNCTIONS = {
    "sigmoid": sigmoid,
    "sigmoid consistent": lambda x: sigmoid(x, "consistent"),
    "tanh": tanh,
    "tanh consistent": lambda x: tanh(x, "consistent"),
    "relu": relu,
    "product": lambda x: product(x, Moments(x.mean.flip(0), x.variance.flip(0))),
    "interpolate": lambda x: interpolate(
        x, Moments(x.mean.flip(0), x.variance.roll(1)), Moments(x.mean.roll(1), x.variance)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str) -> None:
    mean = torch.tensor([-2.0, -0.4, 0.0, 0.7, 3.0], dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([0.3, 1.0, 0.05, 4.0, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, v: FUNCTIONS[name](Moments(m, v)), (mean, variance))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["sigmoid", "sigmoid consistent", "tanh", "tanh consistent", "relu"])
def test_gradients_are_finite_everywhere(name: str, dtype: torch.dtype) -> None:
    means, variances = (0.0, 1e-20, -1e-3, 1.0, -1e4, 1e35), (0.0, 1e-30, 1e-13, 1.0, 1e8, 1e30)
    mean, variance = torch.cartesian_prod(torch.tensor(means), torch.tensor(variances)).to(dtype).T.clone()
    leaves = mean.requires_grad_(), variance.requires_grad_()
    found = FUNCTIONS[name](Moments(*leaves))
    for value in (*found, *torch.autograd.grad(found.mean.sum() + found.variance.sum(), leaves)):
        assert torch.isfinite(value).all()


def test_relu_gradient_without_variance() -> None:
    """The limit from above: the variance passes where the mean does."""
    mean = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    variance = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    found = relu(Moments(mean, variance))
    for y, expected in ((found.mean, (0.0, 0.0)), (found.variance, (0.0, 1.0))):
        (gradient,) = torch.autograd.grad(y.sum(), variance, retain_graph=True, allow_unused=True)
        assert (gradient if gradient is not None else torch.zeros(2)).tolist() == list(expected)


def test_what_is_no_moments() -> None:
    with pytest.raises(ValueError, match=r"mean and variance must have one shape; got \(\(2,\), \(1,\)\)"):
        as_moments((torch.zeros(2), torch.zeros(1)))
    with pytest.raises(ValueError, match="moments are a tensor or a pair"):
        as_moments((torch.zeros(2),))
    with pytest.raises(ValueError, match="variance must be 'paper' or 'consistent'; got 'exact'"):
        tanh(as_moments(torch.zeros(2)), "exact")
