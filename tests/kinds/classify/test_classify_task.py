from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import recurdrop as rd
from recurdrop.kinds.classify.model import ClassifierSettings
from recurdrop.kinds.classify.task import ClassifyData, ClassifyTask, class_logs, padded, scored
from recurdrop.models.settings import TrainingSettings

TRAINING = TrainingSettings(batch=8, epochs=1, lr=0.01)


@pytest.fixture
def task(tmp_path: Path) -> ClassifyTask:
    """Texts of 1 to 20 words; "good" or "bad" somewhere tells the class, of which 1 in 4 is bad."""
    rng = np.random.default_rng(0)
    rows = ["text,label"]
    for i in range(240):
        words = [f"w{k}" for k in rng.integers(9, size=rng.integers(20))]
        words.insert(int(rng.integers(len(words) + 1)), "bad" if i % 4 == 0 else "good")
        rows.append(f"{' '.join(words)},{'no' if i % 4 == 0 else 'yes'}")
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(rows))
    return ClassifyTask.load(path, ClassifyData())


def test_an_epoch_has_every_text_once_in_batches_of_like_length(task: ClassifyTask) -> None:
    batches = task.batches(TRAINING, 0, 0)
    found = sorted((words[row, :n].tolist(), int(y)) for words, ns, ys in batches for row, (n, y) in _rows(ns, ys))
    train = task.data.train
    assert found == sorted((text.tolist(), int(y)) for text, y in zip(train.texts, train.labels, strict=True))
    spread = [int(lengths.max() - lengths.min()) for _, lengths, _ in batches]
    assert max(spread) <= 2
    assert all(words.shape[1] == lengths.max() for words, lengths, _ in batches)
    longest = [int(lengths.max()) for _, lengths, _ in batches]
    assert longest != sorted(longest)


def _rows(lengths: torch.Tensor, labels: torch.Tensor) -> list[tuple[int, tuple[int, int]]]:
    return list(enumerate(zip(lengths.tolist(), labels.tolist(), strict=True)))


def test_batches_follow_from_epoch_and_seed(task: ClassifyTask) -> None:
    def first(epoch: int, seed: int) -> list[torch.Tensor]:
        return [labels for _, _, labels in task.batches(TRAINING, epoch, seed)]

    same = [torch.equal(a, b) for a, b in zip(first(0, 0), first(0, 0), strict=True)]
    assert all(same)
    for other in (first(1, 0), first(0, 1)):
        assert not all(torch.equal(a, b) for a, b in zip(first(0, 0), other, strict=True))
    part = task.batches(TRAINING, 0, 0)[1:3]
    assert len(part) == 2 and torch.equal(part[0][2], first(0, 0)[1])


def test_padding_is_behind_the_words_and_a_batch_is_never_without_steps() -> None:
    words, lengths = padded([np.array([3, 4]), np.array([5]), np.array([], dtype=np.int64)])
    assert words.tolist() == [[3, 4], [5, 0], [0, 0]]
    assert lengths.tolist() == [2, 1, 0]
    assert padded([np.array([], dtype=np.int64)])[0].shape == (1, 1)


def test_the_loss_of_a_step_is_the_mean_over_the_batch(task: ClassifyTask) -> None:
    model = task.build(ClassifierSettings(hidden=8, embedding=8))
    words, lengths, labels = task.batches(TRAINING, 0, 0)[0]
    step = task.step(model, (words, lengths, labels), None, TRAINING)
    logs = model(words, lengths).log_softmax(-1)
    assert step.loss.item() == pytest.approx(-logs[range(8), labels].mean().item())
    assert step.weight == 8
    step.loss.backward()
    assert model.embedding.weight.grad is not None


def test_a_score_by_hand() -> None:
    logs = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]]))
    score = scored(logs, np.array([0, 1, 1, 1]))
    assert score.metric == 0.75
    assert score.loss == pytest.approx(-math.log(0.7 * 0.3 * 0.8 * 0.5) / 4)
    assert score.others["macro F1"] == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)


def test_the_baseline_says_the_frequencies(task: ClassifyTask) -> None:
    baseline = task.baselines("test")["majority class"]
    p = np.bincount(task.data.train.labels) / len(task.data.train.labels)
    assert task.data.classes == ("no", "yes")
    assert p.tolist() == [0.25, 0.75]
    assert baseline.metric == 0.75
    assert baseline.loss == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert baseline.others["macro F1"] == pytest.approx(6 / 7 / 2)


def test_training_learns_and_scores_agree_with_classify(task: ClassifyTask) -> None:
    model = task.build(ClassifierSettings(hidden=16, embedding=16, noise=("variational:recurrent=0.2",), dropout=0.2))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for epoch in range(6):
        for batch in task.batches(TRAINING, epoch, 0):
            loss = task.step(model.train(), batch, None, TRAINING).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    score = task.score(model.eval(), "test")
    assert score.metric == 1.0
    p = task.classify(model.train(), ["w1 bad w2", "good w3 w4 w5", ""])
    assert model.training
    assert p[0, 0] > 0.9 and p[1, 1] > 0.9
    torch.testing.assert_close(p.sum(1), torch.ones(3, dtype=torch.float64))
    texts = [" ".join(task.data.words[i] for i in text) for text in task.data.test.texts]
    told = task.classify(model, texts)
    labels = torch.from_numpy(task.data.test.labels)
    assert F.nll_loss(told.log(), labels).item() == pytest.approx(score.loss, rel=1e-6)
    one, another, many = (task.score(model.eval(), "test", samples=n).loss for n in (1, 1, 16))
    assert abs(one - another) > 1e-4
    assert many == pytest.approx(score.loss, abs=0.1)
    assert not model.training


def test_samples_are_averaged_as_probabilities(task: ClassifyTask) -> None:
    model = task.build(ClassifierSettings(hidden=8, embedding=8, dropout=0.5)).eval()
    batch = padded(task.data.test.texts[:5])
    torch.manual_seed(1)
    with torch.no_grad(), rd.mc_dropout(model):
        passes = [model(*batch).double().softmax(-1) for _ in range(3)]
    torch.manual_seed(1)
    told = class_logs(model, *batch, samples=3).detach()
    torch.testing.assert_close(told.exp(), sum(passes) / 3)


def test_train_is_scored_on_as_many_texts_as_validation_has(task: ClassifyTask) -> None:
    model = task.build(ClassifierSettings(hidden=4, embedding=4)).eval()
    before = task.score(model, "train")
    count = len(task.data.valid.labels)
    logs = [model(*padded([text])).log_softmax(-1) for text in task.data.train.texts[:count]]
    by_hand = -torch.cat(logs)[range(count), task.data.train.labels[:count]].mean().item()
    assert before.loss == pytest.approx(by_hand, rel=1e-5)


def test_a_task_says_what_it_has_and_can_be_pickled(task: ClassifyTask) -> None:
    assert task.sizes == {"train": 192, "valid": 24, "test": 24, "vocabulary": 13, "classes": 2}
    again = pickle.loads(pickle.dumps(task))  # noqa: S301
    assert again.sha256 == task.sha256 and again.report == task.report
    assert again.baselines("valid") == task.baselines("valid")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": 2}, "vocabulary must be 3 or more; got 2"),
        ({"max_length": 0}, "max_length must be 1 or more; got 0"),
        ({"keep": "middle"}, "keep must be last or first; got 'middle'"),
        ({"valid": 0.5}, r"valid must lie in \(0, 0.5\); got 0.5"),
        ({"split_seed": -1}, "split_seed must be 0 or more; got -1"),
    ],
)
def test_data_settings_that_break_a_rule_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassifyData(**settings)  # type: ignore[arg-type]
