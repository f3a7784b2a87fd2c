"""The example on uncertainty runs, on made-up weather in the published format."""

from __future__ import annotations

import csv
import gzip
import math
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "forecast_uncertainty.py"
pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not beside the tests")


@pytest.fixture
def weather(tmp_path: Path) -> Path:
    names = ("date", "p (mbar)", "T (degC)", "Tdew (degC)", "rh (%)", "wv (m/s)", "wd (deg)", "SWDR (W/m\xb2)")
    path = tmp_path / "weather.csv.gz"
    with gzip.open(path, "wt", encoding="latin-1", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for step in range(144 * 31):
            warm = 10 + 5 * math.sin(step / 144 * 2 * math.pi) + math.sin(step)
            wind = -9999 if step % 1000 == 500 else 2
            moment = datetime(2020, 1, 1) + timedelta(minutes=10 * step)
            writer.writerow([moment, 1000 + step % 7, warm, warm - 3, 80, wind, step % 360, 0])
    return path


def run(*arguments: object) -> str:
    command = [sys.executable, str(EXAMPLE), "--epochs", "1", "--samples", "4", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_it_trains_predicts_and_draws(weather: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    weights, drawn = tmp_path / "weights.pt", tmp_path / "picture.png"
    trained = run("--data", weather, "--weights", weights, "--picture", drawn).splitlines()
    assert trained[0].startswith("epoch  1  validation RMSE")
    # 18 days of 144 rows less 53 hours of 6, every third; 6 days and 7 days, every sixth.
    assert trained[1] == "windows: 758 for training, 91 for validation, 115 for the test"
    assert drawn.read_bytes().startswith(b"\x89PNG")
    # What it takes for the data's truth: the same hour a day before is off by the fast part alone.
    daily = next(line for line in trained if line.startswith("value a day before"))
    assert float(daily.split()[-2]) == pytest.approx(2 * abs(math.sin(72)) / math.sqrt(2), abs=0.02)
    assert run("--data", weather, "--weights", weights).splitlines()[0] == trained[1]
