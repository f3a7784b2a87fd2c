from __future__ import annotations

import gzip
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

import recurdrop as package
from recurdrop.cli.kinds import kind_of, recipe_of
from recurdrop.kinds import KINDS
from recurdrop.models.settings import ModelSettings, TrainingSettings
from recurdrop.study.setup import Setup

Run = Callable[..., Any]
SMALL = ["--hidden", "4", "--epochs", "2", "--batch", "2", "--window", "5", "--tokens", "400", "--seeds", "2"]
HERE = ["--workers", "0"]


def test_a_comparison_ends_with_table_report_and_records(recurdrop: Run, text: Path, tmp_path: Path) -> None:
    found = recurdrop("compare", text, *SMALL, *HERE, "--methods", "zaremba,zoneout:c=0.2,h=0.1", "--out", "o")
    assert found.code == 0
    lines = found.out.splitlines()
    assert {line.split()[0] for line in lines[2:6]} == {"none", "zaremba", "zoneout:c=0.2,h=0.1", "word"}
    assert "word frequencies (baseline)" in found.out
    assert "Test perplexity" in found.out
    assert lines[-1] == "Report: o/report.html"
    assert "6/6 runs" in found.err
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "o" / "runs").iterdir())]
    assert [(r["method"], r["seed"]) for r in records] == [
        (method, seed) for method in ("none", "zaremba", "zoneout:c=0.2,h=0.1") for seed in (1, 2)
    ]
    assert len({json.dumps(r["config"]) for r in records}) == 1
    assert len({len(r["step_seconds"]) for r in records}) == 1
    page = (tmp_path / "o" / "report.html").read_text()
    assert "small text.txt" in page
    assert "recurdrop compare" in page


def test_the_same_command_does_no_run_again(recurdrop: Run, text: Path, tmp_path: Path, monkeypatch: Any) -> None:
    command = ("compare", text, *SMALL, *HERE, "--methods", "zaremba")
    first = recurdrop(*command)
    files = {p: p.read_bytes() for p in tmp_path.rglob("runs/*.json")}
    monkeypatch.setattr(Setup, "run", None)
    second = recurdrop(*command)
    assert (second.code, second.out) == (0, first.out)
    assert {p: p.read_bytes() for p in tmp_path.rglob("runs/*.json")} == files
    assert len(files) == 4


def test_compressed_text_and_other_cells(recurdrop: Run, text: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(text.read_bytes()))
    found = recurdrop("compare", "t.txt.gz", *SMALL, *HERE, "--seeds", 1, "--cell", "gru", "--methods", "keras")
    assert found.code == 0
    assert "on one seed" in found.out or "No method is ahead" in found.out


def test_ctrl_c_says_how_to_go_on(recurdrop: Run, text: Path, monkeypatch: Any) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recurdrop.study.compare.run_all", stopped)
    found = recurdrop("compare", text, *SMALL, *HERE, "--out", "o", "--methods", "zaremba")
    assert found.code == 130
    assert found.err.splitlines()[-1] == (
        "recurdrop: stopped; 0 of 4 runs are kept in o, the same command goes on from there."
    )
    assert found.out == ""


SCRIPT = """
import signal
from recurdrop.cli import main
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell may have switched it off
    main()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_comparison_keeps_its_runs_leaves_no_worker_and_goes_on(
    recurdrop: Run, text: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    command = ["compare", str(text), *SMALL, "--methods", "zaremba", "--out", "o", "--epochs", "6"]
    (tmp_path / "run.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "run.py", *command, "--workers", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _stop_after_a_run(process, tmp_path, stop)
    finally:
        if _alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)

    kept = {path: path.read_bytes() for path in tmp_path.glob("o/runs/*.json")}
    assert 0 < len(kept) < 4
    assert not list(tmp_path.glob("o/report.html"))
    found = recurdrop(*command, *HERE)
    assert found.code == 0
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(list(tmp_path.glob("o/runs/*.json"))) == 4


def _stop_after_a_run(process: subprocess.Popen[str], tmp_path: Path, stop: signal.Signals) -> None:
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("o/runs/*.json")):
        assert process.poll() is None, "ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if stop == signal.SIGINT:
        os.killpg(process.pid, stop)  # as a terminal does: to the workers too
    else:
        process.kill()
    out, err = process.communicate(timeout=60)  # a worker that lived on would hold the pipes open
    while _alive(process.pid):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.02)
    if stop == signal.SIGINT:
        assert (process.returncode, out) == (130, "")
        count = len(list(tmp_path.glob("o/runs/*.json")))
        last = f"recurdrop: stopped; {count} of 4 runs are kept in o, the same command goes on from there."
        assert err.splitlines()[-1] == last
        assert "Traceback" not in err


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


BAD: dict[str, tuple[list[str], str]] = {
    "missing": (["none.txt"], "must be a file that exists"),
    "folder": (["."], "a folder must hold wav files, or texts by class; got 'the folder .'"),
    "table": (["a.csv"], "a table needs a flag that says what to learn from it; got 'a.csv'. Name a table's --target"),
    "two kinds": (["a.csv", "--target", "x", "--label", "y"], "'--target and --label, of forecast and classify'"),
    "other kind": (
        ["a.csv", "--target", "x", "--tokens", "9"],
        "--tokens is a flag of language; got 'it for forecast'",
    ),
    "target": (["a.csv", "--target", "z"], "'z'"),
    "task": (["--task", "speak"], "--task must be one of language, forecast"),
    "no data": (["--task", "forecast", "--set", "data.target=x"], "forecast needs data"),
    "set form": (["--set", "lr=3"], "a change is part.key=value; got 'lr=3'"),
    "set part": (["--set", "train.lr=3"], "there is no 'train'; did you mean 'training'?"),
    "set key": (["--set", "training.epoch=3"], "training has no 'epoch'; did you mean 'epochs'?"),
    "set type": (["--set", "training.epochs=few"], "training.epochs must be"),
    "set noise": (["--set", "model.noise=['awd']"], "a comparison sets model.noise itself"),
    "empty": (["empty.txt"], "must not be empty"),
    "nul": (["nul.txt"], "NUL bytes"),
    "latin": (["latin.txt"], "data.encoding"),
    "short": (["short.txt"], "at least 110 tokens"),
    "method": (["--methods", "zonout"], "zonout"),
    "rate": (["--methods", "zaremba:1.5"], "1.5"),
    "argument": (["--methods", "zoneout:q=0.5"], "q=0.5"),
    "cell": (["--cell", "lst"], "--cell must be one of"),
    "misfit": (["--cell", "gru", "--methods", "zoneout:c=0.5,h=0.1"], "no cell state"),
    "seeds": (["--seeds", "-1"], "--seeds must be 1 or more; got -1"),
    "no number": (["--seeds", "few"], "--seeds"),
    "epochs": (["--epochs", "0"], "--epochs must be 1 or more"),
    "lr": (["--lr", "nan"], "--lr must be above 0 and finite; got nan"),
    "clip": (["--clip", "0"], "--clip must be above 0 and finite; got 0.0"),
    "layers": (["--layers", "0"], "--layers must be 1 or more"),
    "workers": (["--workers", "-2"], "--workers must be 0 or more"),
    "out file": (["--out", "short.txt"], "folder that can be written"),
    "out below file": (["--out", "short.txt/x"], "folder that can be written"),
    "out in use": (["--out", "."], "must be a new folder"),
    "out clash": (["--out", "other"], "training.lr 3 (now 0.01)"),
    "option": (["--sedes", "3"], "--sedes"),
    "extra": (["a", "b"], "b"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_code_2(recurdrop: Run, tmp_path: Path, case: str) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "nul.txt").write_bytes(b"a\0b" * 999)
    (tmp_path / "latin.txt").write_bytes(b"na\xefve " * 999)
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "other").mkdir()
    settings = {"training.lr": 3}
    (tmp_path / "other" / "settings.json").write_text(json.dumps(settings))
    before = sorted(tmp_path.rglob("*"))
    arguments, words = BAD[case]
    found = recurdrop("compare", *arguments)
    assert found.code == 2
    assert found.out == ""
    (line,) = found.err.splitlines()
    assert line.startswith("recurdrop: ")
    assert words in line
    assert "Traceback" not in line
    assert [p for p in sorted(tmp_path.rglob("*")) if p.parts[-2] != "other"] == [
        p for p in before if p.parts[-2] != "other"
    ]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(recurdrop: Run, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    found = recurdrop("compare", "--out", "locked/x")
    assert (found.code, len(found.err.splitlines())) == (2, 1)


def test_a_damaged_record_gets_one_line(recurdrop: Run, text: Path, tmp_path: Path) -> None:
    command = ("compare", text, *SMALL, *HERE, "--methods", "zaremba", "--out", "o")
    recurdrop(*command)
    (tmp_path / "o" / "runs" / "none-seed1.json").write_text("{")
    found = recurdrop(*command)
    assert found.code == 2
    (line,) = found.err.splitlines()
    assert line.startswith("recurdrop: a run record must be JSON; got 'o/runs/none-seed1.json'. Remove the file")


def test_weights_that_are_gone_or_damaged(recurdrop: Run, text: Path, tmp_path: Path) -> None:
    command = ("compare", text, *SMALL, *HERE, "--methods", "zaremba", "--out", "o")
    first = recurdrop(*command)
    (weights,) = (tmp_path / "o" / "weights").glob("none-seed1*")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    found = recurdrop(*command)
    assert found.code == 2
    line = found.err.splitlines()[-1]  # after the bar
    assert line.startswith("recurdrop: weights of a run must be whole; got")
    assert line.endswith("Remove the file, and the run is done again.")
    weights.unlink()
    assert recurdrop(*command).code == first.code == 0
    assert weights.exists()


def table(path: Path, rows: int = 260) -> Path:
    """A wave with a period of 20 rows, which the last value forecasts badly and that of a period ago exactly."""
    lines = [f"{i},{math.sin(i * math.pi / 10):.6f},{i % 3}" for i in range(rows)]
    path.write_text("\n".join(["time,level,other", *lines]))
    return path


def test_a_table_is_forecast_and_set_against_baselines(recurdrop: Run, tmp_path: Path) -> None:
    command = ["compare", table(tmp_path / "tide.csv"), "--target", "level", "--window", 10, "--horizon", 2]
    small = ["--hidden", 4, "--epochs", 2, "--batch", 16, "--seeds", 1, "--set", "data.season=20", *HERE]
    found = recurdrop(*command, *small, "--methods", "zaremba:0.1,zaremba:0.3", "--cell", "lstm")
    assert found.code == 0, found.err
    (folder,) = (tmp_path / "recurdrop-runs").iterdir()
    assert folder.name.startswith("tide-")
    record = json.loads((folder / "runs" / "none-seed1.json").read_text())
    expected = {"data.target": "level", "data.lookback": 10, "data.horizon": 2, "data.season": 20, "model.hidden": 4}
    assert {key: record["config"][key] for key in expected} == expected
    assert (record["task"], record["metric"]["name"]) == ("forecast", "MAE")
    rows = {row["method"]: row for row in json.loads((folder / "summary.json").read_text())["rows"]}
    # sin(x + 0.2 pi) - sin(x) has the amplitude 2 sin(0.1 pi), and the mean of |sin| is 2 / pi
    assert rows["persistence"]["valid"]["mean"] == pytest.approx(2 * math.sin(math.pi / 10) * 2 / math.pi, rel=0.05)
    assert rows["seasonal naive"]["valid"]["mean"] == pytest.approx(0, abs=1e-5)
    assert "does not beat the baseline seasonal naive" in " ".join(found.out.split())
    assert (folder / "rates.png").exists()


def test_labelled_texts_are_classified(recurdrop: Run, tmp_path: Path) -> None:
    lines = [f"{'good fine' if i % 2 else 'bad poor'} film {i % 7},{i % 2}" for i in range(200)]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *lines]))
    command = ["compare", "reviews.csv", "--text", "review", "--label", "stars", "--methods", "awd"]
    found = recurdrop(*command, "--hidden", 4, "--epochs", 1, "--seeds", 1, *HERE)
    assert found.code == 0, found.err
    assert "majority class (baseline)" in found.out
    assert "accuracy" in found.out


@pytest.mark.parametrize(
    ("name", "flags", "kind"),
    [
        (None, {}, "language"),
        ("a.txt", {}, "language"),
        ("a.txt.gz", {}, "language"),
        ("book", {}, "language"),
        ("missing.csv", {}, "language"),  # whose reader says that it is missing
        ("a.csv", {"target": "x"}, "forecast"),
        ("a.parquet", {"label": "x"}, "classify"),
        ("a.tsv.gz", {"text": "x", "label": "y"}, "classify"),
        ("a.tsv", {"source_language": "en", "target_language": "de"}, "translate"),
        ("folder", {"target_language": "de"}, "translate"),
        ("a.json.gz", {}, "music"),
        ("words.tar.gz", {}, "speech"),
        ("wav", {}, "speech"),
        ("WAV", {}, "speech"),
        ("fsdd", {}, "speech"),
        ("aclImdb", {}, "classify"),
    ],
)
def test_the_kind_follows_from_data_and_flags(
    tmp_path: Path, name: str | None, flags: dict[str, str], kind: str
) -> None:
    for folder, file in (
        *(("wav", "deep/0_a_1.wav"), ("WAV", "0_A_1.WAV"), ("fsdd", "fsdd.tar.gz")),
        *(("aclImdb", "train/pos/1.txt"), ("folder", "x.en")),
    ):
        (tmp_path / folder / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / file).touch()
    given = {"target": None, "label": None, "batch": 3, **flags}
    assert kind_of(None if name is None else tmp_path / name, given) == kind


def test_running_text_is_compared_as_ever() -> None:
    recipe = recipe_of("language", {"hidden": None}, [])
    assert (recipe.data.set, recipe.data.vocabulary, recipe.data.tokens) == ("prose", 2000, 25_000)
    model = ModelSettings(2000, 100, (100,), cell="lstm", tied=True, init="frequencies")
    assert recipe.model == model
    expected = {"batch": 16, "bptt": 20, "epochs": 8, "lr": 0.01, "clip": 0.5, "optimizer": "adam"}
    assert recipe.training == TrainingSettings(**expected, schedule="falling")


def test_flags_come_over_defaults_and_changes_over_flags() -> None:
    flags = {"window": 7, "hidden": 5, "layers": 2, "lr": 0.5, "cell": None, "vocabulary": 30}
    changes = ["training.lr=0.25", "model.embedding_dropout=0.1", "training.clip=inf"]
    recipe = recipe_of("language", flags, changes)
    assert (recipe.training.bptt, recipe.training.lr, recipe.training.clip) == (7, 0.25, math.inf)
    assert (recipe.model.embedding, recipe.model.widths, recipe.model.embedding_dropout) == (5, (5, 5), 0.1)
    assert recipe.data.vocabulary == recipe.model.vocabulary == 30
    assert recipe_of("language", {"layers": 2}, []).model.widths == (100, 100)
    forecast = recipe_of(
        "forecast", {"window": 7, "target": 'a "b"'}, ["data.split=[0.5, 0.25, 0.25]", "data.date=when"]
    )
    found = forecast.data
    assert (found.lookback, found.target, found.split, found.date) == (7, 'a "b"', (0.5, 0.25, 0.25), "when")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_defaults(kind: str) -> None:
    recipe = recipe_of(kind, {"target": "x"} if kind == "forecast" else {}, [])
    assert recipe.kind == kind
    assert (recipe.training.optimizer, recipe.training.schedule) == ("adam", "falling")
    assert recipe.model.noise == ()


def test_a_worker_that_is_ended_from_outside_is_one_line(
    recurdrop: Run, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: Any) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("recurdrop.study.compare.Comparison.run", end)
    found = recurdrop("compare", text, *SMALL, "--out", "o")
    assert found.code == 2
    assert "ended from outside, as systems do where memory runs out; 0 of" in found.err.splitlines()[-1]
