from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from recurdrop.errors import invalid
from recurdrop.tables import closest, plain, read_settings


@dataclass(frozen=True)
class Settings:
    count: int
    rate: float = 0.5
    on: bool = False
    text: str = "a"
    limit: int | None = None
    share: float | None = 0.25
    widths: tuple[int, ...] = ()
    rates: tuple[float, ...] = (0.5, 1.0)
    names: tuple[str, ...] | None = None
    most: float = math.inf
    known: float = math.nan

    def __post_init__(self) -> None:
        if self.count < 0:
            raise invalid("count must be 0 or more", self.count, "Give 0.")


def read(**table: Any) -> Settings:
    problems: list[str] = []
    found = read_settings(Settings, table, "table", problems)
    assert problems == []
    assert found is not None
    return found


def problems_of(**table: Any) -> list[str]:
    problems: list[str] = []
    assert read_settings(Settings, {"count": 1, **table}, "table", problems) is None
    return problems


def test_every_type_is_read_as_it_is() -> None:
    found = read(
        count=3,
        rate=0.75,
        on=True,
        text="b",
        limit=7,
        share=0.125,
        widths=[1, 2],
        rates=[0.25, 3],
        names=["x", "y"],
        most=2.5,
    )
    assert vars(found) | {"known": 0.0} == {
        "count": 3,
        "rate": 0.75,
        "on": True,
        "text": "b",
        "limit": 7,
        "share": 0.125,
        "widths": (1, 2),
        "rates": (0.25, 3.0),
        "names": ("x", "y"),
        "most": 2.5,
        "known": 0.0,
    }


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ({"rate": 2}, 2.0),
        ({"share": 2}, 2.0),
        ({"rates": [1, 2]}, (1.0, 2.0)),
        ({"widths": (4,)}, (4,)),
        ({"limit": None}, None),
        ({"share": None}, None),
        ({"names": None}, None),
        ({"most": math.inf}, math.inf),
    ],
    ids=str,
)
def test_whole_numbers_serve_as_floats_lists_as_tuples_and_none_where_it_may_be(
    table: dict[str, Any], value: object
) -> None:
    found = getattr(read(count=1, **table), next(iter(table)))
    assert repr(found) == repr(value)  # 2 and 2.0 are equal, but not the same setting


@pytest.mark.parametrize(
    ("key", "value", "must"),
    [
        ("count", True, "a whole number"),
        ("count", 1.0, "a whole number"),
        ("count", None, "a whole number"),
        ("rate", False, "a number"),
        ("rate", "0.5", "a number"),
        ("on", 1, "true or false"),
        ("text", 3, "text"),
        ("text", None, "text"),
        ("limit", 1.5, "a whole number"),
        ("limit", True, "a whole number"),
        ("share", "x", "a number"),
        ("widths", 3, "a list, each a whole number"),
        ("widths", [1, True], "a list, each a whole number"),
        ("widths", [1, 2.5], "a list, each a whole number"),
        ("rates", ["a"], "a list, each a number"),
        ("names", "xy", "a list, each text"),
        ("names", [None], "a list, each text"),
    ],
)
def test_a_value_of_another_type_is_named_with_what_it_must_be(key: str, value: object, must: str) -> None:
    assert problems_of(**{key: value}) == [f"table.{key} must be {must}; got {value!r}"]


def test_an_unknown_key_is_named_with_the_closest_known_one() -> None:
    assert problems_of(withs=[1]) == ["table has no 'withs'; did you mean 'widths'?"]
    (problem,) = problems_of(zzz=1)
    assert problem == f"table has no 'zzz'; there are {', '.join(vars(Settings(1)))}"
    assert closest("a", []) == "; there are "


def test_a_missing_key_is_named_unless_it_has_a_default() -> None:
    problems: list[str] = []
    assert read_settings(Settings, {}, "model", problems) is None
    assert problems == ["model.count is missing"]


def test_a_rule_of_the_class_is_a_problem_too() -> None:
    assert problems_of(count=-1) == ["table: count must be 0 or more; got -1. Give 0."]


def test_all_problems_come_at_once_after_those_there_were() -> None:
    problems = ["before"]
    assert read_settings(Settings, {"zzz": 1, "rate": "a", "on": 0}, "t", problems) is None
    assert [problem[:14] for problem in problems] == [
        "before",
        "t has no 'zzz'",
        "t.rate must be",
        "t.on must be t",
        "t.count is mis",
    ]
    # By their texts: since Python 3.13, a dataclass with NaN in it equals no other, and not itself.
    assert repr(read_settings(Settings, {"count": 1}, "t", problems)) == repr(Settings(1))
    assert len(problems) == 5


@pytest.mark.parametrize(
    "settings",
    [
        Settings(1),
        Settings(2, rate=1.0, on=True, text="", limit=0, share=None, widths=(3, 4), rates=(), names=("a",), most=1.0),
        Settings(3, most=-math.inf, known=2.0),
    ],
    ids=["defaults", "others", "infinite"],
)
def test_a_plain_table_reads_back_as_the_settings(settings: Settings) -> None:
    table = plain(settings)
    assert repr(read(**table)) == repr(settings)
    assert not [value for value in table.values() if isinstance(value, tuple)]


def test_a_plain_table_leaves_out_what_is_as_by_default() -> None:
    assert plain(Settings(1)) == {"count": 1}
    assert plain(Settings(1, most=math.inf, known=math.nan, rates=(0.5, 1.0))) == {"count": 1}
    assert plain(Settings(1, on=True, widths=(2,))) == {"count": 1, "on": True, "widths": [2]}
    assert plain(Settings(1, on=0)) == {"count": 1, "on": 0}  # type: ignore[arg-type]
