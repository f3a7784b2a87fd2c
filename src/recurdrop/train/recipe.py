"""Recipes: everything about a run as one TOML file, checked whole before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recurdrop import kinds, recipes
from recurdrop.errors import invalid
from recurdrop.kinds.base import OPTIONAL, Task
from recurdrop.models.settings import TrainingSettings
from recurdrop.recipes import tomllib
from recurdrop.tables import closest, plain, read_settings
from recurdrop.train.limits import fits_in_memory

_TEXTS = ("task", "source", "against")
"""Keys of a recipe outside its tables."""


@dataclass(frozen=True)
class PublishedNumbers:
    """What was published for a recipe.

    Attributes:
        metric: what it is, such as "perplexity".
        valid: on the validation part; NaN where none is known.
        test: on the test part.
    """

    metric: str
    valid: float = math.nan
    test: float = math.nan


@dataclass(frozen=True)
class Recipe:
    """Everything about a run but the data's place and the seed.

    Attributes:
        name: of the recipe, or of its file.
        kind: of the task.
        source: who published the settings, and what they leave open.
        data: what of the data is used, of the task's `Data`.
        model: settings of the task's `Model`.
        training: settings of the training.
        published: numbers to compare with; None where there are none.
        against: name of the same recipe without the noise, with whose runs of equal seeds this one's are paired; "" for
            none.
    """

    name: str
    kind: str
    source: str
    data: Any
    model: Any
    training: TrainingSettings
    published: PublishedNumbers | None = None
    against: str = ""

    @property
    def task(self) -> type[Task[Any, Any]]:
        """The task's class."""
        return kinds.get(self.kind)

    def load(self, source: Path | None) -> Task[Any, Any]:
        """Read the data.

        Raises:
            ValueError: there are none, or they won't do.
        """
        if source is None and self.task.needs_data:
            raise invalid(f"{self.kind} needs data", "none", "Give a file or folder.")
        with fits_in_memory("data", self.data):
            return self.task.load(source, self.data)  # type: ignore[arg-type]

    def tables(self) -> dict[str, Any]:
        """Return the recipe as `from_tables` takes it."""
        found = {name: plain(getattr(self, name)) for name in ("data", "model", "training")}
        published = {} if self.published is None else {"published": plain(self.published)}
        against = {"against": self.against} if self.against else {}
        return {"task": self.kind, "source": self.source, **against, **found, **published}


def read_recipe(name: str, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name: of a published one, or the path of a TOML file.
        changes: like `training.lr=0.5`; the value is TOML's, or text without its quotes.

    Raises:
        ValueError: there is no such recipe; or all keys and types in it that are wrong, else the rules that are broken,
            in one message.
    """
    path = Path(name)
    if name in recipes.names():
        found = recipes.tables(name)
    elif path.suffix == ".toml":
        found = _read(path)
    else:
        raise invalid(
            "a recipe goes by its name, or is a .toml file", name, f"Choose among {', '.join(recipes.names())}."
        )
    for change in changes:
        _change(found, change)
    return from_tables(path.stem if path.suffix == ".toml" else name, found)


def from_tables(name: str, found: Mapping[str, Any]) -> Recipe:
    """Make a recipe from TOML's tables.

    Raises:
        ValueError: all keys and types that are wrong, else the rules that are broken, in one message.
    """
    found = {"source": "", "against": "", "data": {}, "model": {}, **found}
    kind = found.get("task")
    task = kinds.get(kind if isinstance(kind, str) else repr(kind))
    known = {"data": task.Data, "model": task.Model, "training": TrainingSettings, "published": PublishedNumbers}
    problems = [f"there is no {key!r}{closest(key, known)}" for key in found if key not in (*known, *_TEXTS)]
    problems += [f"{key} must be text" for key in _TEXTS if not isinstance(found.get(key, ""), str)]
    settings: dict[str, Any] = {}
    for part, cls in known.items():
        table = found.get(part)
        if table is None:
            problems += [] if part == "published" else [f"the table [{part}] is missing"]
        elif not isinstance(table, dict):
            problems.append(f"{part} must be a table")
        else:
            settings[part] = read_settings(cls, table, part, problems)
    if isinstance(found.get("training"), dict):
        unread = sorted(found["training"].keys() & OPTIONAL - task.reads)
        problems += [f"training.{name} means nothing to {kind}" for name in unread]
    if problems:
        raise invalid(f"the recipe {name} must hold settings that there are", "; ".join(problems), "Mend all of them.")
    return Recipe(name, str(kind), found["source"].strip(), **settings, against=found["against"])


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise invalid("a recipe must be a file that can be read", f"{path} ({error.strerror})", "Check it.") from None
    except (ValueError, RecursionError) as error:
        raise invalid("a recipe must be TOML", f"{path} ({error})", "Mend the file.") from None


def _change(found: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    part, _, key = path.strip().partition(".")
    if not (equals and part and key):
        raise invalid("a change is part.key=value", change, "Write e.g. training.lr=0.5.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except RecursionError:
        raise invalid(
            "a change's value must be a plain one", f"{change[:60]}…", "Write e.g. training.lr=0.5."
        ) from None
    table = found.setdefault(part, {})
    if not isinstance(table, dict):
        raise invalid("a change is of a key in a table", change, "Write e.g. training.lr=0.5.")
    table[key] = value
