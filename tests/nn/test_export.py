"""Programs that are exported from an evaluated layer run where there is no recurdrop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import recurdrop as rd
from recurdrop import methods
from recurdrop.sites import SITES

LAYERS: dict[str, Any] = {"LSTM": rd.LSTM, "GRU": rd.GRU, "RNN": rd.RNN}
X = torch.linspace(-1, 1, 3 * 2 * 4).view(3, 2, 4)
CASES = [(cell, None) for cell in LAYERS]
CASES += [(cell, name) for name in methods.names() for cell in methods.get(name).cells()]  # type: ignore[misc]


class Model(nn.Module):
    """A layer and what makes one tensor of its results."""

    def __init__(self, cell: str, method: str | None) -> None:
        super().__init__()
        self.rnn = LAYERS[cell](4, 5, 2, noise=None if method is None else methods.get(method).published())

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.rnn(x)
        return y + (state[0] if isinstance(state, tuple) else state).sum()


@pytest.mark.parametrize(("cell", "method"), CASES)
def test_torch_export_holds_operators_of_torch_alone(cell: str, method: str | None) -> None:
    model = Model(cell, method).eval()
    program = torch.export.export(model, (X,))
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert operators
    assert not [name for name in operators if "recurdrop" in name]
    torch.testing.assert_close(program.module()(X), model(X))
    in_loop = any(use.evaluation != "off" and SITES[use.site].in_loop for use in rd.describe(model).uses)
    if not in_loop:
        assert any(name.startswith(f"aten.{cell.lower()}") for name in operators)  # the layer is one operator


def test_a_saved_program_loads_without_recurdrop(tmp_path: Path) -> None:
    model = Model("LSTM", "zoneout").eval()
    torch.export.save(torch.export.export(model, (X,)), tmp_path / "model.pt2")
    torch.save((X, model(X).detach()), tmp_path / "data.pt")
    code = """
import sys
sys.modules["recurdrop"] = None  # an import of it fails
import torch
x, y = torch.load("data.pt")
torch.testing.assert_close(torch.export.load("model.pt2").module()(x), y)
print("equal")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["equal"], done.stderr


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*jit.trace.*:DeprecationWarning")
@pytest.mark.parametrize("method", [None, "zoneout", "variational"])
@pytest.mark.parametrize("cell", LAYERS)
def test_torch_jit_traces_it_and_its_check_passes(cell: str, method: str | None) -> None:
    model = Model(cell, method).eval()
    traced = torch.jit.trace(model, X)
    torch.testing.assert_close(traced(X), model(X))
    assert "recurdrop::" not in str(traced.inlined_graph)


# One method for each thing that the rule at evaluation can be: nothing, an expectation, a factor.
ONNX = [case for case in CASES if case[1] in (None, "zoneout", "variational", "rnndrop")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("cell", "method"), ONNX)
def test_onnx_has_the_same_numbers(cell: str, method: str | None, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed, and torch exports to ONNX by it")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed, and it runs ONNX files")
    model = Model(cell, method).eval()
    torch.onnx.export(model, (X,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    np.testing.assert_allclose(found, model(X).detach().numpy(), rtol=0, atol=1e-5)
