"""The report of a comparison: a page that opens alone, and the pictures and numbers beside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from recurdrop.records import NONE, SCHEMA, Row, RunRecord, write_bytes, write_json
from recurdrop.report import plots, tables


def page(rows: Sequence[Row], records: Sequence[RunRecord], command: str) -> str:
    """Return the page as HTML; pictures are inside, and everything from outside is escaped.

    Args:
        rows: the ranking.
        records: the runs behind it.
        command: what the user typed.
    """
    return _page(rows, records, command, _pictures(rows, records))


def _pictures(rows: Sequence[Row], records: Sequence[RunRecord]) -> dict[str, bytes]:
    drawn = {
        "ranking": plots.ranking(rows, records),
        "curves": plots.curves(rows, records),
        "rates": plots.rates(records),
    }
    return {name: png for name, png in drawn.items() if png}


def _page(rows: Sequence[Row], records: Sequence[RunRecord], command: str, pictures: dict[str, bytes]) -> str:
    metric = records[0].metric
    shown = {name: _inline(png) for name, png in pictures.items()}
    template = Environment(
        loader=PackageLoader("recurdrop.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("compare.html.j2")
    return template.render(
        rows=rows,
        records=records,
        first=records[0],
        command=command,
        base=NONE,
        columns=tables.columns(records[0]),
        cells=tables.cells,
        caption=tables.caption(rows, records[0]),
        verdict=tables.verdict(rows, metric),
        test_line=tables.test_line(rows, metric),
        winner=tables.winner(rows),
        backends=sorted({str(record.machine["backend"]) for record in records}),
        ranking=shown["ranking"] if sum(not row.baseline for row in rows) > 1 else None,
        curves=shown["curves"],
        rates=shown.get("rates"),
    )


def write(folder: Path, rows: Sequence[Row], records: Sequence[RunRecord], command: str, name: dict[str, str]) -> Path:
    """Write `report.html`, `summary.json`, `ranking.png`, `curves.png`, `rates.png` and one PNG a method.

    There is `rates.png` where a method ran at several rates.

    Args:
        folder: where they go.
        rows: the ranking.
        records: the runs behind it.
        command: what the user typed.
        name: of each method's picture, without suffix.

    Returns:
        The path of the page.
    """
    curves = folder / "curves"
    curves.mkdir(exist_ok=True)
    for row in rows:
        if not row.baseline:
            write_bytes(curves / f"{name[row.method]}.png", plots.curve(row, rows, records))
    pictures = _pictures(rows, records)
    for picture, png in pictures.items():
        write_bytes(folder / f"{picture}.png", png)
    write_json(folder / "summary.json", {"schema": SCHEMA, "command": command, "rows": list(rows)})
    write_bytes(folder / "report.html", _page(rows, records, command, pictures).encode())
    return folder / "report.html"


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
