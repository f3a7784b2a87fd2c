"""One process at a time writes to a folder of runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recurdrop.records import write_bytes
from recurdrop.train.lock import is_empty, only_process

HOLD = """
import sys
from pathlib import Path
from recurdrop.train.lock import only_process
with only_process(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_holds_the_folder_and_comes_in_when_the_first_was_killed(tmp_path: Path) -> None:
    with holding(tmp_path) as other:
        (tmp_path / "a.json.77.part").write_text("half")
        with pytest.raises(ValueError, match="one process at a time") as raised, only_process(tmp_path):
            pass
        assert f"{tmp_path}, where process {other.pid} on " in str(raised.value)
        assert (tmp_path / "a.json.77.part").exists()
        other.kill()
    with only_process(tmp_path):
        assert not (tmp_path / "a.json.77.part").exists()


def test_a_folder_is_free_again_afterwards_whatever_happened(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), only_process(tmp_path):
            raise KeyError
    with only_process(tmp_path), pytest.raises(ValueError, match=f"process {os.getpid()} on"), only_process(tmp_path):
        pass


def test_processes_that_train_together_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_process(tmp_path):
        monkeypatch.setattr("recurdrop.train.lock.rank_zero_only.rank", 1)
        with only_process(tmp_path):
            pass


def test_what_others_keep_in_the_folder_stays(tmp_path: Path) -> None:
    assert is_empty(tmp_path)
    with only_process(tmp_path):
        pass
    (tmp_path / "run.json.part").write_text("of an earlier version")
    assert is_empty(tmp_path)
    for name in ("film.part", "a.json"):
        (tmp_path / name).write_text("mine")
        assert not is_empty(tmp_path)
        with only_process(tmp_path):
            assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


def test_two_that_write_one_file_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, path = os.fsync, tmp_path / "a.json"

    def overtaken(descriptor: int) -> None:
        fsync(descriptor)
        monkeypatch.undo()
        monkeypatch.setattr(os, "getpid", lambda: 7)
        write_bytes(path, b"of the other process")
        assert path.read_bytes() == b"of the other process"

    monkeypatch.setattr(os, "fsync", overtaken)
    write_bytes(path, b"mine, which is longer than the other's")
    assert path.read_bytes() == b"mine, which is longer than the other's"
    assert os.listdir(tmp_path) == ["a.json"]
