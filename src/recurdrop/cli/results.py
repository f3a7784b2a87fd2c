"""`recurdrop results`: the tables of a results page, from records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recurdrop.cli.shell import bad_input, say


def results(
    records: Annotated[Path, typer.Argument(help="Folder of the files that recurdrop reproduce writes.")] = Path(
        "recurdrop-results"
    ),
    only: Annotated[
        str | None, typer.Option(help="Recipes to show, in this order, e.g. jsb-rnn,jsb-fastdropout.")
    ] = None,
) -> None:
    """Print published beside measured as Markdown: means, every seed, differences paired by seed, commands.

    Example: recurdrop results recurdrop-results --only trigger-gru-plain,trigger-gru
    """
    from recurdrop.errors import invalid
    from recurdrop.measured import read_measured
    from recurdrop.report.results_tables import results_tables

    with bad_input():
        found = read_measured(records)
        wanted = [] if only is None else [name.strip() for name in only.split(",")]
        known = list(dict.fromkeys(record.recipe for record in found))
        for name in wanted:
            if name not in known:
                raise invalid(f"--only must name recipes with records, {', '.join(known)}", name, "Leave it out.")
    say(results_tables(found, wanted))
