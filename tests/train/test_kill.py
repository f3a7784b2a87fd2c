"""A run that is killed at ten random moments ends as one that is not."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning as L
import torch

from recurdrop.train.best import BEST
from recurdrop.train.checkpoint import read_checkpoint
from recurdrop.train.fit import CHECKPOINT
from recurdrop.train.recipe import from_tables
from recurdrop.train.run import Run

KILLS = 10
UPDATES = 4 * 11
RECIPE: dict[str, Any] = {
    "task": "language",
    "data": {"vocabulary": 50},
    "model": {"vocabulary": 50, "embedding": 6, "widths": [6], "tied": True, "noise": ["zoneout:c=0.3,h=0.1"]},
    "training": {"batch": 4, "epochs": 4, "lr": 2.0, "bptt": 20, "clip": 1.0, "optimizer": "ntasgd", "nonmono": 0},
}


class Tell(L.Callback):
    """Tells each update that begins; before the update `hold` it waits to be killed, whatever the machine's pace."""

    def __init__(self, line: Connection, hold: int | None) -> None:
        self.line, self.hold = line, hold

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        self.line.send(trainer.global_step)
        if trainer.global_step == self.hold:
            time.sleep(3600)


def train(text: Path, folder: Path, line: Connection, hold: int | None) -> None:
    """What a process does: go on with the run, writing a checkpoint after each update."""
    torch.set_num_threads(1)
    Run.prepare(from_tables("small", RECIPE), text, 1, folder).fit(every=0.0, callbacks=[Tell(line, hold)])


def test_a_run_killed_at_ten_random_moments_ends_with_the_same_weights(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{(i * i + 3 * i) % 23}" for i in range(1100)))
    context = multiprocessing.get_context("forkserver")  # imports once; each process is a fork of it
    context.set_forkserver_preload(["recurdrop.train.run", "recurdrop.kinds.language.task"])
    draw = random.Random(11)  # noqa: S311
    whole, folder = tmp_path / "whole", tmp_path / "killed"

    def started(where: Path, hold: int | None) -> tuple[Any, Connection]:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=train, args=(text, where, theirs, hold))
        process.start()
        theirs.close()
        return process, mine

    began = time.monotonic()
    process, line = started(whole, hold=None)
    process.join(120)
    assert process.exitcode == 0
    update = (time.monotonic() - began) / UPDATES

    begun = []
    for target in sorted(draw.randrange(UPDATES) for _ in range(KILLS)):
        process, line = started(folder, hold=min(target + 2, UPDATES - 1))
        while line.poll(120) and (done := line.recv()) < target:
            pass
        time.sleep(draw.uniform(0, 2 * min(update, 0.05)))
        process.kill()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
        begun.append(done)
    assert begun == sorted(begun)
    assert 0 < begun[KILLS // 2] < begun[-1]
    process, line = started(folder, hold=None)
    process.join(120)
    assert process.exitcode == 0

    for name in (BEST, CHECKPOINT):
        assert (folder / name).exists()
    left = {BEST, CHECKPOINT, "run.json", ".lock", ".lock-holder"}
    assert {path.name for path in folder.iterdir()} == left
    first, second = (read_checkpoint(where / CHECKPOINT) for where in (whole, folder))
    bests = [read_checkpoint(where / BEST) for where in (whole, folder)]
    for a, b in ((first["state_dict"], second["state_dict"]), bests):
        assert len(a) > 4 and list(a) == list(b)
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert first["recurdrop"]["curve"] == second["recurdrop"]["curve"]
    assert first["global_step"] == second["global_step"] == UPDATES
    assert [(where / "run.json").exists() for where in (whole, folder)] == [True, True]
