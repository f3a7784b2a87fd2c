"""From data and flags to a task with settings: which kind of task it is, and what is small enough to compare."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurdrop.cli.shell import need
from recurdrop.errors import invalid

if TYPE_CHECKING:
    from recurdrop.study.setup import Setup
    from recurdrop.train.recipe import Recipe

TELLS = {
    "target": "forecast",
    "label": "classify",
    "text": "classify",
    "source_language": "translate",
    "target_language": "translate",
}
"""Flags that only one kind of task has, and that tell it."""

KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "target": {"forecast": ("data.target",)},
    "label": {"classify": ("data.label",)},
    "text": {"classify": ("data.text",)},
    "source_language": {"translate": ("data.source_language",)},
    "target_language": {"translate": ("data.target_language",)},
    "vocabulary": {"language": ("data.vocabulary", "model.vocabulary"), "classify": ("data.vocabulary",)},
    "tokens": {"language": ("data.tokens",)},
    "window": {"language": ("training.bptt",), "forecast": ("data.lookback",)},
    "horizon": {"forecast": ("data.horizon",)},
    "step": {"forecast": ("data.step",)},
}
"""What a flag sets, by kind."""
COMMON = {
    **{name: f"model.{name}" for name in ("cell", "hidden", "layers")},
    **{name: f"training.{name}" for name in ("epochs", "batch", "lr", "clip")},
}
"""What flags of all kinds set."""

_PACKAGES = {"forecast": ("pandas",), "classify": ("pandas",)}
_HELP = "Name a table's --target to forecast it, its --label and --text to classify, or --task."


def kind_of(source: Path | None, flags: Mapping[str, Any]) -> str:
    """Return the kind of task that data and flags mean.

    Raises:
        ValueError: flags of several kinds, or data that could be of any.
    """
    told = {kind: flag for flag, kind in TELLS.items() if flags.get(flag) is not None}
    if len(told) > 1:
        given = " and ".join(map(_flag, told.values()))
        raise invalid("flags must be of one kind of task", f"{given}, of {' and '.join(told)}", "Leave one out.")
    if told:
        return next(iter(told))
    if source is None:
        return "language"
    if source.is_dir():
        return _kind_of_folder(source)
    from recurdrop.files.tables import is_table

    name = source.name.lower()
    if name.endswith((".tar.gz", ".tgz", ".wav")):
        return "speech"
    if is_table(source) and source.exists():
        remedy = f"{_HELP} Two columns of sentences need --source-language and --target-language."
        raise invalid("a table needs a flag that says what to learn from it", str(source), remedy)
    if name.endswith((".json", ".json.gz")):
        return "music"
    _refuse_numbers(source)
    return "language"


def _refuse_numbers(source: Path) -> None:
    """Refuse a table of numbers under a name of text: words of numbers make a model that only seems good."""
    from recurdrop.files.tables import columns_of_numbers

    columns = columns_of_numbers(source) if source.is_file() else 0
    if columns:
        remedy = "Name the column to forecast with --target (without a header: its number, from 1), or --task language."
        given = f"{source}, which looks like a table of numbers with {columns} column{'s' * (columns > 1)}"
        raise invalid("running text must hold words", given, remedy)


def _kind_of_folder(folder: Path) -> str:
    from recurdrop.kinds.speech.data import ARCHIVE

    if (folder / ARCHIVE).is_file() or any(path.suffix.lower() == ".wav" for path in folder.rglob("*")):
        return "speech"
    if any(folder.glob("train/*/*.txt")):
        return "classify"
    remedy = "Name the languages of sentence pairs with --source-language and --target-language, or --task; or give "
    raise invalid("a folder must hold wav files, or texts by class", f"the folder {folder}", f"{remedy}one file.")


def recipe_of(kind: str, flags: Mapping[str, Any], changes: Sequence[str]) -> Recipe:
    """Return the settings of a comparison: its defaults for this kind, then flags, then changes.

    Args:
        kind: of the task.
        flags: by name; None where not given.
        changes: `part.key=value` each.

    Raises:
        ValueError: a kind that there is not, a flag that it does not have, or settings that break a rule.
    """
    from recurdrop import kinds
    from recurdrop.train.recipe import read_recipe

    if kind not in kinds.KINDS:
        raise invalid(f"--task must be one of {', '.join(kinds.KINDS)}", kind, "Choose one of them.")
    need(*_PACKAGES.get(kind, ()))
    given = {flag: value for flag, value in flags.items() if value is not None}
    found: dict[str, Any] = {}
    for flag, value in given.items():
        _check(flag, value)
        if flag not in COMMON and kind not in KEYS[flag]:
            rule = f"{_flag(flag)} is a flag of {' and '.join(KEYS[flag])}"
            raise invalid(rule, f"it for {kind}", "Leave it out, or name another --task.")
        found |= dict.fromkeys((COMMON[flag],) if flag in COMMON else KEYS[flag][kind], value)
    if kind == "language" and given.keys() & {"hidden", "layers"}:
        hidden = found.pop("model.hidden", None) or read_recipe(str(kinds.defaults(kind))).model.embedding
        found |= {"model.embedding": hidden, "model.widths": [hidden] * found.pop("model.layers", 1)}
    if "data.lookback" in found or any(change.replace(" ", "").startswith("data.lookback=") for change in changes):
        found.setdefault("data.fit_window", False)  # what the user asks for is kept, or refused
    written = [f"{key}={json.dumps(value)}" for key, value in found.items()]
    return replace(read_recipe(str(kinds.defaults(kind)), [*written, *changes]), name=kind)


def setup(source: Path | None, recipe: Recipe) -> Setup:
    """Read the data that a recipe is for.

    Raises:
        ValueError: data that are missing or can't be read.
    """
    from recurdrop.study.setup import Setup

    return Setup(recipe.load(source), recipe.data, recipe.model, recipe.training)


def _check(flag: str, value: Any) -> None:
    from recurdrop.models.recurrent import CELLS

    if flag == "cell" and value not in CELLS:
        raise invalid(f"--cell must be one of {', '.join(CELLS)}", value, "Choose one of them.")
    if isinstance(value, int) and value < 1:
        raise invalid(f"{_flag(flag)} must be 1 or more", value, "Leave it out for the default.")
    if isinstance(value, float) and not 0 < value < math.inf:
        raise invalid(f"{_flag(flag)} must be above 0 and finite", value, "Leave it out for the default.")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
