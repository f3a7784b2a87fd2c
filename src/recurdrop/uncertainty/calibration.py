"""Whether predicted uncertainty is right: coverage of intervals, calibration of classes, observation noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.methods.base import real
from recurdrop.uncertainty.prediction import Prediction, check_level

LEVELS = (0.5, 0.8, 0.95)


def coverage(
    prediction: Prediction, target: Tensor, levels: Sequence[float] = LEVELS, *, tau: float | None = None
) -> Tensor:
    """Return the share of targets inside the central interval of each level; calibrated is the level itself.

    Args:
        prediction: of values, with its samples.
        target: observations, of the shape of `prediction.mean`; NaN for those that are missing.
        levels: in (0, 1).
        tau: precision of the observations; None for intervals of the samples alone, which leave their noise out.

    Returns:
        float64 tensor, one share a level.

    Raises:
        ValueError: a target of another shape, or none that is not NaN; what `Prediction.interval` refuses.
    """
    if target.shape != prediction.mean.shape:
        rule = f"targets must have the shape {tuple(prediction.mean.shape)} of the prediction"
        raise invalid(rule, tuple(target.shape), "Give one observation for each predicted value.")
    there = ~target.isnan()
    if not there.any():
        raise invalid("coverage needs observations", "none", "Give targets that are not NaN.")
    below = None if tau is None else prediction.cdf(target, tau=tau)
    shares = []
    for level in levels:
        check_level(level)
        if below is not None:
            inside = (below - 0.5).abs() <= level / 2
        else:
            low, high = prediction.interval(level)
            inside = (low <= target) & (target <= high)
        shares.append(inside[there].double().mean())
    return torch.stack(shares)


class Reliability(NamedTuple):
    """Predictions sorted into bins by their confidence, the probability of the most probable class.

    Attributes:
        edges: (M + 1,) of the bins, low end excluded, high end included (the first bin has both).
        counts: (M,) predictions in a bin.
        confidence: (M,) their mean confidence; NaN in an empty bin.
        accuracy: (M,) the share of them whose most probable class is the label; NaN in an empty bin.
    """

    edges: Tensor
    counts: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> float:
        """The expected calibration error: Σ_m counts_m / N · |accuracy_m − confidence_m|."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num()
        return float((gaps * self.counts).sum() / self.counts.sum())


def reliability(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Literal["width", "mass"] = "width"
) -> Reliability:
    """Compare confidence with accuracy, bin by bin.

    Source:
        Guo et al. 2017, arXiv:1706.04599, sec. 2: 15 bins of equal width. Bins of equal mass, with edges at quantiles
        of the confidence: Nguyen & O'Connor 2015, arXiv:1508.05154. Ties in confidence stay in one bin.

    Args:
        probabilities: (..., C), as `prediction.mean` with classes last.
        labels: (...), class numbers.
        bins: M.
        binning: "width" or "mass".

    Raises:
        ValueError: shapes that do not fit, no predictions, probabilities outside [0, 1], or arguments out of range.
    """
    if probabilities.shape[:-1] != labels.shape or not labels.numel():
        raise invalid(
            "probabilities (..., C) need one label for each prediction",
            (tuple(probabilities.shape), tuple(labels.shape)),
            "Move the classes to the last axis.",
        )
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise invalid("bins must be an integer of 1 or more", bins, "Give e.g. 15.")
    confidence, predicted = probabilities.detach().double().flatten(0, -2).max(-1)
    if not ((confidence >= 0) & (confidence <= 1 + 1e-5)).all():
        raise invalid("probabilities must lie in [0, 1]", float(confidence.max()), "Give probabilities, not logits.")
    confidence = confidence.clamp(max=1)
    right = (predicted == labels.flatten()).double()
    if binning == "width":
        edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=confidence.device)
    elif binning == "mass":
        places = torch.arange(1, bins, device=confidence.device) * len(confidence) // bins
        inner = confidence.sort().values[(places - 1).clamp(min=0)]
        edges = torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])
    else:
        raise invalid("binning must be 'width' or 'mass'", binning, "Choose one of them.")
    which = torch.bucketize(confidence, edges[1:-1].contiguous())
    counts = torch.bincount(which, minlength=bins)
    mean = [torch.bincount(which, weights, minlength=bins) / counts for weights in (confidence, right)]
    return Reliability(edges, counts, *mean)


def expected_calibration_error(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Literal["width", "mass"] = "width"
) -> float:
    """Return the mean gap between confidence and accuracy over bins; arguments as for `reliability`."""
    return reliability(probabilities, labels, bins=bins, binning=binning).error


def tau(p: float, *, length_scale: float, n: int, weight_decay: float) -> float:
    """Return the precision of observations that dropout with weight decay stands for.

    Equation:
        τ = (1 − p) l² / (2 N λ), for the objective 1/N Σ ½ (y − f)² + λ Σ ‖W‖². An optimizer that adds `weight_decay`
        · W to the gradient (`torch.optim.SGD`) has λ = weight_decay / 2 with that loss, and weight_decay / 4 with
        `nn.MSELoss`, which lacks the ½. Adam scales that term and AdamW takes it out of the objective: with them λ is
        not to be had from weight_decay. Then choose τ by the likelihood of validation data.
    Source:
        Gal & Ghahramani 2016, arXiv:1506.02142, eq. 7, with its p the probability to keep.

    Args:
        p: probability to drop, in [0, 1).
        length_scale: l, of the prior over weights; smaller for functions of higher frequency.
        n: N, training examples.
        weight_decay: λ.

    Returns:
        τ, in 1 / (units of the targets that the model was trained on)².

    Raises:
        ValueError: an argument out of range.
    """
    p = real("p of tau", p, high=1, open_high=True)
    for name, value in (("length_scale", length_scale), ("n", n), ("weight_decay", weight_decay)):
        if not 0 < value < math.inf:
            raise invalid(f"{name} must be a finite number above 0", value, "Without it τ is not defined.")
    return (1 - p) * length_scale**2 / (2 * n * weight_decay)
