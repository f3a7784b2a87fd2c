"""A run in a folder: bound to its recipe, data and seed; resumable; what eval and predict open."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from recurdrop.errors import invalid
from recurdrop.kinds.base import Part, Score, Task
from recurdrop.records import Point, write_json
from recurdrop.tables import identity
from recurdrop.train.best import BEST, load_weights, read_best
from recurdrop.train.checkpoint import checkpoint_digest, read_checkpoint
from recurdrop.train.fit import CHECKPOINT, Fitted, fit
from recurdrop.train.limits import check_model
from recurdrop.train.lock import is_empty, only_process
from recurdrop.train.recipe import Recipe, from_tables

DEFAULT_OUT = Path("recurdrop-runs")
ABOUT = "run.json"
_KEYS: dict[str, tuple[type, ...]] = {
    "about": (str,),
    "name": (str,),
    "seed": (int,),
    "data": (str, types.NoneType),
    "recipe": (dict,),
}
"""What `run.json` holds."""


@dataclass(frozen=True)
class Run:
    """A recipe with its data, seed and folder.

    Attributes:
        recipe: the settings.
        task: the data.
        source: where the data are; None for those that come without a file.
        seed: of weights, order and noise.
        folder: holds `run.json`, `checkpoint.safetensors`, `best.safetensors`, and what the commands add.
    """

    recipe: Recipe
    task: Task[Any, Any]
    source: Path | None
    seed: int
    folder: Path

    @classmethod
    def prepare(cls, recipe: Recipe, source: Path | None, seed: int, out: Path | None = None) -> Run:
        """Read the data, and make the folder or find this run in it.

        Args:
            recipe: the settings.
            source: where the data are.
            seed: of weights, order and noise.
            out: the folder; None makes one in `recurdrop-runs` whose name follows from recipe, data and seed.

        Raises:
            ValueError: data or settings of the model that won't do, or a folder that holds something else.
        """
        task = recipe.load(source)
        check_model(task, recipe.model)
        run = cls(
            recipe,
            task,
            source,
            seed,
            out or DEFAULT_OUT / f"{recipe.name}-seed{seed}-{_about(recipe, task, seed)[:8]}",
        )
        file, elsewhere = run.folder / ABOUT, "Choose another folder with --out."
        if file.exists():
            run._check_bound(elsewhere)
            return run
        if run.folder.is_dir() and not is_empty(run.folder):
            raise invalid("--out must be a new folder, or hold this very run", str(run.folder), elsewhere)
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            where = None if source is None else str(source.resolve())
            bound = {"about": run.about, "name": recipe.name, "seed": seed, "data": where}
            with only_process(run.folder):
                if not file.exists():
                    write_json(file, {**bound, "recipe": recipe.tables()})
        except OSError as error:
            value = f"{run.folder} ({error.strerror})"
            raise invalid("--out must be a folder that can be written", value, elsewhere) from None
        run._check_bound(elsewhere)  # to this run, also where two processes came at once
        return run

    @classmethod
    def open(cls, folder: Path, source: Path | None = None) -> Run:
        """Open a run that has been trained, or is in training.

        Args:
            folder: of the run.
            source: where the data are now; None where they were.

        Raises:
            ValueError: no run, or data that are not those it was trained on.
        """
        file = folder / ABOUT
        if not file.exists():
            raise invalid("RUN must be the folder of a run", str(folder), "Make one with recurdrop train.")
        found = _read(file)
        recipe, where = from_tables(found["name"], found["recipe"]), found["data"]
        source = source or (None if where is None else Path(where))
        run = cls(recipe, recipe.load(source), source, found["seed"], folder)
        if run.about != found["about"]:
            raise invalid(
                "the data must be those of the training, and this recurdrop have its settings",
                str(source),
                "Give the data with --data.",
            )
        return run

    def _check_bound(self, remedy: str) -> None:
        if _read(self.folder / ABOUT)["about"] != self.about:
            value = f"{self.folder}, whose settings, data or seed differ"
            raise invalid("--out must be a new folder, or hold this very run", value, remedy)

    @property
    def about(self) -> str:
        """A digest of everything that the weights depend on."""
        return _about(self.recipe, self.task, self.seed)

    def fit(self, **options: Any) -> Fitted:
        """Train, or go on where an earlier run was stopped; options are those of `fit`."""
        return fit(
            self.task,
            self.recipe.model,
            self.recipe.training,
            seed=self.seed,
            folder=self.folder,
            about=self.about,
            **options,
        )

    def curve(self) -> list[Point]:
        """Return the scores after each epoch so far.

        Raises:
            ValueError: no checkpoint yet, or one that is damaged.
        """
        return [Point(*values) for values in self._saved()["curve"]]

    def model(self) -> nn.Module:
        """Return the model with its best weights, in evaluation mode.

        Raises:
            ValueError: no epoch has had a validation loss yet, or weights that are not those of the checkpoint.
        """
        weights = self._best()
        if not weights:
            raise invalid("a run has weights once an epoch has a validation loss", str(self.folder), "Train it first.")
        check_model(self.task, self.recipe.model)
        model = self.task.build(self.recipe.model)
        load_weights(model, weights, self.folder / BEST)
        return model.eval()

    def _best(self) -> dict[str, Tensor]:
        """Return the weights that the checkpoint names; without a checkpoint, those that were kept of the run."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return read_best(self.folder, self.about, {})[0]
        while True:
            digest = checkpoint_digest(path)
            try:
                return read_best(self.folder, self.about, self._saved())[0]
            except ValueError:
                if checkpoint_digest(path) == digest:
                    raise  # else the run, which is in training, has gone on between the two files

    def _saved(self) -> dict[str, Any]:
        """Return what the checkpoint says of the run."""
        path = self.folder / CHECKPOINT
        state = read_checkpoint(path, self.about)
        saved = state.get("recurdrop") if isinstance(state, dict) else None
        curve = saved.get("curve") if isinstance(saved, dict) else None
        if not isinstance(saved, dict) or not isinstance(curve, list) or not all(map(_is_point, curve)):
            raise invalid("a checkpoint must hold the curve of its run", str(path), "Put back the one of this run.")
        return saved

    def score(self, part: Part, *, samples: int = 0) -> tuple[Score, Mapping[str, float]]:
        """Return the score of the best weights on a part, and the measures that take longer."""
        model = self.model()
        return self.task.score(model, part, samples=samples), self.task.final(model, part)


def _about(recipe: Recipe, task: Task[Any, Any], seed: int) -> str:
    settings = ", ".join(map(identity, (recipe.data, recipe.model, recipe.training)))
    return hashlib.sha256(f"({recipe.kind!r}, {settings}, {task.sha256!r}, {seed})".encode()).hexdigest()


def _is_point(values: Any) -> bool:
    numbers = isinstance(values, tuple | list) and len(values) == len(dataclasses.fields(Point))
    return numbers and all(isinstance(value, int | float) for value in values)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise invalid("run.json must be JSON", str(file), "Give another folder.") from None
    wrong = "an object" if not isinstance(found, dict) else ""
    for key, kinds in _KEYS.items() if isinstance(found, dict) else ():
        if not isinstance(found.get(key, ...), kinds) or isinstance(found.get(key), bool):
            wrong = wrong or f"its key {key!r}"
    if wrong:
        raise invalid("run.json must be that of a run", f"{file}, where {wrong} is not", "Give another folder.")
    return dict(found)
