from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from small_runs import MODEL, NOISE, QUIET, Seen, assert_same_run, equal, language, planned, settings, weights

import recurdrop as rd
from recurdrop.kinds.base import Score, Step
from recurdrop.kinds.language.task import LanguageTask
from recurdrop.models.settings import TrainingSettings
from recurdrop.train import fit as fit_module
from recurdrop.train.best import BEST
from recurdrop.train.checkpoint import read_checkpoint
from recurdrop.train.fit import CHECKPOINT, Fitted, fit

ALL_DONE = 10**9
RUNS = {
    "ntasgd": settings(optimizer="ntasgd", nonmono=0, variable_bptt=True, alpha=2.0, beta=1.0, epochs=4, lr=40.0),
    "plateau": settings(schedule="plateau", patience=1, divisor=2.0, lr=80.0, from_best=True, epochs=4),
    "adam": settings(optimizer="adam", lr=0.01, schedule="falling"),
    "fraternal": settings(
        schedule="decay", constant_epochs=1, divisor=2.0, kappa=0.1, decoupled=True, weight_decay=0.01
    ),
}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> LanguageTask:
    return language(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def whole(task: LanguageTask) -> dict[str, Fitted]:
    return {name: fit(task, MODEL, training, seed=1) for name, training in RUNS.items()}


class Killed(Exception):
    pass


class Kill(L.Callback):
    """Raises at the nth event of one sort."""

    def __init__(self, sort: str, n: int) -> None:
        self.sort, self.left = sort, n

    def hit(self, sort: str) -> None:
        self.left -= sort == self.sort
        if self.left == 0 and sort == self.sort:
            raise Killed

    def on_train_batch_end(self, *args: Any) -> None:
        self.hit("after update")

    def on_train_batch_start(self, *args: Any) -> None:
        self.hit("before update")

    def on_train_epoch_start(self, *args: Any) -> None:
        self.hit("before epoch")


PLACES = [
    ("before update", 1, 0.0),
    ("after update", 4, 0.0),
    ("after update", 14, ALL_DONE),
    ("before epoch", 2, ALL_DONE),
    ("after epoch", 2, 0.0),
    ("while saving", 2, ALL_DONE),
    ("after update", -1, 0.0),
]


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("sort", "n", "every"), PLACES)
def test_a_run_killed_and_started_again_ends_as_if_nothing_had_been(
    task: LanguageTask,
    whole: dict[str, Fitted],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    sort: str,
    n: int,
    every: float,
) -> None:
    updates = len(whole[name].step_seconds)
    kill = Kill(sort, updates if n == -1 else n)
    options: dict[str, Any] = {"seed": 1, "folder": tmp_path, "every": every, "about": "x"}
    save = fit_module._Keep._save

    def saved(keep: Any, trainer: L.Trainer) -> None:
        kill.hit("while saving")  # the best weights are written, the checkpoint is not
        save(keep, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(fit_module._Keep, "_save", saved)
        with pytest.raises(Killed):
            fit(task, MODEL, RUNS[name], callbacks=[kill], on_epoch=lambda _: kill.hit("after epoch"), **options)
    kept = (tmp_path / CHECKPOINT).exists()
    assert kept == ((sort, n) != ("before update", 1))
    seen = Seen()
    again = fit(task, MODEL, RUNS[name], callbacks=[seen], **options)
    assert_same_run(whole[name], again)
    assert (len(seen.before) < updates) == kept  # what a checkpoint holds is not done again
    assert equal(read_checkpoint(tmp_path / BEST, "x"), again.best)


def test_mixout_goes_on_with_the_reference_it_began_with(task: LanguageTask, tmp_path: Path) -> None:
    model = dataclasses.replace(MODEL, noise=("mixout:0.5",))
    whole = fit(task, model, RUNS["adam"], seed=1)
    with pytest.raises(Killed):
        fit(task, model, RUNS["adam"], seed=1, folder=tmp_path, every=0.0, callbacks=[Kill("after update", 9)])
    assert_same_run(whole, fit(task, model, RUNS["adam"], seed=1, folder=tmp_path))


def test_the_runs_do_what_they_are_to_show(task: LanguageTask, whole: dict[str, Fitted]) -> None:
    rates: list[float] = []
    fit(task, MODEL, RUNS["plateau"], seed=1, on_epoch=lambda module: rates.append(module.rate))
    assert rates[-2] < 80.0  # it has fallen, and gone on from the best weights, before the end
    averaging: list[bool] = []
    fit(task, MODEL, RUNS["ntasgd"], seed=1, on_epoch=lambda module: averaging.append(module.optimizer.averaging))
    assert averaging[-2] and not averaging[0]
    assert len({repr(fitted.curve) for fitted in whole.values()}) == len(RUNS)


def test_checkpoints_leave_a_run_as_it_is_and_a_run_that_is_done_stays_so(
    task: LanguageTask, whole: dict[str, Fitted], tmp_path: Path
) -> None:
    for training, first in (
        (RUNS["plateau"], whole["plateau"]),
        (stop := settings(epochs=0, early_stop=1, lr=40.0), fit(task, MODEL, stop, seed=1)),
    ):
        folder = tmp_path / str(training.early_stop)
        assert_same_run(first, fit(task, MODEL, training, seed=1, folder=folder, every=0.0))
        files = [(folder / name).read_bytes() for name in (CHECKPOINT, BEST)]
        seen = Seen()
        assert_same_run(first, fit(task, MODEL, training, seed=1, folder=folder, callbacks=[seen]))
        assert seen.before == []
        assert files == [(folder / name).read_bytes() for name in (CHECKPOINT, BEST)]
        assert {path.name for path in folder.iterdir()} == {BEST, CHECKPOINT, ".lock", ".lock-holder"}


def test_a_checkpoint_of_another_run_a_damaged_one_and_one_without_best_weights_are_refused(
    task: LanguageTask, tmp_path: Path
) -> None:
    training = settings(epochs=1)
    fit(task, MODEL, training, seed=1, folder=tmp_path, about="mine")
    assert read_checkpoint(tmp_path / CHECKPOINT, "mine")["global_step"] == 6
    with pytest.raises(ValueError, match="a checkpoint must be of this run's data and settings"):
        fit(task, MODEL, training, seed=1, folder=tmp_path, about="other")
    best = (tmp_path / BEST).read_bytes()
    (tmp_path / BEST).write_bytes(best[:-1])
    with pytest.raises(ValueError, match=r"must be a whole safetensors file.*best"):
        fit(task, MODEL, training, seed=1, folder=tmp_path, about="mine")
    (tmp_path / BEST).unlink()
    with pytest.raises(ValueError, match=r"names; got .*which is missing"):
        fit(task, MODEL, training, seed=1, folder=tmp_path, about="mine")
    (tmp_path / BEST).write_bytes(best)
    data = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"must be a whole safetensors file.*checkpoint"):
        fit(task, MODEL, training, seed=1, folder=tmp_path, about="mine")


@pytest.mark.parametrize(
    ("training", "losses", "epochs"),
    [
        (settings(epochs=0, early_stop=2), [5, 4, 4.5, 4.2, 3], 4),
        (settings(epochs=0, early_stop=2), [5, 5, 5, 1], 3),
        (settings(epochs=0, early_stop=1), [5, 4, 3, 3.5, 1], 4),
        (settings(epochs=2, early_stop=2), [5, 6, 7, 8], 2),
        (settings(epochs=0, schedule="decay", constant_epochs=1, divisor=2.0, least_lr=0.1), [5, 4, 3, 2], 3),
        (settings(epochs=0, schedule="decay", constant_epochs=1, divisor=2.0, least_lr=0.125), [5, 4, 3, 2, 1], 3),
        (settings(epochs=5), [5, math.nan, 4], 2),
        (settings(epochs=5), [5, 4, math.inf, 4], 3),
    ],
)
def test_training_ends_where_its_settings_say(
    task: LanguageTask, training: TrainingSettings, losses: list[float], epochs: int
) -> None:
    fitted = fit(planned(task, losses), QUIET, training, seed=1)
    assert repr([point.valid for point in fitted.curve]) == repr(losses[:epochs])
    assert [point.update for point in fitted.curve] == [6 * (i + 1) for i in range(epochs)]
    assert {(point.train, point.train_metric, point.valid_metric) for point in fitted.curve} == {(1.0, 2.0, 2.0)}


@pytest.mark.parametrize("losses", [[5, 3, 4], [5, 3, math.nan], [5, 3, 3]], ids=str)
def test_the_best_weights_are_those_of_the_lowest_validation_loss(
    task: LanguageTask, tmp_path: Path, losses: list[float]
) -> None:
    after: list[dict[str, torch.Tensor]] = []
    fitted = fit(
        planned(task, losses),
        MODEL,
        settings(),
        seed=1,
        folder=tmp_path,
        on_epoch=lambda module: after.append(weights(module.model)),
    )
    assert equal(fitted.best, after[1])
    assert equal(read_checkpoint(tmp_path / BEST), after[1])
    assert equal(weights(fitted.model), after[2])
    assert not equal(after[1], after[2])


def test_a_run_that_never_has_a_loss_has_no_best_weights(task: LanguageTask, tmp_path: Path) -> None:
    fitted = fit(planned(task, [math.nan]), QUIET, settings(), seed=1, folder=tmp_path)
    assert fitted.best == {}
    assert not (tmp_path / BEST).exists()


def test_a_fall_of_the_rate_goes_on_from_the_best_weights_where_asked(task: LanguageTask) -> None:
    training = settings(schedule="plateau", patience=1, divisor=2.0, epochs=4)
    for from_best in (True, False):
        seen = Seen()
        fit(
            planned(task, [5, 4, 6, 3]),
            QUIET,
            dataclasses.replace(training, from_best=from_best),
            seed=1,
            callbacks=[seen],
        )
        assert seen.epochs == [0.5, 0.5, 0.5, 0.25]
        assert equal(seen.before[18], seen.after[11 if from_best else 17])


def test_ntasgd_is_scored_and_kept_with_its_averages_and_trained_with_raw_weights(task: LanguageTask) -> None:
    scored: list[dict[str, torch.Tensor]] = []
    mine = planned(task, [5, 6, 4, 3])
    losses = mine.score

    def score(model: torch.nn.Module, part: Any, *, samples: int = 0) -> Score:
        if part == "valid":
            scored.append(weights(model))
        return losses(model, part)

    mine.score = score  # type: ignore[method-assign]
    seen = Seen()
    training = settings(optimizer="ntasgd", nonmono=0, epochs=4)
    fitted = fit(mine, QUIET, training, seed=1, callbacks=[seen])
    # The second loss is above the first: averages begin with the third epoch.
    assert equal(scored[1], seen.after[11])
    assert equal(weights(fitted.model), seen.after[23])
    for epoch in (2, 3):
        for name, value in scored[epoch].items():
            mean = torch.stack([after[name].double() for after in seen.after[12 : 6 * (epoch + 1)]]).mean(0)
            torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(scored[3]["decoder.weight"], seen.after[23]["decoder.weight"], atol=1e-4)
    assert equal(fitted.best, scored[3])
    assert equal(seen.before[18], seen.after[17])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schedule": "decay", "constant_epochs": 2, "divisor": 2.0, "epochs": 4}, [0.5, 0.5, 0.25, 0.125]),
        ({"schedule": "milestones", "milestones": (1, 3), "divisor": 5.0, "epochs": 4}, [0.5, 0.1, 0.1, 0.02]),
        ({"schedule": "plateau", "patience": 2, "divisor": 2.0, "epochs": 4}, [0.5, 0.5, 0.5, 0.25]),
        ({"epochs": 2}, [0.5, 0.5]),
    ],
)
def test_the_learning_rate_follows_the_schedule_by_epochs(
    task: LanguageTask, changes: dict[str, Any], expected: list[float]
) -> None:
    seen = Seen()
    fit(planned(task, [5, 6, 7, 8]), QUIET, settings(**changes), seed=1, callbacks=[seen])
    assert seen.epochs == pytest.approx(expected)
    assert seen.rates == pytest.approx([rate for rate in expected for _ in range(6)])


def test_the_falling_rate_falls_over_the_second_half_of_the_updates(task: LanguageTask) -> None:
    seen = Seen()
    fit(task, QUIET, settings(schedule="falling", epochs=2), seed=1, callbacks=[seen])
    assert seen.rates == pytest.approx([0.5] * 7 + [0.5 * k / 6 for k in (5, 4, 3, 2, 1)])


def lengths(seen: Seen) -> list[float]:
    """The norm of each update."""
    return [
        math.sqrt(sum(float(((after[n] - before[n]).double() ** 2).sum()) for n in before if n != "decoder.weight"))
        for before, after in zip(seen.before, seen.after, strict=True)
    ]


def test_gradients_are_clipped_and_each_window_has_its_rate(task: LanguageTask) -> None:
    seen, free = Seen(), Seen()
    training = settings(clip=0.01, variable_bptt=True, epochs=1)
    fit(task, QUIET, training, seed=3, callbacks=[seen])
    scales = [window.scale for window in rd.VariableBPTT(219, 40, seed=3).windows(0)]
    assert len(set(scales)) > 2
    assert lengths(seen) == pytest.approx([0.5 * 0.01 * scale for scale in scales], rel=1e-3)
    assert set(seen.rates) == {0.5}
    fit(task, QUIET, dataclasses.replace(training, clip=math.inf), seed=3, callbacks=[free])
    assert lengths(free)[0] > 2 * lengths(seen)[0]


def test_decoupled_decay_shrinks_all_weights_whatever_the_rate(task: LanguageTask) -> None:
    training = settings(lr=1e-12, weight_decay=0.1, epochs=1)
    for decoupled, factor in ((True, 0.9**6), (False, 1.0)):
        seen = Seen()
        fit(task, MODEL, dataclasses.replace(training, decoupled=decoupled), seed=1, callbacks=[seen])
        for name, value in seen.after[-1].items():
            torch.testing.assert_close(value, seen.before[0][name] * factor)


def test_decoupled_decay_leaves_frozen_weights_as_they_are(task: LanguageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    build = LanguageTask.build

    def frozen(task: LanguageTask, model: Any) -> Any:
        made = build(task, model)
        made.encoder.requires_grad_(False)
        return made

    monkeypatch.setattr(LanguageTask, "build", frozen)
    seen = Seen()
    fit(task, QUIET, settings(weight_decay=0.1, decoupled=True, epochs=1), seed=1, callbacks=[seen])
    same = {name for name, value in seen.after[-1].items() if torch.equal(value, seen.before[0][name])}
    assert same == {"encoder.embedding.weight", "decoder.weight"}  # one matrix, since they are tied


def test_coupled_decay_is_part_of_the_gradient(task: LanguageTask) -> None:
    seen = [Seen(), Seen()]
    for one, decay in zip(seen, (0.0, 0.1), strict=True):
        fit(task, QUIET, settings(weight_decay=decay, epochs=1), seed=1, callbacks=[one])
    for name, value in seen[1].after[0].items():
        torch.testing.assert_close(value, seen[0].after[0][name] - 0.5 * 0.1 * seen[0].before[0][name])


def test_the_loss_summed_over_time_is_the_mean_times_the_steps(task: LanguageTask) -> None:
    training = settings(bptt=73)  # 3 windows of equal length
    total = dataclasses.replace(training, loss="sum_over_time")
    model, batch = task.build(QUIET), task.batches(training, 0, 1)[0]
    mean, summed = (task.step(model, batch, None, each) for each in (training, total))
    torch.testing.assert_close(summed.loss, 73 * mean.loss)
    assert summed.weight == mean.weight == 4 * 73
    first = fit(task, MODEL, dataclasses.replace(training, lr=0.2, clip=0.2), seed=1)
    second = fit(task, MODEL, dataclasses.replace(total, lr=0.2 / 73, clip=0.2 * 73), seed=1)
    for name, value in weights(first.model).items():
        torch.testing.assert_close(value, weights(second.model)[name], rtol=1e-4, atol=1e-5)


def test_noise_changes_no_initial_weight_and_a_seed_does(task: LanguageTask) -> None:
    starts = []
    for noise, seed in (((), 1), (NOISE, 1), (("weightdrop:0.5",), 1), (NOISE, 2)):
        seen = Seen()
        fit(task, dataclasses.replace(MODEL, noise=noise), settings(epochs=1), seed=seed, callbacks=[seen])
        starts.append([value for _, value in sorted(seen.before[0].items())])
    for others in starts[1:3]:
        assert len(starts[0]) == len(others)
        assert all(torch.equal(a, b) for a, b in zip(starts[0], others, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(starts[1], starts[3], strict=True))


def test_a_seed_gives_one_run_and_another_another(task: LanguageTask, whole: dict[str, Fitted]) -> None:
    torch.rand(3)
    assert_same_run(fit(task, MODEL, RUNS["adam"], seed=1), whole["adam"])
    assert repr(fit(task, MODEL, RUNS["adam"], seed=2).curve) != repr(whole["adam"].curve)


@pytest.mark.parametrize("error", [False, True], ids=["done", "error"])
def test_the_callers_random_numbers_go_on_as_before(task: LanguageTask, error: bool) -> None:
    def draws() -> list[Any]:
        return [torch.rand(3).tolist(), np.random.random(3).tolist(), random.random()]  # noqa: S311

    def start() -> None:
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)

    start()
    expected = draws()
    start()
    if error:
        with pytest.raises(Killed):
            fit(task, MODEL, settings(), seed=1, callbacks=[Kill("after update", 3)])
    else:
        fit(task, MODEL, settings(epochs=1), seed=1)
    assert draws() == expected


def test_settings_that_can_t_be_run_are_refused(task: LanguageTask, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training needs an end"):
        fit(task, MODEL, settings(epochs=0), seed=1, folder=tmp_path / "new")
    with pytest.raises(ValueError, match=r"training.batch must divide among the processes; got \(4, 3\)"):
        fit(task, MODEL, settings(), seed=1, devices=3, folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_state_is_carried_in_an_epoch_and_modes_are_right(
    task: LanguageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[bool] = []
    modes: set[tuple[str, bool]] = set()
    step, score = LanguageTask.step, LanguageTask.score

    def watched_step(self: LanguageTask, model: Any, batch: Any, state: Any, training: Any) -> Step:
        states.append(state is None)
        modes.add(("step", model.training))
        return step(self, model, batch, state, training)

    def watched_score(self: LanguageTask, model: Any, part: Any, *, samples: int = 0) -> Score:
        modes.add(("score", model.training))
        return score(self, model, part, samples=samples)

    monkeypatch.setattr(LanguageTask, "step", watched_step)
    monkeypatch.setattr(LanguageTask, "score", watched_score)
    fit(task, MODEL, settings(epochs=2), seed=1)
    assert states == ([True] + [False] * 5) * 2
    assert modes == {("step", True), ("score", False)}
