from __future__ import annotations

import math
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import recurdrop as rd
from recurdrop.kinds.translate.data import BOS, EOS, PAD, UNK
from recurdrop.kinds.translate.model import TranslateModel
from recurdrop.kinds.translate.task import TranslateData, TranslateTask
from recurdrop.models.settings import TrainingSettings

TRAINING = TrainingSettings(batch=16, epochs=1, lr=0.01)
SMALL = TranslateModel(hidden=32, embedding=16, tied=True)


def toy(folder: Path, *, count: int = 600) -> TranslateTask:
    """Sentences of letters, and the same backwards in capitals; no training pair twice."""
    rng = np.random.default_rng(0)
    rows = {"".join(rng.choice(list("abcdef"), rng.integers(1, 5))) for _ in range(4 * count)}
    table = "".join(f"{' '.join(row)}\t{' '.join(reversed(row.upper()))}\n" for row in sorted(rows)[:count])
    path = folder / "toy.tok.tsv"
    path.write_text(table)
    return TranslateTask.load(path, TranslateData(max_length=8))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TranslateTask:
    return toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def trained(task: TranslateTask) -> nn.Module:
    torch.manual_seed(0)
    model = task.build(replace(SMALL, dropout=0.1, noise=("variational:recurrent=0.05",)))
    optimizer = torch.optim.Adam(model.parameters(), TRAINING.lr)
    for epoch in range(15):
        for batch in task.batches(TRAINING, epoch, 0):
            optimizer.zero_grad()
            task.step(model, batch, None, TRAINING).loss.backward()
            optimizer.step()
    return model.eval()


def test_a_language_of_letters_backwards_is_learnt(task: TranslateTask, trained: nn.Module) -> None:
    assert task.score(trained, "test").metric < 1.2
    assert task.baselines("test")["word frequencies"].metric > 4
    assert task.final(trained, "test")["BLEU"] > 90
    assert task.translate(trained, ["d A b", "", "f e"]) == ["B A D", "", "E F"]
    assert task.translate(trained, ["d a b", "c"], beam=4) == ["B A D", "C"]


@torch.no_grad()
def test_noise_is_averaged_as_probabilities(task: TranslateTask, trained: nn.Module) -> None:
    torch.manual_seed(5)
    found = task.score(trained, "valid", samples=3)
    valid = task.pairs.parts["valid"]
    order = valid.target_lengths.argsort(kind="stable")
    source, target = (torch.from_numpy(numbers[order]).long() for numbers in (valid.source, valid.target))
    torch.manual_seed(5)
    mean = torch.zeros(())
    with rd.mc_dropout(trained):
        for _ in range(3):
            logits = trained(source, torch.from_numpy(valid.lengths[order]), target[:, :-1])
            mean = mean + logits.softmax(-1).gather(2, target[:, 1:, None])[..., 0] / 3
    nats = -mean.log()[target[:, 1:] != PAD]
    assert found.loss == pytest.approx(float(nats.mean()), rel=1e-4)
    assert found.loss != pytest.approx(task.score(trained, "valid").loss, rel=1e-3)
    assert not any(module.training for module in trained.modules())


def test_the_batches_of_an_epoch_hold_every_pair_once(task: TranslateTask) -> None:
    def rows(epoch: int, seed: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        found = []
        for source, lengths, target in task.batches(TRAINING, epoch, seed):
            assert source.shape[1] == lengths.max() and (target != PAD).any(0).all()
            assert torch.equal((source != PAD).sum(1), lengths)
            found += [
                (tuple(s[:n]), tuple(t))
                for s, n, t in zip(source.tolist(), lengths.tolist(), target.tolist(), strict=True)
            ]
        return [(source, tuple(word for word in target if word != PAD)) for source, target in found]

    first = rows(0, 0)
    train = task.pairs.parts["train"]
    wanted = [
        (tuple(s[s != PAD].tolist()), tuple(t[t != PAD].tolist()))
        for s, t in zip(train.source, train.target, strict=True)
    ]
    assert Counter(first) == Counter(wanted)
    assert first == rows(0, 0)
    batch = set(first[:16])
    for other in (rows(1, 0), rows(0, 1)):
        assert not any(batch == set(other[i : i + 16]) for i in range(0, len(other), 16))
    assert all(target[0] == BOS and target[-1] == EOS for _, target in first)


def test_batches_hold_sentences_of_like_length(task: TranslateTask) -> None:
    batches = task.batches(TRAINING, 0, 0)
    filled = sum(int((target != PAD).sum()) for *_, target in batches) / sum(t.numel() for *_, t in batches)
    assert filled > 0.95
    lengths = [target.shape[1] for *_, target in batches]
    assert lengths != sorted(lengths)


@torch.no_grad()
def test_loss_and_score_are_means_over_words_and_ends(task: TranslateTask) -> None:
    torch.manual_seed(0)
    model = task.build(SMALL).double().eval()
    nats, count = [0.0, 0.0], [0, 0]
    valid = task.pairs.parts["valid"]
    batch = next(batch for batch in task.batches(TRAINING, 0, 0) if (batch[2] == PAD).any())
    given = (
        zip(valid.source, valid.lengths, valid.target, strict=True),
        zip(batch[0].numpy(), batch[1].numpy(), batch[2].numpy(), strict=True),
    )
    for i, rows in enumerate(given):
        for source, length, target in rows:
            words = torch.from_numpy(target[target != PAD]).long()
            x = torch.from_numpy(source[:length]).long()
            log = model(x[None], torch.tensor([length]), words[None, :-1])[0].log_softmax(-1)
            nats[i] -= float(log.gather(1, words[1:, None]).sum())
            count[i] += len(words) - 1
    score, step = task.score(model, "valid"), task.step(model, batch, None, TRAINING)
    assert score.loss == pytest.approx(nats[0] / count[0], abs=1e-10)
    assert score.metric == pytest.approx(math.exp(nats[0] / count[0]))
    assert float(step.loss.detach()) == pytest.approx(nats[1] / count[1], abs=1e-10)
    assert (step.weight, step.state, step.scale) == (count[1], None, 1.0)


def test_the_training_score_is_that_of_as_many_pairs_as_validation(
    task: TranslateTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = task.build(SMALL).eval()
    parts = task.pairs.parts
    size = len(parts["valid"])
    train = parts["train"]
    cut = replace(
        train,
        source=train.source[:size],
        lengths=train.lengths[:size],
        target=train.target[:size],
        target_lengths=train.target_lengths[:size],
    )
    other = TranslateTask(replace(task.pairs, parts={**parts, "test": cut}), task.data, name="", sha256="")
    assert task.score(model, "train") == other.score(model, "test")
    assert task.baselines("train") == other.baselines("test")
    sources: list[int] = []

    def decode(_: nn.Module, rows: Sequence[Sequence[int]], beam: int) -> list[list[str]]:
        sources.append(len(rows))
        return [task.pairs.target.tokens(row[1:-1]) for row in train.target[: len(rows)]]

    monkeypatch.setattr(task, "_decode", decode)
    assert task.final(model, "train").keys() == {"BLEU", "BLEU with a beam of 5"}
    assert sources == [size, size]


def test_the_baseline_counts_words_and_ends(tmp_path: Path) -> None:
    for name, text in {"train": "x x\ny x\n", "val": "x z\n", "test": "y\n"}.items():
        (tmp_path / f"{name}.en").write_text(text)
        (tmp_path / f"{name}.de").write_text(text)
    task = TranslateTask.load(tmp_path, TranslateData(min_count=1))
    assert task.sizes["target_words"] == 6
    # x occurs 3 times, the end 2, y once, <unk> never; one is added to each.
    expected = -(math.log(4 / 10) + math.log(1 / 10) + math.log(3 / 10)) / 3
    assert task.baselines("valid")["word frequencies"].loss == pytest.approx(expected, abs=1e-12)


@torch.no_grad()
def test_fraternal_dropout_adds_a_penalty_for_two_passes(task: TranslateTask) -> None:
    model = task.build(replace(SMALL, dropout=0.5)).train()
    batch = next(batch for batch in task.batches(TRAINING, 0, 0) if (batch[2] == PAD).any())

    def loss(kappa: float) -> float:
        torch.manual_seed(1)
        return float(task.step(model, batch, None, replace(TRAINING, kappa=kappa)).loss.detach())

    one, two = loss(1.0), loss(3.0)
    torch.manual_seed(1)
    words, wanted = batch[2][:, :-1], batch[2][:, 1:]
    first, second = (model(batch[0], batch[1], words) for _ in range(2))
    real = wanted != PAD
    assert (two - one) / 2 == pytest.approx(float((first - second)[real].square().mean()), rel=1e-4)


def test_of_penalties_it_reads_that_of_two_passes(task: TranslateTask) -> None:
    assert task.reads == {"kappa"}


def test_a_translation_never_holds_unknown_words(task: TranslateTask) -> None:
    model = task.build(SMALL).eval()
    with torch.no_grad():
        model.output.bias[[PAD, UNK, BOS]] = 99.0
    for beam in (1, 3):
        for text in task.translate(model, ["a b", "c"], beam=beam):
            assert "<" not in text
            assert len(text.split()) <= task.data.max_length


def test_a_task_can_be_pickled(task: TranslateTask, trained: nn.Module) -> None:
    again = pickle.loads(pickle.dumps(task))  # noqa: S301  (our own)
    assert again.score(trained, "valid") == task.score(trained, "valid")
    assert again.sizes == task.sizes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_language": "en"}, "two languages must be named; got 'en'"),
        ({"min_count": 0}, "min_count must be 1 or more"),
        ({"max_length": 0}, "max_length must be 1 or more"),
    ],
)
def test_data_settings_that_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TranslateData(**settings)  # type: ignore[arg-type]
