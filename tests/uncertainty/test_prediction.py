"""Intervals and entropies of samples."""

from __future__ import annotations

import math

import pytest
import torch

import recurdrop as rd


def of(samples: torch.Tensor, class_dim: int | None = None) -> rd.Prediction:
    return rd.Prediction(samples.mean(0), samples.std(0), samples, None, class_dim)


def test_it_unpacks() -> None:
    prediction = of(torch.randn(5, 3))
    mean, std, samples = prediction
    assert mean is prediction.mean
    assert std is prediction.std
    assert samples is prediction.samples


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 1 - 1e-9])
def test_intervals_are_central_quantiles(level: float) -> None:
    samples = torch.randn(11, 3, 2, dtype=torch.float64)
    ends = of(samples).interval(level)
    for end, p in zip(ends, ((1 - level) / 2, (1 + level) / 2), strict=True):
        torch.testing.assert_close(end, samples.quantile(p, 0), rtol=0, atol=1e-15)


def test_intervals_of_an_observation_hold_that_share_of_the_mixture() -> None:
    samples, tau = 3 * torch.randn(7, 4, dtype=torch.float64), 2.5
    low, high = of(samples).interval(0.8, tau=tau)
    for end, p in ((low, 0.1), (high, 0.9)):
        cdf = torch.distributions.Normal(samples, tau**-0.5).cdf(end).mean(0)
        torch.testing.assert_close(of(samples).cdf(end, tau=tau), cdf, rtol=0, atol=1e-15)
        # 60 halvings of an interval of a few units; measured 6e-17.
        torch.testing.assert_close(cdf, torch.full_like(cdf, p), rtol=0, atol=1e-14)


def test_equal_samples_leave_the_noise_alone() -> None:
    low, high = of(torch.full((4, 1), 3.0, dtype=torch.float64)).interval(0.95, tau=0.25)
    expected = torch.tensor([3 - 2 * 1.959963984540054, 3 + 2 * 1.959963984540054], dtype=torch.float64)
    torch.testing.assert_close(torch.cat([low, high]), expected, rtol=0, atol=1e-14)


def test_entropies_by_hand() -> None:
    certain, even = [[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]
    samples = torch.tensor([[c, even, even] for c in certain * 2], dtype=torch.float64)
    found = of(samples, -1)
    log2 = torch.full((3,), math.log(2), dtype=torch.float64)
    torch.testing.assert_close(found.entropy(), log2)
    torch.testing.assert_close(found.mutual_information(), log2 * torch.tensor([1.0, 0.0, 0.0]))
    swapped = of(samples.transpose(1, 2), 0)
    torch.testing.assert_close(swapped.mutual_information(), log2 * torch.tensor([1.0, 0.0, 0.0]))


def test_what_is_refused() -> None:
    prediction = of(torch.randn(4, 2))
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match=rf"level must lie in \(0, 1\); got {level}"):
            prediction.interval(level)
    for tau in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="tau must be a finite number above 0"):
            prediction.interval(0.5, tau=tau)
    with pytest.raises(ValueError, match="entropies are those of classes; got 'values'"):
        prediction.entropy()
