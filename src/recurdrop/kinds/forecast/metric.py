"""Prediction intervals that hold observations, not the model's mean alone."""

from __future__ import annotations

import torch
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.uncertainty.prediction import Prediction

_GRID = torch.logspace(-2, 4, 121, dtype=torch.float64)


def fitted_tau(prediction: Prediction, target: Tensor) -> float:
    """Return the precision τ of the observations under which these are most probable.

    Equation:
        The τ in 10⁻², ..., 10⁴ that maximizes the mean of log 1/S Σ_s N(y; ŷ_s, 1/τ): the likelihood of Gal &
        Ghahramani 2016, arXiv:1506.02142, sec. 4, with τ taken from held-out data instead of the weight decay.

    Args:
        prediction: of values with their samples, one or more, in a unit in which the observations are about 1 wide.
        target: observations, of the shape of `prediction.mean`.
    """
    if prediction.samples is None:
        raise invalid("this needs the samples", "keep=False", "Predict with keep=True.")
    squares = (target - prediction.samples).double().square()
    likelihoods = [(torch.logsumexp(-tau / 2 * squares, 0) + tau.log() / 2).mean() for tau in _GRID.to(squares.device)]
    return float(_GRID[int(torch.stack(likelihoods).argmax())])
