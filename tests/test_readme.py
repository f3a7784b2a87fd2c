"""What the README shows, runs; and its table of methods is the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recurdrop import methods

README = Path(__file__).parents[1] / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="the README is not beside the tests")


def test_the_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"print": lambda *args: None})  # noqa: S102


def test_every_method_is_in_the_table() -> None:
    rows = " ".join(line for line in README.read_text().splitlines() if line.startswith("| `"))
    assert {methods.get(name).__name__ for name in methods.names()} <= set(re.findall(r"`(\w+)`", rows))


def test_it_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150
