"""The public names, and that a method is complete with its file and its test."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import recurdrop as rd
from recurdrop import methods
from recurdrop.sites import SITES

TESTS = Path(__file__).parent / "methods"
ALL = [methods.get(name) for name in methods.names()]


def test_every_method_is_public_and_named_once() -> None:
    assert len(ALL) == len({m.__name__ for m in ALL}) >= 16
    missing = [f"from {m.__module__} import {m.__name__} as {m.__name__}" for m in ALL if not hasattr(rd, m.__name__)]
    assert not missing, f"add to recurdrop/__init__.py: {missing}"


def exported() -> dict[str, str]:
    """Where each public name lives, as type checkers and editors read it."""
    tree = ast.parse(Path(rd.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names if alias.name == alias.asname}


def test_names_are_imported_when_used_as_type_checkers_read_them() -> None:
    read = exported()
    modules = {name for name, home in read.items() if home == "recurdrop"}
    assert {"LSTM", "regularize", "Zoneout"} <= read.keys() - modules == set(rd.__all__)
    for name, home in read.items():
        assert getattr(rd, name) is getattr(importlib.import_module(home), name)
    for method in ALL:
        line = f"from {method.__module__} import {method.__name__} as {method.__name__}"
        assert read.get(method.__name__) == method.__module__, f"add to recurdrop/__init__.py: {line}"


def test_dir_and_star_have_the_names_without_importing_them() -> None:
    code = (
        "import recurdrop, sys; names = dir(recurdrop); assert 'torch' not in sys.modules; print(*names);"
        "from recurdrop import *; print(LSTM(2, 3), Zoneout())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert set(exported()) <= set(found[0].split())
    assert found[1] == "LSTM(2, 3) Zoneout(c=None, h=0.05, shared_mask=False, stochastic_depth=False)"


def test_parts_need_no_import_of_their_own() -> None:
    names = "rd.nn.WordDropout.__name__, rd.bridges.to_keras.__name__, rd.models.build.__name__"
    code = f"import recurdrop as rd; print({names})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["WordDropout", "to_keras", "build"]


def test_a_name_that_there_is_not() -> None:
    for name in ("LTSM", "lstms", "_hidden", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"module 'recurdrop' has no attribute '{name}'"):
            getattr(rd, name)


def test_a_compiled_function_may_name_what_was_not_used_before() -> None:
    code = (
        "import recurdrop, torch\n"
        "layer = torch.nn.Identity()\n"
        "@torch.compile(backend='eager', fullgraph=True)\n"
        "def f(x): return recurdrop.activation_regularization(x, 2.0) + (0 if recurdrop.SGDSettings else 1)\n"
        "x = torch.ones(2, 3, 4)\n"
        "print(f(x).item(), recurdrop.activation_regularization(x, 2.0).item())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    compiled, plain = map(float, found.stdout.split())
    assert compiled == plain == 2.0


def test_masks_have_one_field_a_site() -> None:
    assert rd.Masks._fields == tuple(SITES)
    assert len({site.code for site in SITES.values()}) == len(SITES)
    assert rd.Masks() == (None,) * len(SITES)


@pytest.mark.parametrize("method", ALL, ids=lambda m: m.name)
def test_a_method_is_complete(method: type[rd.Method]) -> None:
    doc = inspect.getdoc(method)
    for part in ("Equation:", "Sites:", "Shared over:", "Evaluation:", "Source:", "Authors' code:"):
        assert part in doc, f"{method.__name__} lacks {part}"
    assert "arXiv" in method.cite or any(c.isdigit() for c in method.cite) or "Keras" in method.cite
    for field in dataclasses.fields(method):
        assert field.metadata.get("doc"), f"{method.__name__}.{field.name} has no description"
    module = method.__module__.rsplit(".", 1)[1]
    test = TESTS / f"test_{module}.py"
    assert test.exists(), f"{method.__name__} has no tests/methods/{test.name}"
    assert "MethodConformance" in test.read_text()
    assert method.published() == method.published()
    assert method.cells()
    assert method.sites()


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("zoneout", rd.Zoneout()),
        ("zoneout:c=0.3, h=.1", rd.Zoneout(c=0.3, h=0.1)),
        ("Zaremba:0.25", rd.Zaremba(0.25)),
        ("locked:between=.1/.2", rd.Locked(between=[0.1, 0.2])),
        ("variational:recurrent=.3,tied=false", rd.Variational(recurrent=0.3, tied=False)),
        ("recurrent_dropout:0.5,per=sequence", rd.RecurrentDropout(0.5, per="sequence")),
        ("keras", rd.Keras(dropout=0.2, recurrent_dropout=0.2)),
    ],
)
def test_methods_from_text(text: str, made: rd.Method) -> None:
    assert methods.parse(text) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zonout", "a method must be one that recurdrop has; got 'zonout'. Choose among allennlp, awd, dropconnect"),
        ("zoneout:h=1.5", r"h of Zoneout must be a number in \[0, 1\]; got 1.5"),
        (
            "zoneout:q=0.5",
            "an argument of zoneout is one of c, h, shared_mask, stochastic_depth, given once; got 'q=0.5'",
        ),
        ("zoneout:h=0.1,h=0.2", "given once"),
        ("zaremba:", "given once; got ''"),
        ("zaremba:half", "p of Zaremba must be a number in"),
        ("variational:tied=2", "tied of Variational must be True or False; got 2"),
    ],
)
def test_text_that_names_no_method(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        methods.parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("p", [np.float32(0.25), np.float64(0.25), torch.tensor(0.25), np.array(0.25), 1 / 4])
def test_any_real_number_is_a_rate(p: object) -> None:
    made = rd.Zaremba(p)
    assert made.p == 0.25
    assert type(made.p) is float


@pytest.mark.parametrize(
    "rates", [[0.1, 0.2], (0.1, 0.2), np.array([0.1, 0.2]), torch.tensor([0.1, 0.2], dtype=torch.float64)]
)
def test_a_list_of_rates_in_any_form(rates: object) -> None:
    assert rd.RNNDrop(rates).p == (0.1, 0.2)


@pytest.mark.parametrize("noise", ["zoneout", rd.Zoneout, 0.5, [0.5], [rd.Zoneout(), "awd"]])
def test_what_is_no_noise(noise: object) -> None:
    with pytest.raises(ValueError, match="noise must"):
        rd.LSTM(3, 4, noise=noise)
