"""`recurdrop methods`: what there is to choose from."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer
from rich.table import Table

from recurdrop import methods as registry
from recurdrop.cli.console import Console
from recurdrop.cli.shell import bad_input, widen

_NARROWEST = 130


def methods(name: Annotated[str | None, typer.Argument(help="A method; all in brief without it.")] = None) -> None:
    """List the methods, or print the page of one.

    Example: recurdrop methods zoneout
    """
    console = Console()
    if name is None:
        _list(console)
        return
    with bad_input():
        cls = registry.get(name.lower())
    console.print(f"{cls.name}: {cls.cite}\n{cls.published()!r} as published", soft_wrap=True)
    console.print()
    console.print(inspect.getdoc(cls) or "", soft_wrap=True)


def _list(console: Console) -> None:
    widen(console, _NARROWEST)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("method", "sites", "one mask shared over", "cells", "source"):
        table.add_column(column, no_wrap=column == "method")
    for name in registry.names():
        cls = registry.get(name)
        row = (name, " ".join(cls.sites()), cls.sharing, " ".join(cls.cells()), cls.cite)
        table.add_row(*row)
    console.print(table)
