"""Tables of a results page: published beside measured, every seed's value, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from recurdrop.measured import Measured
from recurdrop.report.tables import spread
from recurdrop.spread import deviation, interval

PARTS = ("valid", "test")


def results_tables(records: Sequence[Measured], recipes: Sequence[str] = ()) -> str:
    """Return Markdown of all records: a table of recipes, one of seeds where there are several, one of differences.

    Args:
        records: of one or more recipes; those of a recipe differ in their seeds.
        recipes: the ones to show, in this order; all of them, by name, if empty.
    """
    by_recipe: dict[str, list[Measured]] = {name: [] for name in recipes}
    for record in records:
        if not recipes or record.recipe in by_recipe:
            by_recipe.setdefault(record.recipe, []).append(record)
    shown = {name: of for name, of in by_recipe.items() if of}
    tables = [_recipes_table(shown), _seeds_table(shown), _differences_table(shown), _commands(shown)]
    return "\n\n".join(table for table in tables if table)


def _recipes_table(shown: dict[str, list[Measured]]) -> str:
    head = (
        *("recipe", "metric", "published valid / test", "measured valid", "measured test"),
        *("seeds", "epochs (best)", "minutes", "machine", "commit"),
    )
    rows = []
    for name, of in shown.items():
        first = of[0]
        published = " / ".join(_number(first.published.get(part), first.digits) for part in PARTS)
        values = [spread(deviation([r.measured[part][r.metric] for r in of]), first.digits) for part in PARTS]
        rows.append(
            (
                *(name, first.metric, "" if set(published) <= set("– /") else published, *values, str(len(of))),
                ", ".join(dict.fromkeys(f"{r.epochs} ({r.best_epoch})" for r in of)),
                _range([r.minutes for r in of]),
                _joined(f"{r.machine}, {r.precision}" for r in of),
                _joined(r.commit for r in of),
            )
        )
    rows += [
        (what, of[0].metric, "", *(_number(of[0].baselines[part].get(what), of[0].digits) for part in PARTS), *[""] * 5)
        for of in _first_of_each_data(shown)
        for what in of[0].baselines.get("valid", {})
    ]
    return _markdown(head, rows)


def _first_of_each_data(shown: dict[str, list[Measured]]) -> list[list[Measured]]:
    """Return one recipe's records for each set of baselines: recipes on the same data share them."""
    kept: dict[str, list[Measured]] = {}
    for of in shown.values():
        kept.setdefault(repr(of[0].baselines), of)
    return list(kept.values())


def _seeds_table(shown: dict[str, list[Measured]]) -> str:
    """Return the value of every seed, of recipes that were trained with several."""
    several = {name: of for name, of in shown.items() if len(of) > 1}
    seeds = sorted({record.seed for of in several.values() for record in of})
    rows = []
    for name, of in several.items():
        for part in PARTS:
            values = {record.seed: record.measured[part][record.metric] for record in of}
            rows.append((name, part, *(_number(values.get(seed), of[0].digits) for seed in seeds)))
    return _markdown(("recipe", "part", *(f"seed {seed}" for seed in seeds)), rows) if rows else ""


def _differences_table(shown: dict[str, list[Measured]]) -> str:
    """Return, for each recipe that names one to compare with, the difference over the seeds that both have."""
    rows = []
    for name, of in shown.items():
        other = {record.seed: record for record in shown.get(of[0].against, [])}
        pairs = [(record, other[record.seed]) for record in of if record.seed in other]
        if not pairs:
            continue
        for part in PARTS:
            differences = [mine.measured[part][mine.metric] - its.measured[part][its.metric] for mine, its in pairs]
            better = sum((d > 0) == of[0].higher_is_better and d != 0 for d in differences)
            said = spread(interval(differences), of[0].digits + 1)
            rows.append((f"{name} − {of[0].against}", of[0].metric, part, said, f"{better} of {len(pairs)}"))
    head = ("difference, paired by seed", "metric", "part", "mean ± half of its 95 % interval", "seeds better")
    return _markdown(head, rows) if rows else ""


def _commands(shown: dict[str, list[Measured]]) -> str:
    lines = [f"- `{record.command}`" + f": {record.note}" * bool(record.note) for of in shown.values() for record in of]
    return "\n".join(dict.fromkeys(lines))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} to {high:.2g}"


def _joined(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value))
