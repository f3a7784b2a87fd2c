from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import recurdrop as package
from recurdrop.study import pool

Run = Callable[..., Any]
SMALL = ["--hidden", "4", "--epochs", "2", "--batch", "2", "--window", "5", "--tokens", "400", "--seeds", "2"]
HERE = ["--workers", "0"]


def test_a_comparison_ends_with_table_report_and_records(recurdrop: Run, text: Path, tmp_path: Path) -> None:
    found = recurdrop("compare", text, *SMALL, *HERE, "--methods", "zaremba,zoneout:c=0.2,h=0.1", "--out", "o")
    assert found.code == 0
    lines = found.out.splitlines()
    assert {line.split()[0] for line in lines[2:5]} == {"none", "zaremba", "zoneout:c=0.2,h=0.1"}
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
    monkeypatch.setattr(pool, "train", None)
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
    "folder": (["."], "the folder"),
    "empty": (["empty.txt"], "must not be empty"),
    "nul": (["nul.txt"], "NUL bytes"),
    "latin": (["latin.txt"], "must be UTF-8"),
    "short": (["short.txt"], "at least 170 tokens"),
    "method": (["--methods", "zonout"], "zonout"),
    "rate": (["--methods", "zaremba:1.5"], "1.5"),
    "argument": (["--methods", "zoneout:q=0.5"], "q=0.5"),
    "cell": (["--cell", "lst"], "--cell must be one of"),
    "misfit": (["--cell", "gru", "--methods", "zoneout:c=0.5,h=0.1"], "no cell state"),
    "seeds": (["--seeds", "-1"], "--seeds must be 1 or more; got -1"),
    "no number": (["--seeds", "few"], "--seeds"),
    "epochs": (["--epochs", "0"], "--epochs must be 1 or more"),
    "lr": (["--lr", "nan"], "--lr must be above 0 and finite"),
    "workers": (["--workers", "-2"], "--workers must be 0 or more"),
    "out file": (["--out", "short.txt"], "folder that can be written"),
    "out below file": (["--out", "short.txt/x"], "folder that can be written"),
    "out in use": (["--out", "."], "must be a new folder"),
    "out clash": (["--out", "other"], "hidden 3 (now 100)"),
    "option": (["--sedes", "3"], "--sedes"),
    "extra": (["a", "b"], "b"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_code_2(recurdrop: Run, tmp_path: Path, case: str) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "nul.txt").write_bytes(b"a\0b" * 999)
    (tmp_path / "latin.txt").write_bytes(b"na\xefve " * 999)
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "other").mkdir()
    settings = {"hidden": 3}
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
