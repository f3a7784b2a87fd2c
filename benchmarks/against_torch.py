"""Ours with noise against the plain layer of torch.nn: R = its time ÷ ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from benchmarks.cases import (
    CASES,
    EVALUATION,
    MAIN,
    OUTSIDE,
    OUTSIDE_METHODS,
    PACKED,
    PADDED,
    Case,
    Noise,
    Target,
    in_loop,
)
from benchmarks.rows import Row, Settings
from benchmarks.steps import Batch, Step, batch, evaluation, ours, plain, training
from benchmarks.timing import alternate
from benchmarks.verify import wrong, wrong_evaluation
from recurdrop.sites import Cell


@dataclass(frozen=True)
class AgainstTorch:
    """One group of rows.

    Attributes:
        targets: of each case.
        about: what is compared.
        noises: what a cell is given.
        worst: whether the row is the worst noise instead of the main one.
        packed: whether the batch is a `PackedSequence` of mixed lengths.
        training: whether a training step is timed, or an evaluation.
    """

    targets: Mapping[str, Target]
    about: str
    noises: Callable[[Cell], Mapping[str, Noise]]
    worst: bool = False
    packed: bool = False
    training: bool = True

    def __call__(self, settings: Settings) -> Iterator[Row]:
        for name, target in self.targets.items():
            if settings.wanted(name):
                yield self._row(name, CASES[name], target, settings.rounds)

    def _row(self, name: str, case: Case, target: Target, rounds: int) -> Row:
        noises = self.noises(case.cell)
        found = {label: self._wrong(case, noise) for label, noise in noises.items()}
        faults = "; ".join(f"{label}: {fault}" for label, fault in found.items() if fault)
        x = batch(case, packed=self.packed)
        layers = {"torch.nn": plain(case)} | {k: ours(case, noise) for k, noise in noises.items() if not found[k]}
        times = alternate({label: self._step(case, layer, x) for label, layer in layers.items()}, rounds)
        ratios = {label: times["torch.nn"].median / times[label].median for label in times if label != "torch.nn"}
        value = min(ratios.values(), default=math.nan) if self.worst else ratios.get(MAIN, math.nan)
        beside = {label: ratio for label, ratio in ratios.items() if self.worst or label != MAIN}
        return Row(name, self.about, value, target, beside, times, faults)

    def _step(self, case: Case, layer: nn.Module, x: Batch) -> Step:
        return training(case, layer, x) if self.training else evaluation(layer, x)

    def _wrong(self, case: Case, noise: Noise) -> str:
        return wrong(case, noise, packed=self.packed) if self.training else wrong_evaluation(case, noise)


def _some(*names: str) -> Callable[[Cell], Mapping[str, Noise]]:
    return lambda cell: {name: in_loop(cell)[name] for name in names}


padded = AgainstTorch(PADDED, f"R, {MAIN} 0.3", lambda cell: in_loop(cell) | {"no noise": None})
packed = AgainstTorch(PACKED, f"R, {MAIN} 0.3", _some(MAIN, "zoneout"), packed=True)
outside = AgainstTorch(dict.fromkeys(CASES, OUTSIDE), "R, the worst of", lambda _: OUTSIDE_METHODS, worst=True)
inference = AgainstTorch(
    dict.fromkeys(CASES, EVALUATION), "R, the worst of", _some(MAIN, "zoneout"), worst=True, training=False
)
