"""Tasks: one kind of data with the model, the loss and the measures that go with it."""

from __future__ import annotations

import importlib
from typing import Any

from recurdrop.errors import invalid
from recurdrop.tasks.base import Task

KINDS = {
    "language": "language:LanguageTask",
    "forecast": "forecast:ForecastTask",
    "classify": "classify:ClassifyTask",
    "translate": "translate:TranslateTask",
    "trigger": "trigger:TriggerTask",
    "speech": "spoken:SpokenTask",
    "music": "music:MusicTask",
    "temporal-order": "order:OrderTask",
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
    found: type[Task[Any, Any]] = getattr(importlib.import_module(f"recurdrop.tasks.{module}"), name)
    return found
