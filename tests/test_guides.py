"""The pages written by hand: their code runs, and every file that they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import recurdrop

ROOT = Path(__file__).parents[1]
PACKAGE = Path(recurdrop.__file__).parent
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "architecture.md").exists(), reason="the docs are not beside the tests")


@pytest.mark.parametrize("page", ["architecture.md", "bridges.md", "index.md"])
def test_code_of_a_guide_runs(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert blocks, f"{page} shows no code"
    for block in blocks:
        names: dict[str, Any] = {}
        exec(compile(block, page, "exec"), names)  # noqa: S102
        assert isinstance(names["rnn"], recurdrop.LSTM)


def test_files_that_the_architecture_names_are_there() -> None:
    text = (DOCS / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_/]+(?:\.(?:py|h)|/))`", text)) | set(re.findall(r"│ +([a-z]+/) ", text))
    places = [PACKAGE, PACKAGE / "ops" / "native"]
    missing = sorted(name for name in named if not any((place / name).exists() for place in places))
    assert len(named) > 30
    assert not missing, f"docs/architecture.md names files that are not there: {missing}"


def test_every_page_of_the_site_is_in_its_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r"([\w./-]+\.md)$", navigation, re.MULTILINE))
    by_hand = {path.name for path in DOCS.glob("*.md")}
    by_hand |= {f"decisions/{path.name}" for path in (DOCS / "decisions").glob("*.md")}
    assert listed >= by_hand, f"add to nav of mkdocs.yml: {sorted(by_hand - listed)}"
    assert all((DOCS / page).exists() for page in listed)


def test_version_is_the_same_everywhere() -> None:
    texts = [ROOT / "pyproject.toml", ROOT / "CITATION.cff", PACKAGE / "__init__.py"]
    found = [
        re.search(r'^(?:__)?version(?:__)?(?: =|:) "?([\d.]+)"?$', text.read_text("utf-8"), re.MULTILINE)
        for text in texts
    ]
    assert {match and match[1] for match in found} == {recurdrop.__version__}
