"""Compare methods on one set of data: which runs there are, what is left to do, and what follows from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recurdrop import methods
from recurdrop.errors import invalid
from recurdrop.kinds.base import Score
from recurdrop.nn.base import Regularized
from recurdrop.records import NONE, Row, RunRecord, Spread
from recurdrop.spread import deviation
from recurdrop.study.folder import Folder, slug
from recurdrop.study.pool import Job, OnEpoch, run_all
from recurdrop.study.ranking import rank
from recurdrop.study.setup import Setup
from recurdrop.train.environment import versions
from recurdrop.train.lock import only_process
from recurdrop.train.run import DEFAULT_OUT

_NEXT_METHOD = re.compile(r",(?=\s*[A-Za-z_]\w*\s*(?:[,:]|$))")


def default_methods(setup: Setup) -> tuple[str, ...]:
    """Return none and the name of every method that the model can have, at published rates.

    What equals an earlier one is left out, and what only spells another library's arguments.

    Raises:
        ValueError: settings of the model that don't fit together.
    """
    setup.build(NONE)
    chosen = [NONE]
    plans: list[Any] = []
    for name in methods.names():
        try:
            plan = _plan(setup, name) if methods.get(name).by_default else None
        except ValueError:  # without it the settings are good, so the method doesn't suit this cell or these layers
            continue
        if plan is not None and plan not in plans:
            plans.append(plan)
            chosen.append(name)
    return tuple(chosen)


def _plan(setup: Setup, label: str) -> list[Any]:
    layers = [plan for rnn in setup.build(label).modules() if isinstance(rnn, Regularized) for plan in rnn.plans()]
    return [[dataclasses.replace(noise, method="") for site in layer.values() for noise in site] for layer in layers]


def parse_methods(text: str) -> tuple[str, ...]:
    """Return none and the methods of a list such as `zoneout,zaremba:0.3,locked:input=0.4,output=0.2`.

    A comma starts a new method where a name follows that is not `argument=`.

    Raises:
        ValueError: an unknown method, a bad rate, or one method twice.
    """
    chosen = [NONE]
    for part in _NEXT_METHOD.split(text):
        label = re.sub(r"\s+", "", part).lower()
        if label == NONE:
            continue
        if slug(label) in map(slug, chosen):
            raise invalid("--methods must name each method once", label, "Remove one.")
        methods.parse(label)
        chosen.append(label)
    return tuple(chosen)


@dataclass(frozen=True)
class Comparison:
    """A comparison that has been checked whole and can be run.

    Attributes:
        setup: data and settings of every run.
        methods: labels; `NONE` is the first.
        seeds: of every method.
        folder: where records go.
    """

    setup: Setup
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    folder: Folder

    @classmethod
    def prepare(cls, setup: Setup, chosen: tuple[str, ...], seeds: int, out: Path | None) -> Comparison:
        """Check everything that can be wrong before the first run starts, and bind the folder.

        Args:
            setup: data and settings.
            chosen: labels of methods.
            seeds: how many; they are 1, 2, ...
            out: the folder; None makes one in `recurdrop-runs` whose name follows from data and settings.

        Raises:
            ValueError: a method does not suit the cell or layers, noise in the model's own settings, too few seeds, or
                a folder that won't do.
        """
        if seeds < 1:
            raise invalid("--seeds must be 1 or more", seeds, "The default is 3.")
        if setup.model.noise:
            raise invalid("a comparison sets model.noise itself", setup.model.noise, "Name methods with --methods.")
        for label in chosen:
            setup.build(label)
        if not len(setup.task.batches(setup.training, 0, 1)):
            rule = "the training part must have a batch"
            raise invalid(rule, f"none of {setup.training.batch}", "Give more data, or lower --batch.")
        have = versions()
        settings = {
            "task": setup.task.kind,
            "data": setup.task.sha256,
            **setup.config(),
            "recurdrop": have["recurdrop"],
            "torch": have["torch"],
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        folder = Folder(out or DEFAULT_OUT / f"{slug(Path(setup.task.name).stem) or setup.task.kind}-{digest}")
        folder.bind(settings)
        return cls(setup, chosen, tuple(range(1, seeds + 1)), folder)

    def finished(self) -> list[RunRecord]:
        """Return the records of the runs that are done.

        Raises:
            ValueError: one of them is damaged.
        """
        found = (self.folder.load(label, seed) for seed in self.seeds for label in self.methods)
        return [record for record in found if record is not None]

    def run(self, workers: int, on_epoch: OnEpoch) -> None:
        """Do the runs that are not done; seed by seed, so that an early stop leaves whole comparisons.

        Raises:
            ValueError: another process works in the folder.
        """
        if not self._left():  # a folder that is only read may be somebody else's, or read-only
            return
        with only_process(self.folder.path):
            jobs = self._left()
            run_all(jobs, self.setup, self.folder, min(workers, len(jobs)), on_epoch)

    def _left(self) -> list[Job]:
        """Return the runs that are not done, seed by seed."""
        done = {(record.method, record.seed) for record in self.finished()}
        return [Job(label, seed) for seed in self.seeds for label in self.methods if (label, seed) not in done]

    def conclude(self) -> list[Row]:
        """Rank finished runs and baselines; then, and only then, look at the test part, for the winner and none."""
        rows = rank(self.finished(), self.setup.task.baselines("valid"))
        winner = next(row.method for row in rows if not row.baseline)
        baselines = self.setup.task.baselines("test")
        return [dataclasses.replace(row, test=self._test(row, winner, baselines)) for row in rows]

    def _test(self, row: Row, winner: str, baselines: Mapping[str, Score]) -> Spread | None:
        if row.baseline:
            return Spread(baselines[row.method].metric, math.nan)
        if row.method not in (winner, NONE) or not math.isfinite(row.loss):
            return None
        weights = (self.folder.load_weights(row.method, seed) for seed in self.seeds)
        return deviation([self.setup.test(row.method, found) for found in weights])
