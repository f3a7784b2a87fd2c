"""Kinds of data, each in a folder: how it is read, its model, loss and measures, and the defaults of `compare`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from recurdrop.errors import invalid
from recurdrop.kinds.base import Task

KINDS = {
    "language": "language.task:LanguageTask",
    "forecast": "forecast.task:ForecastTask",
    "classify": "classify.task:ClassifyTask",
    "translate": "translate.task:TranslateTask",
    "trigger": "trigger.task:TriggerTask",
    "speech": "speech.task:SpokenTask",
    "music": "music.task:MusicTask",
    "temporal-order": "temporal_order.task:OrderTask",
}
"""Where each kind of task lives; one is imported when it is asked for."""


def get(kind: str) -> type[Task[Any, Any]]:
    """Return the class of a kind of task.

    Raises:
        ValueError: there is none of that name.
    """
    if kind not in KINDS:
        raise invalid(f"task must be one of {', '.join(KINDS)}", kind, "Choose one of them.")
    module, name = KINDS[kind].split(":")
    found: type[Task[Any, Any]] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return found


def defaults(kind: str) -> Path:
    """Return the recipe that a comparison of this kind starts from, as a TOML file in the kind's folder.

    Args:
        kind: one of `KINDS`.
    """
    folder = KINDS[kind].partition(".")[0]
    return Path(__file__).parent / folder / "defaults.toml"
