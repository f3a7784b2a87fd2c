"""The one way for data: who may import whom, who may draw random numbers, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import recurdrop

ROOT = Path(recurdrop.__file__).parent

# A part may import the parts in its line, and itself.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "records": {"errors"},
    "measured": {"errors", "records"},
    "spread": {"records"},
    "sites": set(),
    "tracing": {"errors"},
    "philox": {"tracing"},
    "plan": {"errors", "sites"},
    "masks": {"errors", "sites", "plan", "philox", "tracing"},
    "methods": {"errors", "sites", "plan"},
    "ops": {"errors", "sites", "philox", "tracing"},  # ops.native gives the generator a compiled kernel
    "bridges": {"errors", "sites"},
    "losses": {"errors"},
    "nn": {"errors", "sites", "plan", "masks", "methods", "ops", "tracing"},
    "optim": {"errors"},
    "schedules": {"errors", "plan", "methods", "nn"},
    "uncertainty": {"errors", "masks", "methods", "nn"},
    "files": {"errors", "tables"},
    "tables": set(),
    "recipes": set(),
    "models": {"errors", "nn", "methods", "optim", "recipes", "tables"},
    "kinds": {"errors", "records", "tables", "files", "models", "nn", "methods", "uncertainty"},
    "train": {"errors", "records", "measured", "recipes", "tables", "kinds", "models", "optim", "schedules"},
    "study": {"errors", "records", "spread", "kinds", "models", "nn", "train", "methods"},
    "report": {"errors", "records", "measured", "spread"},
    "cli": {
        "errors",
        "records",
        "measured",
        "recipes",
        "methods",
        "ops",
        "models",
        "files",
        "kinds",
        "study",
        "report",
        "train",
    },
    "testing": {"errors", "sites", "masks", "methods", "ops", "nn", "plan"},
}
DRAWING = {
    "bernoulli", "bernoulli_", "rand", "randn", "randint", "rand_like", "randn_like", "random_", "normal_", "uniform_",
    "dropout", "manual_seed",
}  # fmt: skip
MAY_DRAW = {"masks", "testing", "train", "models"}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"]


def imports(path: Path) -> list[tuple[str, int]]:
    """Every module of ours that a file imports, also inside functions, with its line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module else []
        found += [(name, node.lineno) for name in names if name.split(".")[0] == "recurdrop"]
    return found


def test_all_parts_are_named() -> None:
    assert {part_of(p) for p in files()} <= set(ALLOWED)
    assert len(files()) > 40


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_data_flows_one_way(path: Path) -> None:
    part = part_of(path)
    for name, line in imports(path):
        target = name.split(".")[1] if "." in name else ""
        if target not in ALLOWED and part in ("testing", "models", "kinds", "train", "study", "cli"):
            continue  # the public names
        assert target in ALLOWED[part] | {part}, f"{path}:{line}: {part} imports {target}"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_masks_draw_random_numbers(path: Path) -> None:
    is_model_of_kind = part_of(path) == "kinds" and path.name == "model.py"
    if part_of(path) in MAY_DRAW or is_model_of_kind:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in DRAWING, f"{path}:{node.lineno} draws with {node.func.attr}"


@pytest.mark.parametrize("part", ["ops", "methods"])
def test_kernels_know_no_method_and_methods_no_cell(part: str) -> None:
    from recurdrop import methods

    names = {methods.get(name).__name__ for name in methods.names()} | set(methods.names())
    kernels = {"lstm", "gru", "rnn", "LSTM", "GRU", "RNN"}
    forbidden = (names - {"dropout", "keras"}) if part == "ops" else kernels
    for path in (ROOT / part).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            word = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            assert word not in forbidden, f"{path}:{node.lineno} names {word}"


def test_importing_the_package_is_light() -> None:
    heavy = [
        "torch",
        "numpy",
        "lightning",
        "triton",
        "optuna",
        "matplotlib",
        "typer",
        "rich",
        "jinja2",
        "pytest",
        "pandas",
        "sklearn",
    ]
    code = f"import recurdrop, sys; print(*[m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_using_a_layer_is_light() -> None:
    heavy = ["lightning", "triton", "matplotlib", "typer", "rich", "pandas", "sklearn", "torch._dynamo"]
    code = f"import recurdrop, sys; recurdrop.LSTM; print(*[m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_files_are_short() -> None:
    lengths = {p: len(p.read_text().splitlines()) for p in files()}
    assert not {str(p): n for p, n in lengths.items() if n > 400}
    assert sorted(lengths.values())[len(lengths) // 2] < 150
