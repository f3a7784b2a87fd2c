from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch

import recurdrop as rd
from recurdrop.data.streams import Streams
from recurdrop.data.text import Corpus, prepare
from recurdrop.records import RunRecord
from recurdrop.train import loop
from recurdrop.train.config import Config
from recurdrop.train.evaluate import evaluate
from recurdrop.train.loop import build, score, train

CONFIG = Config(hidden=8, epochs=3, batch=4, window=5, tokens=1200)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    subjects, verbs = ["a cat", "the dog", "some bird", "no fish", "one cow"], ["sees", "likes", "fears", "feeds"]
    lines = [f"{s} {v} {o} ." for s, v, o in itertools.product(subjects, verbs, subjects)]
    return prepare("\n".join(lines[i * 37 % 100] for i in range(200)), "t", vocabulary=50, tokens=1200, least=5)


def losses(record: RunRecord) -> list[float]:
    return [value for point in record.curve for value in (point.train, point.valid)]


def test_a_run_is_repeatable_and_a_seed_matters(corpus: Corpus) -> None:
    noise = rd.Zaremba(0.5)
    first, second, other = (train(corpus, CONFIG, "z", noise, seed)[0] for seed in (1, 1, 2))
    assert losses(first) == losses(second)
    assert losses(first) != losses(other)


def test_the_record_says_what_ran(corpus: Corpus) -> None:
    seen: list[int] = []
    record, _ = train(corpus, CONFIG, "mine", rd.Zoneout(h=0.1), 7, seen.append)
    updates = len(Streams(corpus.train, 4, 5))
    assert [point.update for point in record.curve] == [updates, 2 * updates, 3 * updates]
    assert len(record.step_seconds) == 3 * updates
    assert min(record.step_seconds) > 0
    assert seen == [1, 2, 3]
    assert (record.method, record.noise, record.seed) == ("mine", repr(rd.Zoneout(h=0.1)), 7)
    assert record.cite == rd.Zoneout.cite
    assert record.config == dataclasses.asdict(CONFIG)
    assert record.text["train"] == len(corpus.train) == 960
    assert record.versions["torch"] == torch.__version__
    assert record.machine["threads"] == 1


def test_training_learns_and_the_weights_are_those_of_the_best_epoch(corpus: Corpus) -> None:
    record, weights = train(corpus, dataclasses.replace(CONFIG, epochs=8), "none", None, 1)
    uniform = math.log(len(corpus.words))
    assert record.curve[-1].train < record.curve[0].train < uniform
    model = build(corpus, CONFIG, None)
    model.load_state_dict(weights)
    assert evaluate(model, Streams(corpus.valid, 4, 5)) == pytest.approx(record.best.valid, rel=1e-6)
    assert evaluate(model, Streams(corpus.train[: len(corpus.valid)], 4, 5)) == pytest.approx(
        record.best.train, rel=1e-6
    )
    assert score(corpus, CONFIG, None, weights) == pytest.approx(evaluate(model, Streams(corpus.test, 4, 5)), rel=1e-6)


def test_the_best_epoch_is_kept_when_later_ones_are_worse(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    valid = iter([5.0, 3.0, 4.0])
    snapshots: list[torch.Tensor] = []

    def planned(model: torch.nn.Module, text: Streams) -> float:
        if text is planned.slice:  # type: ignore[attr-defined]
            return 1.0
        snapshots.append(model.state_dict()["embedding.weight"].clone())
        return next(valid)

    class Marked(loop._Training):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            planned.slice = self.slice  # type: ignore[attr-defined]

    monkeypatch.setattr(loop, "evaluate", planned)
    monkeypatch.setattr(loop, "_Training", Marked)
    record, weights = train(corpus, CONFIG, "none", None, 1)
    assert [point.valid for point in record.curve] == [5.0, 3.0, 4.0]
    assert torch.equal(weights["embedding.weight"], snapshots[1])
    assert not torch.equal(weights["embedding.weight"], snapshots[2])


@pytest.mark.parametrize("method", [None, rd.Zaremba(0.5), rd.Zoneout(), rd.WeightDrop(0.5), rd.Mixout()], ids=str)
def test_every_method_starts_from_the_same_weights_and_reads_the_same_windows(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, method: rd.Method | None
) -> None:
    def first_batches(noise: rd.Method | None) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        weights: list[torch.Tensor] = []
        words: list[torch.Tensor] = []

        class Watched(loop._Training):
            def on_fit_start(self) -> None:
                weights.extend(p.detach().clone() for p in self.parameters())

            def training_step(self, batch: loop.Window, batch_idx: int) -> torch.Tensor:
                words.append(batch[0])
                return super().training_step(batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "_Training", Watched)
            train(corpus, dataclasses.replace(CONFIG, epochs=1), "x", noise, 5)
        return weights, words

    base, run = first_batches(None), first_batches(method)
    for mine, theirs in zip(base, run, strict=True):
        assert len(mine) > 3
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_the_state_is_carried_within_an_epoch_and_reset_between(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[bool] = []

    class Watched(loop._Training):
        def training_step(self, batch: loop.Window, batch_idx: int) -> torch.Tensor:
            states.append(self.state is None)
            return super().training_step(batch, batch_idx)

    monkeypatch.setattr(loop, "_Training", Watched)
    train(corpus, dataclasses.replace(CONFIG, epochs=2), "none", None, 1)
    windows = len(Streams(corpus.train, 4, 5))
    assert states == ([True] + [False] * (windows - 1)) * 2


def test_a_run_that_diverges_ends_there(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "evaluate", lambda model, text: math.nan)
    record, weights = train(corpus, CONFIG, "none", None, 1)
    assert len(record.curve) == 1
    assert math.isnan(record.curve[0].valid)
    assert weights == {}


def test_training_leaves_threads_and_random_numbers_as_they_were(corpus: Corpus) -> None:
    torch.manual_seed(12345)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(corpus, dataclasses.replace(CONFIG, epochs=1), "none", None, 1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluation_sees_no_noise_carries_the_state_and_puts_the_mode_back(corpus: Corpus) -> None:
    model = build(corpus, CONFIG, rd.Zaremba(0.5)).train()
    short, long = (evaluate(model, Streams(corpus.valid, 4, length)) for length in (3, 1000))
    assert short == pytest.approx(long, rel=1e-6)
    assert model.training
    plain = build(corpus, CONFIG, None)
    plain.load_state_dict(model.state_dict())
    assert evaluate(plain.eval(), Streams(corpus.valid, 4, 3)) == pytest.approx(short, rel=1e-6)
    assert not plain.training


@pytest.mark.parametrize(("done", "factor"), [(0.0, 1.0), (0.5, 1.0), (0.75, 0.5), (1.0, 0.0), (1.1, 0.0)])
def test_the_learning_rate_falls_over_the_second_half(done: float, factor: float) -> None:
    assert loop.falling(done) == pytest.approx(factor)
