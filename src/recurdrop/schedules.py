"""Schedules of a model's rates: curriculum dropout and its relatives, counted in optimizer updates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from recurdrop.errors import invalid
from recurdrop.methods.base import Method, Rate, rates, times
from recurdrop.nn.base import Regularized, as_methods
from recurdrop.nn.fast_dropout import FastDropoutLinear
from recurdrop.nn.fast_dropout.base import FastDropout
from recurdrop.nn.noise_module import NoiseModule
from recurdrop.plan import Where


class Schedule(ABC):
    """Base of the schedules: every rate of a model is its target times one factor.

    Equation:
        p(t) = factor(t) · p̄ for each rate p̄, t the number of optimizer updates.
    Evaluation:
        Zoneout's expectation takes the current rate, as does every other rule.

    The targets p̄ are the rates that the model has when the schedule is made: of the `noise` of our layers (deviations
    too; of zoneout, the probabilities to keep old), of `dropout=` of recurrent layers, ours and torch's, the `p` of
    torch's dropout modules and of those in `rd.nn` that draw masks, and of fast dropout `input`, `recurrent` and `p`.
    For some of them only, give the module that holds them. The schedule sets rates when it is made, at each `step` and
    at `load_state_dict`; what is assigned in between is overwritten. `Mixout(reference="initial")` takes the weights at
    the time when the schedule is made.

    A subclass says what the factor is (`factor_at`) and, if it ever exceeds 1, its maximum (`largest`). Under
    `torch.compile` two graphs serve all rates of our layers and modules; torch's own dropout modules compile anew at
    every rate: there take ours.

    Args:
        model: a layer or any module.

    Attributes:
        updates: t, the optimizer updates so far.

    Raises:
        ValueError: the model has no rate above 0, or one that the largest factor takes out of its range.
    """

    updates: int

    def __init__(self, model: nn.Module) -> None:
        self.updates = 0
        self._targets = [target for module in model.modules() for target in _targets(module)]
        if not self._targets:
            raise invalid(
                "a schedule needs a model with rates above 0",
                type(model).__name__,
                "Give it noise first, e.g. rd.regularize(model, rd.Zoneout()).",
            )
        largest = max(self.largest, self.factor)
        for target in self._targets:
            target.times(largest)  # refuses now what would fail amid the training
        self._set_rates()

    @property
    def largest(self) -> float:
        """The largest factor of all updates."""
        return 1.0

    @abstractmethod
    def factor_at(self, updates: int) -> float:
        """Return the factor after this many updates."""

    @property
    def factor(self) -> float:
        """The factor now."""
        return self.factor_at(self.updates)

    def step(self) -> None:
        """Count one update: call it after each `optimizer.step()`, once however many forwards that took."""
        self.updates += 1
        self._set_rates()

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates."""
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a number of updates, with the targets of this schedule's own model."""
        self.updates = state_dict["updates"]
        self._set_rates()

    def _set_rates(self) -> None:
        factor = self.factor
        for target in self._targets:
            target.set(factor)


class Curriculum(Schedule):
    """Curriculum dropout: from no noise to the full rates, fast at first.

    Equation:
        p(t) = p̄ (1 - e^{-γt}); γ = 10 / total_updates brings p within 4.5e-5 p̄ of its target.
    Source:
        Morerio et al. 2017, arXiv:1703.06229, for images; all layers share t and γ. No recurrent result is published.
        With `NTASGD`, let it saturate before averaging starts.
    Authors' code:
        Has γ = 1e-3 for MNIST's 64 k updates, six times 10 / total; 1e-4 for double MNIST's 94 k agrees.

    Args:
        model: a layer or any module.
        total_updates: optimizer updates of the whole training.
        gamma: γ, an update; None for 10 / total_updates. One of the two must be given, and not both.

    Raises:
        ValueError: neither or both given, one not above 0, or no rate above 0 in the model.
    """

    def __init__(self, model: nn.Module, total_updates: int | None = None, gamma: float | None = None) -> None:
        given = total_updates if gamma is None else gamma
        if given is None or (total_updates is not None and gamma is not None) or not 0 < given < math.inf:
            raise invalid(
                f"{type(self).__name__} needs total_updates or gamma, above 0",
                {"total_updates": total_updates, "gamma": gamma},
                "Give one of the two.",
            )
        self.gamma = 10 / given if gamma is None else gamma
        super().__init__(model)

    def factor_at(self, updates: int) -> float:
        """1 - e^{-γt}."""
        return -math.expm1(-self.gamma * updates)


class AntiCurriculum(Curriculum):
    """Curriculum dropout backwards: from the full rates to no noise.

    Equation:
        p(t) = p̄ e^{-γt}.
    Source:
        Morerio et al. 2017, arXiv:1703.06229, as a control.

    Args:
        model: a layer or any module.
        total_updates: as for `Curriculum`.
        gamma: as for `Curriculum`.

    Raises:
        ValueError: as `Curriculum`.
    """

    def factor_at(self, updates: int) -> float:
        """e^{-γt}."""
        return math.exp(-self.gamma * updates)


class StepSchedule(Schedule):
    """No noise at first, the full rates from some update on.

    Equation:
        p(t) = 0 for t < at, then p̄.
    Source:
        Morerio et al. 2017, arXiv:1703.06229, as a control: switched on after 5 to 100 epochs, in code.

    Args:
        model: a layer or any module.
        at: the first update with noise.

    Raises:
        ValueError: at below 0, or no rate above 0 in the model.
    """

    def __init__(self, model: nn.Module, at: int) -> None:
        if at < 0:
            raise invalid("at of StepSchedule must be 0 or more", at, "Give a number of updates.")
        self.at = at
        super().__init__(model)

    def factor_at(self, updates: int) -> float:
        """0, then 1."""
        return float(updates >= self.at)


class PiecewiseSchedule(Schedule):
    """Straight lines between points: as made, Kaldi's rise and fall.

    Equation:
        p(t) = p̄ · f(t / total_updates)
        f is linear between points (fraction of the training, factor), constant before the first and after the last
        as made: 0 until 20 %, up to p̄ at 50 %, down to 0 at the end
    Source:
        Cheng et al. 2017, "An exploration of dropout with LSTMs", Interspeech, doi 10.21437/Interspeech.2017-129; in
        Kaldi's recipes `dropout_schedule='0,0@0.20,0.3@0.50,0'`, p̄ 0.1 to 0.5.
    Authors' code:
        Counts the fraction of data seen, at each iteration of its own trainer.

    Args:
        model: a layer or any module.
        total_updates: optimizer updates of the whole training.
        points: pairs, fractions ascending in [0, 1], factors of 0 or more.

    Raises:
        ValueError: total_updates below 1, points out of order or range, no rate above 0 in the model, or one that a
            factor takes out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        total_updates: int,
        points: Sequence[tuple[float, float]] = ((0.2, 0.0), (0.5, 1.0), (1.0, 0.0)),
    ) -> None:
        fractions = [fraction for fraction, _ in points]
        ascending = all(a < b for a, b in pairwise(fractions))
        if not points or not ascending or fractions[0] < 0 or fractions[-1] > 1 or not all(f >= 0 for _, f in points):
            raise invalid(
                "points must be pairs (fraction, factor), fractions ascending in [0, 1], factors of 0 or more",
                points,
                "Give e.g. [(0, 0), (0.5, 1)].",
            )
        if total_updates < 1:
            raise invalid("total_updates must be 1 or more", total_updates, "Give the updates of the whole training.")
        self.total_updates = total_updates
        self.points = tuple(points)
        super().__init__(model)

    @property
    def largest(self) -> float:
        """The largest factor among the points."""
        return max(factor for _, factor in self.points)

    def factor_at(self, updates: int) -> float:
        """The line at this fraction of the training."""
        fractions, factors = zip(*self.points, strict=True)
        return float(np.interp(updates / self.total_updates, fractions, factors))


class LinearSchedule(PiecewiseSchedule):
    """A straight line, as made from no noise to the full rates.

    Equation:
        p(t) = p̄ · (start + (end - start) · min(1, t / total_updates)).
    Source:
        Rennie et al. 2014, "Annealed dropout training of deep networks", SLT, with start 1, end 0.

    Args:
        model: a layer or any module.
        total_updates: updates until the end of the line.
        start: first factor.
        end: last factor, kept afterwards.

    Raises:
        ValueError: as `PiecewiseSchedule`.
    """

    def __init__(self, model: nn.Module, total_updates: int, start: float = 0.0, end: float = 1.0) -> None:
        super().__init__(model, total_updates, ((0.0, start), (1.0, end)))


@dataclass(frozen=True)
class _Rate:
    """A module's attribute that holds a rate, or one for each layer."""

    module: nn.Module
    attribute: str
    target: Rate

    def times(self, factor: float) -> Rate:
        return rates(f"{self.attribute} of {type(self.module).__name__}", times(self.target, factor))

    def set(self, factor: float) -> None:
        setattr(self.module, self.attribute, self.times(factor))


@dataclass(frozen=True)
class _Noise:
    """A layer's methods."""

    layer: Regularized
    target: tuple[Method, ...]

    def times(self, factor: float) -> tuple[Method, ...]:
        return tuple(method.scaled(factor) for method in self.target)

    def set(self, factor: float) -> None:
        scaled = self.times(factor)
        self.layer.change_rates(scaled[0] if isinstance(self.layer.noise, Method) else scaled)


def _targets(module: nn.Module) -> Iterator[_Rate | _Noise]:
    if isinstance(module, Regularized):
        noise = tuple(method.explicit(Where(module.cell)) for method in as_methods(module.noise))
        if any(method.scaled(0.0) != method for method in noise):
            yield _Noise(module, noise)
    if isinstance(module, nn.RNNBase) and module.dropout:
        yield _Rate(module, "dropout", module.dropout)
    if isinstance(module, NoiseModule | _DropoutNd | FastDropoutLinear) and module.p:
        yield _Rate(module, "p", module.p)
    if isinstance(module, FastDropout):
        for name, rate in (("input", module.input), ("recurrent", module.recurrent)):
            if np.any(rate):
                yield _Rate(module, name, rate)
