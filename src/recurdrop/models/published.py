"""The published language models by name, from their recipes."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping

from recurdrop import recipes
from recurdrop.errors import invalid
from recurdrop.models.settings import ModelSettings, Published, TrainingSettings
from recurdrop.tables import read_settings


class _Recipes(Mapping[str, Published]):
    """Every recipe of a language model; files are read when one is asked for."""

    @functools.cached_property
    def _found(self) -> dict[str, Published]:
        tables = {name: recipes.tables(name) for name in recipes.names()}
        return {name: _published(name, table) for name, table in tables.items() if table["task"] == "language"}

    def __getitem__(self, name: str) -> Published:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _published(name: str, table: dict[str, dict[str, object]]) -> Published:
    problems: list[str] = []
    model = read_settings(ModelSettings, table["model"], f"{name}: model", problems)
    training = read_settings(TrainingSettings, table["training"], f"{name}: training", problems)
    if model is None or training is None:
        raise invalid("a recipe must hold settings that there are", "; ".join(problems), "Mend the file.")
    numbers = {"metric": "", "valid": math.nan, "test": math.nan, **table.get("published", {})}
    return Published(str(table["data"]["set"]), model, training, source=str(table["source"]).strip(), **numbers)  # type: ignore[arg-type]


PUBLISHED: Mapping[str, Published] = _Recipes()
"""Every published setting by its name."""
