"""Compare methods on one text: which runs there are, what is left to do, and what follows from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recurdrop import methods
from recurdrop.data.text import Corpus
from recurdrop.errors import invalid
from recurdrop.methods import Method
from recurdrop.models.language import CELLS
from recurdrop.records import NONE, Row, RunRecord, Spread
from recurdrop.study.folder import Folder, slug
from recurdrop.study.pool import Job, OnEpoch, run_all
from recurdrop.study.ranking import deviation, rank
from recurdrop.train.config import Config
from recurdrop.train.environment import versions
from recurdrop.train.loop import build, score

Methods = dict[str, Method | None]
DEFAULT_OUT = Path("recurdrop-runs")
_NEXT_METHOD = re.compile(r",(?=\s*[A-Za-z_]\w*\s*(?:[,:]|$))")


def default_methods(config: Config) -> Methods:
    """Return none and every method that the cell has, at published rates.

    What equals an earlier one is left out, and what only spells another library's arguments.
    """
    chosen: Methods = {NONE: None}
    plans: list[Any] = []
    for name in methods.names():
        cls = methods.get(name)
        if not cls.by_default or config.cell.upper() not in cls.cells():
            continue
        method = cls.published()
        layers = CELLS[config.cell](1, 1, config.layers, noise=method).plans()
        plan = [
            [dataclasses.replace(noise, method="") for site in layer.values() for noise in site] for layer in layers
        ]
        if plan not in plans:
            plans.append(plan)
            chosen[name] = method
    return chosen


def parse_methods(text: str) -> Methods:
    """Return none and the methods of a list such as `zoneout,zaremba:0.3,locked:input=0.4,output=0.2`.

    A comma starts a new method where a name follows that is not `argument=`.

    Raises:
        ValueError: an unknown method, a bad rate, or one method twice.
    """
    chosen: Methods = {NONE: None}
    for part in _NEXT_METHOD.split(text):
        label = re.sub(r"\s+", "", part).lower()
        if label == NONE:
            continue
        if slug(label) in map(slug, chosen):
            raise invalid("--methods must name each method once", label, "Remove one.")
        chosen[label] = methods.parse(label)
    return chosen


@dataclass(frozen=True)
class Comparison:
    """A comparison that has been checked whole and can be run.

    Attributes:
        corpus: the text.
        config: settings of every run.
        methods: by label; `NONE` is one of them.
        seeds: of every method.
        folder: where records go.
    """

    corpus: Corpus
    config: Config
    methods: Methods
    seeds: tuple[int, ...]
    folder: Folder

    @classmethod
    def prepare(cls, corpus: Corpus, config: Config, chosen: Methods, seeds: int, out: Path | None) -> Comparison:
        """Check everything that can be wrong before the first run starts, and bind the folder.

        Args:
            corpus: the text.
            config: settings.
            chosen: methods by label.
            seeds: how many; they are 1, 2, ...
            out: the folder; None makes one in `recurdrop-runs` whose name follows from text and settings.

        Raises:
            ValueError: a method does not suit the cell or layers, too few seeds, or a folder that won't do.
        """
        if seeds < 1:
            raise invalid("--seeds must be 1 or more", seeds, "The default is 3.")
        for method in chosen.values():
            build(corpus, config, method)
        have = versions()
        settings = {
            "text": corpus.sha256,
            **dataclasses.asdict(config),
            "recurdrop": have["recurdrop"],
            "torch": have["torch"],
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        folder = Folder(out or DEFAULT_OUT / f"{slug(Path(corpus.name).stem) or 'text'}-{digest}")
        folder.bind(settings)
        return cls(corpus, config, chosen, tuple(range(1, seeds + 1)), folder)

    def finished(self) -> list[RunRecord]:
        """Return the records of the runs that are done.

        Raises:
            ValueError: one of them is damaged.
        """
        found = (self.folder.load(label, seed) for seed in self.seeds for label in self.methods)
        return [record for record in found if record is not None]

    def run(self, workers: int, on_epoch: OnEpoch) -> None:
        """Do the runs that are not done; seed by seed, so that an early stop leaves whole comparisons."""
        done = {(record.method, record.seed) for record in self.finished()}
        jobs = [
            Job(label, method, seed)
            for seed in self.seeds
            for label, method in self.methods.items()
            if (label, seed) not in done
        ]
        run_all(jobs, self.corpus, self.config, self.folder, min(workers, len(jobs)), on_epoch)

    def conclude(self) -> list[Row]:
        """Rank the finished runs; then, and only then, look at the test part, for the winner and none."""
        rows = rank(self.finished())
        winner = rows[0].method
        return [
            dataclasses.replace(row, test=self._test(row.method))
            if row.method in (winner, NONE) and math.isfinite(row.loss)
            else row
            for row in rows
        ]

    def _test(self, label: str) -> Spread:
        test = partial(score, self.corpus, self.config, self.methods[label])
        return deviation([math.exp(test(self.folder.load_weights(label, seed))) for seed in self.seeds])
