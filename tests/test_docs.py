"""The pages of the documentation are what the code says, their examples run and their links lead somewhere."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import recurdrop as rd
from recurdrop import methods

DOCS = Path(__file__).parents[1] / "docs"
METHODS = [methods.get(name) for name in methods.names()]
pytestmark = pytest.mark.skipif(not (DOCS / "generate.py").exists(), reason="the docs are not beside the tests")


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return load("generate")


@pytest.fixture(scope="module")
def pages(generate: ModuleType) -> dict[str, str]:
    made: dict[str, str] = generate.pages()
    return made


@pytest.fixture(scope="module")
def public(generate: ModuleType) -> dict[str, Any]:
    return dict(generate.public())


def test_the_pages_are_what_the_code_says(generate: ModuleType, pages: dict[str, str]) -> None:
    there = {f"{folder}/{path.name}": path for folder in generate.MADE for path in (DOCS / folder).glob("*.md")}
    stale = [name for name in there if name not in pages]
    differ = [name for name, text in pages.items() if name not in there or there[name].read_text("utf-8") != text]
    assert not stale + differ, f"run `make docs`; these are not as the code has it: {stale + differ}"
    assert len({name.lower() for name in pages}) == len(pages), "two pages are one where case does not count"


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_methods_page_has_every_part(pages: dict[str, str], method: type[rd.Method]) -> None:
    page = pages[f"methods/{method.name}.md"]
    parts = dict(re.findall(r"^## (.+?)\n\n(.*?)(?=\n\n## |\Z)", page, re.MULTILINE | re.DOTALL))
    for title in ("Equation", "Sites", "Shared over", "Evaluation", "Source", "Authors' code", "Arguments", "Example"):
        assert len(parts[title]) >= 8, f"{title} of {method.__name__} is thin"
    assert re.search(r"\d{4}", parts["Source"]) or "Keras" in parts["Source"]
    for site in method.sites():
        assert f"`{site}`" in page, f"{method.__name__} does not name its site {site}"


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_methods_example_runs(pages: dict[str, str], generate: ModuleType, method: type[rd.Method]) -> None:
    (example,) = re.findall(r"```python\n(import.*?)```", pages[f"methods/{method.name}.md"], re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(example, method.name, "exec"), made)  # noqa: S102
    assert made["rnn"].noise == method.published() == methods.parse(generate.spelling(method))
    assert made["y"].shape == (35, 20, 64)


def test_the_matrix_says_where_each_method_acts(pages: dict[str, str]) -> None:
    index = pages["methods/README.md"]
    rows = {re.sub(r"\[(\w+)\].*", r"\1", line.split(" | ")[0].strip("| ")): line for line in index.splitlines()[::-1]}
    head = next(line for line in index.splitlines() if line.startswith("| method | `input`"))
    sites = [name.strip("` ") for name in head.split("|")[2:-1]]

    def marks(name: str) -> dict[str, str]:
        cells = [c.strip() for c in rows[name].split("|")[2:-1]]
        return {site: mark for site, mark in zip(sites, cells, strict=True) if mark}

    assert marks("Zoneout") == {"zone_c": "●", "zone_h": "●"}
    assert marks("DropConnect") == {"weight_hh": "●", "weight_ih": "○"}
    assert marks("Dropout") == {"output": "●", "input": "○", "recurrent": "○", "candidate": "○", "cell": "○"}
    assert marks("TF1Variational") == {"recurrent": "●", "output": "●", "input": "○"}


def test_what_torch_can_not_run_is_said_with_the_reason(generate: ModuleType) -> None:
    refused = {m.__name__ for m in METHODS if "torch" in generate.refusals(m)}
    inside = {m.__name__ for m in METHODS if any(rd.sites.SITES[site].in_loop for site in m.sites())}
    assert refused == inside
    assert generate.refusals(rd.Zoneout) == {
        "torch": "torch's kernels have no place for noise at zone_c, zone_h, inside the time loop"
    }
    assert "native" not in generate.refusals(rd.WeightDrop)


def test_every_public_name_is_described(public: dict[str, Any]) -> None:
    assert {"LSTM", "GRU", "RNN", "describe", "regularize", "plain", "Masks", "Method"} <= public.keys()
    assert not {m.__name__ for m in METHODS} & public.keys()
    docstrings = load("docstrings")
    for name, thing in public.items():
        doc = docstrings.parse(inspect.getdoc(thing) or "")
        assert doc.lead, f"{name} has no docstring"
        described = {label.lstrip("*") for label, _ in docstrings.items(doc.part("Args")) if label}
        if described:
            taken = set(inspect.signature(thing).parameters)
            assert described == taken, f"{name} takes {sorted(taken)} and describes {sorted(described)}"


def test_docstrings_are_split_and_kept() -> None:
    docstrings = load("docstrings")
    doc = docstrings.parse(
        "Lead c~ and *so*.\n\n    a = b * c\n\nMore: text\nArgs:\n    x: one,\n        two | three.\n    **rest: a*b.\n"
        "Equation:\n    c~ * d\n\nAfter."
    )
    assert doc.summary == "Lead c~ and *so*."
    assert [s.title for s in doc.sections] == ["Args", "Equation"]
    assert docstrings.items(doc.part("Args")) == [("x", "one, two | three."), ("**rest", "a*b.")]
    assert docstrings.whole(doc) == (
        "Lead c\\~ and *so*.\n\n    a = b * c\n\nMore: text\n\nAfter.\n\n"
        "## Args\n\n- `x`: one, two | three.\n- `**rest`: a\\*b.\n\n## Equation\n\n```text\nc~ * d\n```"
    )
    assert docstrings.cell("a | `b|c`\nd") == "a \\| `b\\|c` d"


@pytest.mark.parametrize(
    "path", sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md"]), ids=lambda p: str(p.relative_to(DOCS.parent))
)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_spelling_on_the_page_of_names_can_be_made() -> None:
    text = (DOCS / "which-dropout.md").read_text("utf-8")
    spelled = re.findall(r"`(\[?rd\.(?:nn\.)?[A-Z]\w*\(.*?\)\]?)`", text)
    assert len(spelled) >= 20
    for code in spelled:
        made = eval(code, {"rd": rd, "p": 0.1, "q": 0.2, "r": 0.3, "s": 0.4, "embedding": _embedding()})  # noqa: S307
        if isinstance(made, rd.Method | list):
            rd.LSTM(3, 4, num_layers=2, noise=made)


def _embedding() -> Any:
    from torch import nn

    return nn.Embedding(5, 3)
