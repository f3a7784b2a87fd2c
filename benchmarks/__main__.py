"""The command: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.against_torch import inference, outside, packed, padded
from benchmarks.cases import CASES
from benchmarks.conditions import conditions
from benchmarks.footprint import importing, memory
from benchmarks.growth import growth
from benchmarks.kernels import noise, rate
from benchmarks.peers import peers
from benchmarks.rows import Group, Row, Settings
from benchmarks.table import as_json, count, table

GROUPS: dict[str, Group] = {
    "padded": padded,
    "packed": packed,
    "peers": peers,
    "noise": noise,
    "rate": rate,
    "memory": memory,
    "import": importing,
    "outside": outside,
    "evaluation": inference,
    "growth": growth,
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time training steps, as ratios.")
    parser.add_argument(
        "--only", nargs="+", default=[], choices=[*GROUPS, *CASES], metavar="NAME", help="groups, cases"
    )
    parser.add_argument("--rounds", type=int, default=9, help="timed steps of each candidate (default: 9)")
    parser.add_argument("--threads", type=int, default=2, help="of torch and of peers (default: 2)")
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args(arguments)


def main() -> None:
    given = parse()
    torch.set_num_threads(given.threads)
    groups = {name: group for name, group in GROUPS.items() if name in given.only} or GROUPS
    cases = set(given.only) - set(GROUPS)
    settings = Settings(given.rounds, given.threads, lambda case: not cases or case in cases)
    console, progress = Console(), Console(stderr=True)
    if not console.is_terminal:
        console.width = 180
    ran_on = conditions(settings)
    console.print(" · ".join(f"{name} {value}" for name, value in ran_on.items()), highlight=False)
    start, rows = time.monotonic(), dict[str, list[Row]]()
    try:
        for name, group in groups.items():
            for row in group(settings):
                rows.setdefault(name, []).append(row)
                progress.print(f"[dim]{time.monotonic() - start:4.0f} s  {name} {row.case}[/dim]", highlight=False)
    except KeyboardInterrupt:
        progress.print("interrupted; this is what was measured")
    console.print(table(rows))
    console.print(f"{count(rows)}; {time.monotonic() - start:.0f} s", highlight=False)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(as_json(ran_on, rows), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
