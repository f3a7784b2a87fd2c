"""The tables of several seeds on the results page are those that the records give."""

from __future__ import annotations

import re
from pathlib import Path

from recurdrop.measured import read_measured
from recurdrop.report.results_tables import results_tables

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"<!-- results: (\S+) -->\n\n(.*?)\n\n<!-- end of results -->", re.DOTALL)


def test_the_page_says_what_the_records_say() -> None:
    records = read_measured(DOCS / "results")
    blocks = BLOCK.findall((DOCS / "results.md").read_text(encoding="utf-8"))
    assert blocks
    for names, table in blocks:
        assert table == results_tables(records, names.split(",")), f"run recurdrop results docs/results --only {names}"
    shown = {name for names, _ in blocks for name in names.split(",")}
    assert shown == {record.recipe for record in records}
