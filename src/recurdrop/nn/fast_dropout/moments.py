"""Mean and variance of functions of independent random numbers, element by element."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor

from recurdrop.errors import invalid

Variance = Literal["paper", "consistent"]

_STEEPER = 4 - 2 * math.sqrt(2)
_LATER = -math.log(math.sqrt(2) - 1)


class Moments(NamedTuple):
    """Independent random numbers, as much as is known of them. The mean alone takes the place of a plain tensor.

    Attributes:
        mean: any shape.
        variance: of the same shape, 0 or more.
    """

    mean: Tensor
    variance: Tensor


def as_moments(x: Tensor | tuple[Tensor, Tensor]) -> Moments:
    """Return a mean and a variance; a tensor alone has variance 0.

    Raises:
        ValueError: a mean and a variance of different shapes, or anything else but a tensor or such a pair.
    """
    if isinstance(x, Tensor):
        return Moments(x, torch.zeros_like(x))
    if not (isinstance(x, tuple | list) and len(x) == 2 and all(isinstance(part, Tensor) for part in x)):
        raise invalid("moments are a tensor or a pair (mean, variance)", type(x).__name__, "Give one of the two.")
    if x[0].shape != x[1].shape:
        shapes = tuple(tuple(part.shape) for part in x)
        raise invalid("mean and variance must have one shape", shapes, "Expand the variance.")
    return Moments(*x)


def add(x: Moments, y: Moments) -> Moments:
    """Return the moments of x + y, exactly."""
    return Moments(x.mean + y.mean, x.variance + y.variance)


def product(x: Moments, y: Moments) -> Moments:
    """Return the moments of x ⊙ y, exactly: μ_x μ_y, and μ_x² s_y² + s_x² μ_y² + s_x² s_y²."""
    spread = torch.addcmul(x.mean.square() * y.variance, x.variance, y.mean.square() + y.variance)
    return Moments(x.mean * y.mean, spread)


def interpolate(new: Moments, old: Moments, weight: Moments) -> Moments:
    """Return the moments of (1 - z) ⊙ new + z ⊙ old for the weight z, exactly.

    z and 1 - z are one random number, which the sum of two products would take for two. With it, the variance is
    s_z² ((μ_old - μ_new)² + s_old² + s_new²) + (1 - μ_z)² s_new² + μ_z² s_old².
    """
    z, away = weight.mean, old.mean - new.mean
    spread = weight.variance * (away.square() + old.variance + new.variance)
    spread = spread + (1 - z).square() * new.variance + z.square() * old.variance
    return Moments(torch.addcmul(new.mean, z, away), spread)


def sigmoid(x: Moments, variance: Variance = "paper") -> Moments:
    """Return approximate moments of σ(x), x normal.

    Mean: σ(κ μ), κ = 1 / √(1 + π s² / 8). Exact at s = 0, off by up to 0.0177, at large s.

    Variance: "paper" is Wang & Manning's, σ(a (μ - b) / √(1 + π a² s² / 8)) - mean², a = 4 - 2√2, b = -ln(√2 - 1),
    which takes σ(a (x - b)) for σ(x)². It is off by up to 0.0271, and by that much at s = 0, where a variance of 0
    becomes one of up to 0.0271. "consistent" is mean (1 - mean) (1 - κ), which follows from σ² = σ - σ' and from the
    mean's own approximation; it is 0 at s = 0, never below 0, and off by up to 0.0161, at large s.

    Args:
        x: any shape.
        variance: "paper" or "consistent".

    Raises:
        ValueError: another name of a variance.
    """
    u = (math.pi / 8) * x.variance
    kappa = torch.rsqrt(1 + u)
    mean = torch.sigmoid(kappa * x.mean)
    return Moments(mean, _logistic_variance(x.mean, u, kappa, mean, variance))


def tanh(x: Moments, variance: Variance = "paper") -> Moments:
    """Return approximate moments of the hyperbolic tangent of x, x normal.

    It is 2σ(2x) - 1: σ's moments for (2μ, 4s²), the mean doubled less 1, the variance times 4. So are the errors: up to
    0.0354 of the mean, which is exact at s = 0, and 0.1083 ("paper") or 0.0643 ("consistent") of the variance.

    Args:
        x: any shape.
        variance: "paper" or "consistent", as for `sigmoid`.

    Raises:
        ValueError: another name of a variance.
    """
    u = (math.pi / 2) * x.variance
    kappa = torch.rsqrt(1 + u)
    mean = torch.tanh(kappa * x.mean)
    return Moments(mean, 4 * _logistic_variance(2 * x.mean, u, kappa, (1 + mean) / 2, variance))


def check_variance(variance: str) -> Variance:
    """Return the name if it is one.

    Raises:
        ValueError: it is none.
    """
    if variance in get_args(Variance):
        return cast(Variance, variance)
    raise invalid("variance must be 'paper' or 'consistent'", variance, "Choose one of them.")


def _logistic_variance(mu: Tensor, u: Tensor, kappa: Tensor, mean: Tensor, variance: Variance) -> Tensor:
    """Return the variance of σ(x), given u = π s² / 8, κ and the mean."""
    if check_variance(variance) == "paper":
        second = torch.sigmoid(_STEEPER * (mu - _LATER) * torch.rsqrt(1 + _STEEPER**2 * u))
        return (second - mean.square()).clamp_min(0)
    # u κ² / (1 + κ) is 1 - κ without its cancellation at small variances.
    return mean * (1 - mean) * u * kappa * kappa / (1 + kappa)


def relu(x: Moments) -> Moments:
    """Return the moments of max(x, 0), x normal, exactly.

    With r = μ / s, Φ and φ of r: mean μ Φ + s φ, variance s² (Φ - g(r) g(-r)) where g(r) = r Φ(r) + φ(r). That is
    (μ² + s²) Φ + μ s φ - mean² without its cancellation at large |r|. Where s is below the dtype's epsilon, x counts as
    a constant: the derivative by the variance, which is infinite at μ = s = 0, stays finite.
    """
    random = x.variance > torch.finfo(x.variance.dtype).eps ** 2
    square = torch.where(random, x.variance, 1)
    s = square.sqrt()
    # Beyond 40, Φ and φ are 0 or 1 in every dtype, and r might overflow.
    r = torch.clamp(x.mean, -40 * s, 40 * s) / s
    cdf, pdf = torch.special.ndtr(r), torch.exp(-r.square() / 2) / math.sqrt(2 * math.pi)
    above, below = r * cdf + pdf, pdf - r * torch.special.ndtr(-r)
    mean = torch.where(random, x.mean * cdf + s * pdf, x.mean.relu())
    spread = (square * (cdf - above * below)).clamp_min(0)
    return Moments(mean, torch.where(random, spread, x.variance * (x.mean > 0)))
