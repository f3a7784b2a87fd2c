from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import recurdrop as rd
from recurdrop.kinds.base import Batch, Part, Score, Step
from recurdrop.kinds.language.task import LanguageData, LanguageTask
from recurdrop.models.settings import ModelSettings, TrainingSettings
from recurdrop.train.fit import Fitted, fit

TRAINING = TrainingSettings(batch=4, bptt=5, epochs=3, lr=0.01, optimizer="adam", schedule="falling", clip=0.5)
MODEL = ModelSettings(50, 8, (8,), tied=True, init="frequencies")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> LanguageTask:
    subjects, verbs = ["a cat", "the dog", "some bird", "no fish", "one cow"], ["sees", "likes", "fears", "feeds"]
    lines = [f"{s} {v} {o} ." for s, v, o in itertools.product(subjects, verbs, subjects)]
    path: Path = tmp_path_factory.mktemp("text") / "t.txt"
    path.write_text("\n".join(lines[i * 37 % 100] for i in range(200)))
    return LanguageTask.load(path, LanguageData(vocabulary=50, tokens=1200))


def with_noise(*noise: str) -> ModelSettings:
    return dataclasses.replace(MODEL, noise=noise)


def losses(fitted: Fitted) -> list[float]:
    return [value for point in fitted.curve for value in (point.train, point.valid)]


def test_a_run_is_repeatable_and_a_seed_matters(task: LanguageTask) -> None:
    first, second, other = (fit(task, with_noise("zaremba:0.5"), TRAINING, seed=seed) for seed in (1, 1, 2))
    assert losses(first) == losses(second)
    assert losses(first) != losses(other)


def test_training_learns_and_the_weights_are_those_of_the_best_epoch(task: LanguageTask) -> None:
    found = fit(task, MODEL, dataclasses.replace(TRAINING, epochs=8), seed=1)
    assert found.curve[-1].train < found.curve[0].train < math.log(task.sizes["vocabulary"])
    best = min(found.curve, key=lambda point: point.valid)
    model = task.build(MODEL).eval()
    model.load_state_dict(found.best)
    for part, loss, metric in (("train", best.train, best.train_metric), ("valid", best.valid, best.valid_metric)):
        score = task.score(model, part)  # type: ignore[arg-type]
        assert score.loss == pytest.approx(loss, rel=1e-6)
        assert metric == pytest.approx(math.exp(loss))


def test_the_best_epoch_is_kept_when_later_ones_are_worse(task: LanguageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    valid = iter([5.0, 3.0, 4.0])
    snapshots: list[torch.Tensor] = []

    def planned(self: LanguageTask, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        assert not model.training
        if part == "train":
            return Score(1.0, 1.0)
        snapshots.append(model.state_dict()["encoder.embedding.weight"].clone())
        return Score(next(valid), 1.0)

    monkeypatch.setattr(LanguageTask, "score", planned)
    found = fit(task, MODEL, TRAINING, seed=1)
    assert [point.valid for point in found.curve] == [5.0, 3.0, 4.0]
    assert torch.equal(found.best["encoder.embedding.weight"], snapshots[1])
    assert not torch.equal(found.best["encoder.embedding.weight"], snapshots[2])


@pytest.mark.parametrize("noise", ["zaremba:0.5", "zoneout", "weightdrop:0.5", "mixout"])
def test_every_method_starts_from_the_same_weights_and_reads_the_same_windows(
    task: LanguageTask, monkeypatch: pytest.MonkeyPatch, noise: str
) -> None:
    step = LanguageTask.step

    def first_batches(*noise: str) -> tuple[list[torch.Tensor], list[torch.Tensor], list[bool]]:
        weights: list[torch.Tensor] = []
        words: list[torch.Tensor] = []
        fresh: list[bool] = []

        def watched(self: LanguageTask, model: nn.Module, batch: Batch, state: Any, training: Any) -> Step:
            if not weights:
                weights.extend(parameter.detach().clone() for parameter in model.parameters())
            words.append(batch[0])
            fresh.append(state is None)
            return step(self, model, batch, state, training)

        with monkeypatch.context() as patch:
            patch.setattr(LanguageTask, "step", watched)
            fit(task, with_noise(*noise), dataclasses.replace(TRAINING, epochs=2), seed=5)
        return weights, words, fresh

    base, run = first_batches(), first_batches(noise)
    for mine, theirs in zip(base[:2], run[:2], strict=True):
        assert len(mine) > 3
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    windows = len(task.batches(TRAINING, 0, 5))
    assert run[2] == ([True] + [False] * (windows - 1)) * 2  # the state is carried within an epoch


def test_a_run_that_diverges_ends_there(task: LanguageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LanguageTask, "score", lambda self, model, part, samples=0: Score(math.nan, math.nan))
    found = fit(task, MODEL, TRAINING, seed=1)
    assert len(found.curve) == 1
    assert math.isnan(found.curve[0].valid)
    assert found.best == {}


def test_training_leaves_random_numbers_as_they_were(task: LanguageTask) -> None:
    torch.manual_seed(12345)
    state = torch.get_rng_state()
    fit(task, with_noise("zaremba"), dataclasses.replace(TRAINING, epochs=1), seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluation_sees_no_noise(task: LanguageTask) -> None:
    noisy, plain = task.build(with_noise("zaremba:0.5")).eval(), task.build(MODEL).eval()
    plain.load_state_dict(noisy.state_dict())
    assert any(isinstance(module, rd.LSTM) and module.noise for module in noisy.modules())
    assert task.score(noisy, "valid").loss == pytest.approx(task.score(plain, "valid").loss, rel=1e-6)
