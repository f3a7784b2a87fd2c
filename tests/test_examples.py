"""The examples run, and say what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not beside the tests")


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_every_example_is_tested() -> None:
    tested = {"swap_it_in", "language_model", "lightning_module", "method_of_ones_own", "forecast_uncertainty"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


def test_swap_it_in() -> None:
    said = run("swap_it_in")
    assert "evaluation is as before: True" in said
    assert float(re.findall(r"two passes of training differ by (.+)", said)[0]) > 0.01
    assert "the same seed gives the same noise: True" in said
    assert "back to torch.nn.modules.rnn and the same: True" in said
    assert len(re.findall(r"^rnn l[01]\+reverse  Variational", said, re.MULTILINE)) == 5


def test_language_model(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{i * i % 7}" for i in range(1500)))
    found = re.findall(r"^(none|variational)\S* +validation perplexity ([\d.]+)$", run(
        "language_model", "--text", text, "--epochs", 2), re.MULTILINE)  # fmt: skip
    assert [name for name, _ in found] == ["none", "variational"]
    assert all(1 < float(value) < 8 for _, value in found)


def test_lightning_module() -> None:
    pytest.importorskip("lightning")
    said = run("lightning_module", "--epochs", 2)
    first, second = map(float, re.findall(r"validation loss by epoch: ([\d.]+), ([\d.]+)", said)[0])
    assert second < first < 1
    assert "share of the rates reached: 1.00; averaging: False" in said


def test_a_method_of_ones_own() -> None:
    assert "its mask, (T, B, H), in the first layer: (3, 1, 6)" in run("method_of_ones_own")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        str(EXAMPLES / "method_of_ones_own.py"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=EXAMPLES.parent)
    assert ended.returncode == 0, ended.stdout
    assert int(re.findall(r"(\d+) passed", ended.stdout)[0]) > 40
