"""The best weights of a run are those that its checkpoint names, whatever else lies in the folder."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import MODEL, equal, language, settings
from torch import nn

from recurdrop.train import fit as fit_module
from recurdrop.train.best import BEST, NEXT, load_weights, read_best
from recurdrop.train.checkpoint import read_checkpoint, write_checkpoint
from recurdrop.train.fit import CHECKPOINT, fit
from recurdrop.train.recipe import from_tables
from recurdrop.train.run import Run

RECIPE: dict[str, Any] = {
    "task": "language",
    "data": {"vocabulary": 50},
    "model": {"vocabulary": 50, "embedding": 6, "widths": [6], "tied": True},
    "training": {"batch": 4, "epochs": 2, "lr": 1.0, "bptt": 40, "clip": 1.0},
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two epochs, of which the second one is the best."""
    language(tmp_path)
    made = Run.prepare(from_tables("small", RECIPE), tmp_path / "text.txt", 1, tmp_path / "run")
    made.fit()
    assert made.curve()[1].valid < made.curve()[0].valid
    return made


class Killed(Exception):
    pass


def test_a_stale_best_is_refused_by_scoring_and_by_going_on(run: Run) -> None:
    path = run.folder / BEST
    other = {name: value + 1 for name, value in read_checkpoint(path).items()}
    write_checkpoint(path, other, run.about)
    refused = f"must be those that its checkpoint names; got '{path}, which is of another run, or of another time'"
    with pytest.raises(ValueError, match=refused):
        run.score("valid")
    with pytest.raises(ValueError, match=refused):
        run.fit()


def test_lost_best_weights_are_refused(run: Run) -> None:
    (run.folder / BEST).unlink()
    for ask in (run.model, run.fit):
        with pytest.raises(ValueError, match="which is missing'"):
            ask()


def test_a_new_start_beside_best_weights_is_refused(run: Run) -> None:
    (run.folder / CHECKPOINT).unlink()
    assert run.model()  # kept without its checkpoint, which is needed for going on alone
    with pytest.raises(ValueError, match="a run that starts anew has no best weights yet; got"):
        run.fit()
    assert (run.folder / BEST).exists()


def test_a_checkpoint_without_a_score_has_no_best_weights(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / BEST, {"w": torch.ones(1)}, "x")
    with pytest.raises(ValueError, match="of another run, or of another time"):
        read_best(tmp_path, "x", {"best": None})
    (tmp_path / BEST).unlink()
    assert read_best(tmp_path, "x", {"best": None}) == ({}, None)


def test_a_checkpoint_from_before_they_were_named_takes_those_beside_it(run: Run) -> None:
    """What was saved by earlier versions goes on, and names its weights from then on."""
    whole = read_checkpoint(run.folder / BEST)
    state = read_checkpoint(run.folder / CHECKPOINT)
    named = state["recurdrop"].pop("best")
    write_checkpoint(run.folder / CHECKPOINT, state, run.about)
    assert equal(dict(run.model().state_dict()), whole)
    again = run.fit()
    assert equal(again.best, whole)
    weights, digest = read_best(run.folder, run.about, {"best": named})
    assert (equal(weights, whole), digest) == (True, named)


@pytest.mark.parametrize("kill", ["before the checkpoint", "after the checkpoint"])
def test_a_kill_between_the_two_files_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: str
) -> None:
    task, training = language(tmp_path), settings(epochs=3)
    whole = fit(task, MODEL, training, seed=1)
    folder = tmp_path / "run"
    epochs = []

    def die(*_: Any) -> None:
        epochs.append(1)
        if len(epochs) == 2:
            raise Killed
        if kill == "before the checkpoint":
            save(*_)
        else:
            take(*_)

    save, take = fit_module._Keep._save, fit_module.take_next
    with monkeypatch.context() as patch:
        if kill == "before the checkpoint":
            patch.setattr(fit_module._Keep, "_save", die)
        else:
            patch.setattr(fit_module, "take_next", die)
        with pytest.raises(Killed):
            fit(task, MODEL, training, seed=1, folder=folder, about="x", every=1e9)
    assert (folder / NEXT).exists()
    saved = read_checkpoint(folder / CHECKPOINT, "x")["recurdrop"]
    assert len(saved["curve"]) == (1 if kill == "before the checkpoint" else 2)
    before = shutil.copytree(folder, tmp_path / "copy")
    assert read_best(folder, "x", saved)[1] == saved["best"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in before.iterdir())
    again = fit(task, MODEL, training, seed=1, folder=folder, about="x", every=1e9)
    assert equal(again.best, whole.best)
    assert repr(again.curve) == repr(whole.curve)
    assert not (folder / NEXT).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("bias"), "bias is missing"),
        (
            lambda w: w.update(weight=torch.zeros(2, 3)),
            r"weight is torch.float32 \(2, 3\) and not",
        ),
        (lambda w: w.update(bias=torch.zeros(3, dtype=torch.int64)), "bias is torch.int64"),
        (lambda w: w.update(other=torch.zeros(3)), "'other' is not in the model"),
        (lambda w: w.update(bias=[0.0, 0.0, 0.0]), "bias is no tensor"),
        (lambda w: w.clear(), "weight is missing, bias is missing"),
    ],
)
def test_weights_of_another_model_are_refused_by_name(change: Any, said: str) -> None:
    model = nn.Linear(2, 3)
    given = dict(model.state_dict())
    change(given)
    with pytest.raises(ValueError, match=said) as raised:
        load_weights(model, given, "best.safetensors")
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="weight is missing, bias is missing"):
        load_weights(model, 5, "best.safetensors")


@pytest.mark.parametrize("nth", range(1, 7))
def test_a_full_disk_ends_a_run_that_then_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    task, training = language(tmp_path), settings(epochs=3)
    whole = fit(task, MODEL, training, seed=1)
    fsync, written = os.fsync, []

    def full(descriptor: int) -> None:
        fsync(descriptor)
        written.append(descriptor)
        if len(written) == nth:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*(best-next|checkpoint)\.safetensors'"):
            fit(task, MODEL, training, seed=1, folder=tmp_path / "run", about="x", every=1e9)
    assert not list((tmp_path / "run").glob("*.part"))
    again = fit(task, MODEL, training, seed=1, folder=tmp_path / "run", about="x", every=1e9)
    assert equal(dict(again.model.state_dict()), dict(whole.model.state_dict()))
    assert equal(again.best, whole.best)
    assert repr(again.curve) == repr(whole.curve)
