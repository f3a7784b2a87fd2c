"""Two processes on one machine that share each batch."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_runs import MODEL, QUIET, Nothing, PaddedTask, equal, language, settings, weights

import recurdrop as rd
from recurdrop.train.best import BEST
from recurdrop.train.checkpoint import read_checkpoint
from recurdrop.train.fit import CHECKPOINT, Fitted, fit
from recurdrop.train.module import Training

PLAIN = settings(epochs=2, optimizer="adam", lr=0.01, alpha=1.0, beta=1.0)
NOISY = settings(optimizer="ntasgd", nonmono=0, variable_bptt=True, schedule="decay", constant_epochs=1, divisor=2.0)
PADDED = settings(epochs=2, lr=0.1, clip=0.3)
DOUBLE = "64-true"

SCRIPT = """
import json, os, shutil, sys, time
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import torch

torch.set_num_threads(1)
import lightning as L
import recurdrop as rd
from recurdrop.cli import main
from recurdrop.train.checkpoint import write_checkpoint
from recurdrop.train.fit import fit
from small_runs import MODEL, QUIET, Nothing, PaddedTask, language
from test_processes import DOUBLE, NOISY, PADDED, PLAIN, first_mask

out = Path(sys.argv[2])
task = language(out / os.environ.get("LOCAL_RANK", "0"))


class Look(L.Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == 0:
            self.mask = first_mask()

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2 and trainer.is_global_zero:
            shutil.copytree(out / "whole", out / "broken")


epochs, look, seen = [], Look(), {}
common = {"seed": 1, "devices": 2, "on_epoch": lambda module: epochs.append(len(module.curve))}
runs = {
    "plain": fit(task, QUIET, PLAIN, precision=DOUBLE, **common),
    "padded": fit(PaddedTask(), Nothing(), PADDED, precision=DOUBLE, **common),
    "whole": fit(task, MODEL, NOISY, folder=out / "whole", every=0.0, about="x", callbacks=[look], **common),
    "resumed": fit(task, MODEL, NOISY, folder=out / "broken", every=0.0, about="x", **common),
}
rank = os.environ["LOCAL_RANK"]
for name, run in runs.items():
    write_checkpoint(out / f"{name}-{rank}", {"last": dict(run.model.state_dict()), "best": run.best})
    seen[name] = [list(vars(point).values()) for point in run.curve], len(run.step_seconds)
(out / f"{rank}.json").write_text(json.dumps({"runs": seen, "mask": look.mask, "epochs": epochs}))

results = out / "results.csv"
while rank == "1" and not (results.exists() and results.stat().st_size):
    time.sleep(0.05)  # as a second process that is started by the first one's training
options = ["--data", out / rank / "text.txt", "--out", out / "run", "--devices", 2, "--results", results]
main(["reproduce", str(out / "small.toml"), *map(str, options)])
"""

RECIPE = """
task = "language"
[data]
vocabulary = 50
[model]
vocabulary = 50
embedding = 6
widths = [6]
[training]
batch = 4
epochs = 1
lr = 1.0
bptt = 40
"""


def first_mask() -> list[float]:
    """What noise would be drawn next."""
    state = torch.get_rng_state()
    mask = rd.nn.Dropout(0.5)(torch.ones(40)).tolist()
    torch.set_rng_state(state)
    return mask


class Together:
    """What both processes wrote."""

    def __init__(self, folder: Path, said: str) -> None:
        self.folder, self.said = folder, said
        self.told: list[dict[str, Any]] = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]

    def weights(self, run: str, rank: int, which: str = "last") -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = read_checkpoint(self.folder / f"{run}-{rank}")[which]
        return found


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    folder = tmp_path_factory.mktemp("together")
    for rank in "01":
        (folder / rank).mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    (folder / "small.toml").write_text(RECIPE)
    unset = ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "RANK")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    found = subprocess.run(  # Lightning starts it anew for the second process
        [sys.executable, script, str(Path(__file__).parent), str(folder)],
        env={**environment, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    return Together(folder, found.stdout)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fitted]:
    """The same runs in one process, with the same whole batches."""
    task = language(tmp_path_factory.mktemp("alone"))
    return {
        "plain": fit(task, QUIET, PLAIN, seed=1, precision=DOUBLE),
        "padded": fit(PaddedTask(), Nothing(), PADDED, seed=1, precision=DOUBLE),
    }


@pytest.mark.parametrize("name", ["plain", "padded"])
def test_two_processes_take_the_steps_of_one_on_the_whole_batch(
    together: Together, alone: dict[str, Fitted], name: str
) -> None:
    for which, expected in (("last", weights(alone[name].model)), ("best", alone[name].best)):
        ours = together.weights(name, 0, which)
        assert list(ours) == list(expected)
        for key, value in expected.items():
            assert value.dtype == torch.float64
            torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-11)
    for point, found in zip(alone[name].curve, together.told[0]["runs"][name][0], strict=True):
        assert found == pytest.approx([*vars(point).values()], rel=1e-9)


@pytest.mark.parametrize("name", ["plain", "padded", "whole", "resumed"])
def test_both_processes_end_with_the_same_weights(together: Together, name: str) -> None:
    for which in ("last", "best"):
        assert equal(together.weights(name, 0, which), together.weights(name, 1, which))
    assert together.told[0]["runs"][name] == together.told[1]["runs"][name]


def test_a_process_that_gets_no_example_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(Exception):
        pass

    def tell(weight: torch.Tensor) -> None:
        raise Told(float(weight))

    monkeypatch.setattr(torch.distributed, "all_reduce", tell)
    task = PaddedTask()
    module = Training(task, task.build(Nothing()).double(), PADDED, 1)
    two = tuple(part[1:3] for part in (task.inputs, task.targets, task.lengths))
    found = []
    for rank in range(3):
        module._trainer = SimpleNamespace(world_size=3, global_rank=rank)  # type: ignore[assignment]
        mine = module.on_before_batch_transfer((*two, "text"), 0)
        with pytest.raises(Told) as told:
            module.training_step(mine, 0)
        found.append((len(mine[0]), told.value.args[0]))
    assert found == [(1, 2.0), (1, 7.0), (1, 0.0)]


def test_only_the_first_process_reports(together: Together) -> None:
    assert together.told[0]["epochs"] == [1, 2, 1, 2, 1, 2, 3, 3]
    assert together.told[1]["epochs"] == []


def test_each_process_has_noise_of_its_own(together: Together) -> None:
    masks = [told["mask"] for told in together.told]
    assert all(set(mask) == {0.0, 2.0} for mask in masks)
    assert masks[0] != masks[1]


def test_a_run_of_two_processes_goes_on_to_the_bit(together: Together) -> None:
    assert together.told[0]["runs"]["whole"] == together.told[0]["runs"]["resumed"]
    for which in ("last", "best"):
        first, second = (together.weights(name, 0, which) for name in ("whole", "resumed"))
        assert first and equal(first, second)
    first, second = (read_checkpoint(together.folder / run / BEST) for run in ("whole", "broken"))
    assert equal(first, second)


def test_a_run_goes_on_with_as_many_processes_as_it_began(together: Together, tmp_path: Path) -> None:
    assert (together.folder / "whole" / CHECKPOINT).exists()
    with pytest.raises(ValueError, match="a run of 2 processes goes on with as many; got 1"):
        fit(language(tmp_path), MODEL, NOISY, seed=1, folder=together.folder / "whole", about="x")


def test_the_command_says_once_what_came_of_two_processes(together: Together) -> None:
    assert together.said.count("Appended to") == 1
    with (together.folder / "results.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[1:3] for row in rows] == [
        ["part", "what"],
        ["valid", "perplexity"],
        ["valid", "perplexity of word frequencies"],
        ["test", "perplexity"],
        ["test", "perplexity of word frequencies"],
    ]
