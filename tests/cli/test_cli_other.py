from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from recurdrop import methods
from recurdrop.ops import native
from recurdrop.ops.dispatch import backends

Run = Callable[..., Any]


def test_methods_lists_each_with_sites_cells_and_source(recurdrop: Run) -> None:
    found = recurdrop("methods")
    assert (found.code, found.err) == (0, "")
    text = " ".join(found.out.split())
    for name in methods.names():
        cls = methods.get(name)
        line = next(line for line in found.out.splitlines() if line.split()[0] == name)
        assert all(cell in line for cell in cls.cells())
        assert all(site in text for site in cls.sites())
        assert cls.cite.split(",")[0] in text


@pytest.mark.parametrize("name", methods.names())
def test_a_methods_page_is_its_docstring(recurdrop: Run, name: str) -> None:
    found = recurdrop("methods", name.upper())
    assert found.code == 0
    assert (inspect.getdoc(methods.get(name)) or "?") in found.out
    assert methods.get(name).cite in found.out
    assert repr(methods.get(name).published()) in found.out


def test_doctor_says_versions_threads_and_each_backend(recurdrop: Run) -> None:
    found = recurdrop("doctor")
    assert found.code == 0
    lines = [line.split() for line in found.out.splitlines()]
    facts = {" ".join(line[:2]): line for line in lines}
    assert facts[f"python {sys.version.split()[0]}"]
    for name, _ in backends():
        assert f"backend {name}" in facts
    assert "torch threads" in facts
    if native.missing() is None:
        assert facts["vector width"][2] == native.about()["vector width"].split()[0]
        assert "native threads" in facts


def test_doctor_says_what_forces_the_vector_width() -> None:
    """In a process of its own, where the variable is read."""
    command = [sys.executable, "-c", "from recurdrop.cli import main; main()", "doctor"]
    for wanted, said in (("plain", "plain of"), ("mmx", "RECURDROP_VECTOR must be one of")):
        environment = {**os.environ, "RECURDROP_VECTOR": wanted, "COLUMNS": "200"}
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert native.missing() or said in out


def test_doctor_says_why_a_backend_is_missing(recurdrop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recurdrop.ops.dispatch.backends", lambda: [("native", "no compiler"), ("torch", None)])
    lines = [" ".join(line.split()) for line in recurdrop("doctor").out.splitlines()]
    assert "backend native no compiler" in lines
    assert "backend torch available" in lines


@pytest.mark.parametrize(
    ("arguments", "words"), [(["methods", "zonout"], "zonout"), (["compere"], "compere"), (["--nope"], "--nope")]
)
def test_bad_input_gets_one_line_and_code_2(recurdrop: Run, arguments: list[str], words: str) -> None:
    found = recurdrop(*arguments)
    assert found.code == 2
    (line,) = found.err.splitlines()
    assert line.startswith("recurdrop: ")
    assert words in line
    assert found.out == ""


@pytest.mark.parametrize("arguments", [[], ["--help"], ["compare", "--help"]])
def test_help_is_no_error(recurdrop: Run, arguments: list[str]) -> None:
    found = recurdrop(*arguments)
    assert found.code == 0
    assert "compare" in found.out
    assert found.err == ""


@pytest.mark.parametrize(
    ("gone", "command", "works"),
    [
        ("typer", "methods", False),
        ("rich", "doctor", False),
        ("lightning", "compare", False),
        ("matplotlib", "compare", False),
        ("jinja2", "compare", False),
        ("lightning", "doctor", True),
        ("jinja2", "methods", True),
    ],
)
def test_without_an_extra_one_line_says_what_to_install(
    recurdrop: Run, monkeypatch: pytest.MonkeyPatch, gone: str, command: str, works: bool
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("recurdrop.cli.shell.find_spec", lambda name: None if name == gone else find(name))
    found = recurdrop(command, *["no-such-file"] * (command == "compare"))
    if works:
        assert (found.code, found.err) == (0, "")
        return
    assert found.code == 2
    assert found.err == f'recurdrop: this command needs {gone}: pip install "recurdrop[all]"\n'


def test_the_layers_alone_and_the_other_commands_import_no_trainer() -> None:
    code = (
        "import sys, recurdrop.cli.methods, recurdrop.cli.doctor, recurdrop.cli.compare\n"
        "print(*[m for m in ('lightning', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
    code = "import sys, recurdrop\nprint(*[m for m in ('typer', 'rich', 'lightning') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
