"""`recurdrop recipes`: which recipes there are."""

from __future__ import annotations

import math
import sys
from importlib import resources
from typing import Annotated

import typer
from rich.table import Table

from recurdrop import recipes as published
from recurdrop.cli.console import Console
from recurdrop.cli.shell import fail, widen

_NARROWEST = 160


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe as TOML, to copy and change.")] = None,
) -> None:
    """List the recipes, or show one. Each says in `source` who published its settings, or which are recurdrop's own.

    Example: recurdrop recipes zaremba-medium > mine.toml
    """
    if name is None:
        console = Console()
        widen(console, _NARROWEST)
        console.print(_table())
    elif name in published.names():
        file = resources.files(published).joinpath(f"{name}.toml")
        sys.stdout.write(file.read_text(encoding="utf-8"))
    else:
        fail(f"there is no recipe {name!r}; there are {', '.join(published.names())}.")


def _table() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("recipe", "task", "metric", "published\nvalid", "published\ntest", "source"):
        table.add_column(column, justify="right" if "\n" in column else "left", no_wrap=column in ("recipe", "task"))
    for name in published.names():
        found = published.tables(name)
        numbers = {"metric": "", "valid": math.nan, "test": math.nan, **found.get("published", {})}
        shown = ("–" if math.isnan(numbers[part]) else f"{numbers[part]:g}" for part in ("valid", "test"))
        source = " ".join(found.get("source", "").split())
        table.add_row(name, found["task"], numbers["metric"], *shown, source.split(";")[0])
    return table
