"""Rows as a table for people, and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from benchmarks.cases import Target
from benchmarks.rows import Row

Rows = Mapping[str, Sequence[Row]]


def table(rows: Rows) -> Table:
    """Return the final table, one section a group."""
    shown = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in ("group", "case", "what"):
        shown.add_column(name, no_wrap=True)
    for name in ("ratio", "must", "aim", "holds"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("beside it", style="dim")
    for group, members in rows.items():
        for row in members:
            shown.add_row(group, *_cells(row), end_section=row is members[-1])
            group = ""
    return shown


def _cells(row: Row) -> tuple[str, ...]:
    target = row.target
    must, aim = (_bound(target, bound) for bound in ((target.must, target.aim) if target else (None, None)))
    beside = " · ".join(f"{name} {_number(value)}" for name, value in row.beside.items())
    if row.wrong:
        beside = f"[red]{row.wrong[:200]}[/red] {beside}"
    value = "–" if math.isnan(row.value) else _number(row.value)
    return row.case, row.about, value, must, aim, _verdict(row), beside


def _bound(target: Target | None, bound: float | None) -> str:
    if target is None or bound is None:
        return ""
    return f"{'≤' if target.most else '≥'} {bound:g}"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 20 else f"{value:.0f}"


def _verdict(row: Row) -> str:
    if row.wrong:
        return "[red]wrong[/red]"
    if row.holds is None or row.target is None:
        return ""
    if row.target.aim is not None and row.target.met(row.value, row.target.aim):
        return "[green]aim[/green]"
    return "[green]yes[/green]" if row.holds else "[yellow]no[/yellow]"


def count(rows: Rows) -> str:
    """Say how many targets hold."""
    verdicts = [row.holds for members in rows.values() for row in members if row.holds is not None]
    return f"{sum(verdicts)} of {len(verdicts)} targets hold"


def as_json(conditions: Mapping[str, object], rows: Rows) -> dict[str, Any]:
    """Return conditions and rows as JSON can hold them; NaN becomes null."""
    return {
        "conditions": dict(conditions),
        "groups": {group: [_row(row) for row in members] for group, members in rows.items()},
    }


def _row(row: Row) -> dict[str, Any]:
    return dataclasses.asdict(row) | {"value": None if math.isnan(row.value) else row.value, "holds": row.holds}
