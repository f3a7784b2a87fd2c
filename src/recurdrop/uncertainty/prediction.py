"""What Monte-Carlo samples say: mean, spread, intervals, entropies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurdrop.errors import invalid

_HALVINGS = 60


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result of `mc_predict`; `mean, std, samples = prediction` takes it apart.

    Attributes:
        mean: over samples, of the shape of the model's output: of values, or of probabilities.
        std: standard deviation over samples, with the divisor S - 1.
        samples: (S, ...) values or probabilities; None with `keep=False`.
        state: what `carry` took from the model's output, S·B examples; None without it.
        class_dim: the axis of classes; None for values.
    """

    mean: Tensor
    std: Tensor
    samples: Tensor | None
    state: Any = None
    class_dim: int | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.mean, self.std, self.samples))

    def interval(self, level: float, *, tau: float | None = None) -> tuple[Tensor, Tensor]:
        """Return the ends of the central interval that holds this share of the prediction.

        Without `tau`, they are quantiles of the samples, interpolated linearly: where the model's function lies. With
        it, of the mixture of normal distributions N(sample, 1/τ): where an observation lies.

        Args:
            level: the share, in (0, 1).
            tau: precision of the observations, in 1 / (units of the output)²; see `rd.uncertainty.tau`.

        Returns:
            Low and high end, each of the shape of `mean`.

        Raises:
            ValueError: a level or precision out of range, or no samples.
        """
        check_level(level)
        ordered = self._kept().sort(0).values
        low, high = (1 - level) / 2, (1 + level) / 2
        if tau is None:
            return _quantile(ordered, low), _quantile(ordered, high)
        tau = _precision(tau)
        return _mixture_quantile(ordered, low, tau), _mixture_quantile(ordered, high, tau)

    def cdf(self, target: Tensor, *, tau: float) -> Tensor:
        """Return the probability of an observation at or below `target`, in the mixture of `interval`.

        Over observations that the prediction is right about, it is uniform in [0, 1].
        """
        return _cdf(self._kept(), target, _precision(tau))

    def entropy(self) -> Tensor:
        """Return the entropy of the mean probabilities in nats: all uncertainty about the class."""
        return _entropy(self.mean, self._classes())

    def mutual_information(self) -> Tensor:
        """Return the entropy of the mean less the mean entropy of the samples, in nats.

        It is the part of the uncertainty that is due to the weights (Houlsby et al. 2011, arXiv:1112.5745): 0 where
        all samples agree.
        """
        axis, samples = self._classes(), self._kept()
        axis = axis if axis < 0 else axis + 1
        return self.entropy() - _entropy(samples, axis).mean(0)

    def _kept(self) -> Tensor:
        if self.samples is None:
            raise invalid("this needs the samples", "keep=False", "Predict with keep=True.")
        return self.samples

    def _classes(self) -> int:
        if self.class_dim is None:
            raise invalid("entropies are those of classes", "values", "Predict with output='logits' or its like.")
        return self.class_dim


def check_level(level: float) -> None:
    """Refuse a level that is no share.

    Raises:
        ValueError: it lies outside (0, 1).
    """
    if not 0 < level < 1:
        raise invalid("level must lie in (0, 1)", level, "Give e.g. 0.8.")


def _quantile(ordered: Tensor, p: float) -> Tensor:
    """As torch.quantile, which refuses more than 2²⁴ elements."""
    place = p * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2)
    quantile: Tensor = torch.lerp(ordered[below], ordered[below + 1], place - below)
    return quantile


def _precision(tau: float) -> float:
    if not 0 < tau < math.inf:
        raise invalid("tau must be a finite number above 0", tau, "Without one there is no observation noise.")
    return tau


def _cdf(samples: Tensor, at: Tensor, tau: float) -> Tensor:
    probability: Tensor = torch.special.ndtr((at - samples) * tau**0.5).mean(0)
    return probability


def _mixture_quantile(ordered: Tensor, p: float, tau: float) -> Tensor:
    """Halve an interval around the quantile of the equal mixture of N(sample, 1/τ)."""
    # The quantile lies between those of the lowest and of the highest part alone.
    offset = tau**-0.5 * float(torch.special.ndtri(torch.tensor(p, dtype=torch.float64)))
    low: Tensor = ordered[0] + offset
    high: Tensor = ordered[-1] + offset
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = _cdf(ordered, middle, tau) < p
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


def _entropy(p: Tensor, axis: int) -> Tensor:
    entropy: Tensor = -torch.special.xlogy(p, p).sum(axis)
    return entropy
