from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import recurdrop as rd
from recurdrop.kinds.speech import data as speech
from recurdrop.kinds.speech.model import SpokenSettings
from recurdrop.kinds.speech.task import SpokenData, SpokenTask
from recurdrop.models.settings import TrainingSettings
from waves import wav

RATE = 2000
DATA = SpokenData(bands=8)
TRAINING = TrainingSettings(batch=4, epochs=2, lr=0.01)
PITCH = {"high": 700, "low": 150, "mid": 400}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tones of three pitches, 16 recordings each, "low" 8 more; all lengths differ."""
    for k, (label, pitch) in enumerate(PITCH.items()):
        for i in range(24 if label == "low" else 16):
            tone = np.sin(2 * np.pi * pitch / RATE * np.arange(200 + 23 * i + 5 * k))
            (tmp_path / f"{label}_{i}.wav").write_bytes(wav(9830 * tone, RATE))
    return tmp_path


@pytest.fixture
def task(folder: Path) -> SpokenTask:
    return SpokenTask.load(folder, DATA)


class ByLength(nn.Module):
    """Logits that follow from a recording's length alone."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.scale * torch.stack([lengths % 3, 3 - lengths % 4, lengths % 2], 1).float()


def test_batches_hold_each_recording_once_padded_with_zeros(task: SpokenTask) -> None:
    batches = task.batches(TRAINING, 0, 1)
    assert task.sizes == {"train": 42, "valid": 7, "test": 7, "labels": 3}
    assert sorted(len(lengths) for _, lengths, _ in batches) == [2] + [4] * 10
    left = [(each, int(target)) for each, target in zip(task._features["train"], task._targets["train"], strict=True)]
    for features, lengths, targets in batches:
        assert features.shape[1] == lengths.max()
        for row, length, target in zip(features, lengths, targets, strict=True):
            assert not row[length:].any()
            found = [i for i, (each, label) in enumerate(left) if torch.equal(each, row[:length]) and label == target]
            del left[found[0]]
    assert not left
    assert all(torch.equal(a, b) for a, b in zip(task.batches(TRAINING, 0, 1)[5], batches[5], strict=True))
    orders = [
        torch.cat([lengths for _, lengths, _ in task.batches(TRAINING, *which)]).tolist()
        for which in ((0, 1), (1, 1), (0, 2))
    ]
    assert orders[0] != orders[1] != orders[2]
    assert len(batches[1:3]) == 2
    assert torch.equal(batches[1:3][0][0], batches[1][0])


def test_like_lengths_share_a_batch(task: SpokenTask) -> None:
    padded = sum(features.shape[0] * features.shape[1] for features, _, _ in task.batches(TRAINING, 0, 1))
    assert padded < 1.15 * sum(map(len, task._features["train"]))


def test_scores_are_of_each_recording(task: SpokenTask) -> None:
    lengths = torch.tensor([len(each) for each in task._features["valid"]])
    log_probs = ByLength()(torch.zeros(0), lengths).log_softmax(-1)
    targets = task._targets["valid"]
    score = task.score(ByLength(), "valid")
    assert score.metric == pytest.approx(100 * (log_probs.argmax(1) == targets).float().mean().item())
    assert 0 < score.metric < 100
    assert score.loss == pytest.approx(-log_probs[torch.arange(7), targets].mean().item())


def test_the_step_is_the_mean_over_recordings(task: SpokenTask) -> None:
    features, lengths, targets = task.batches(TRAINING, 0, 1)[0]
    step = task.step(ByLength(), (features, lengths, targets), None, TRAINING)
    by_hand = ByLength()(features, lengths).log_softmax(-1)[torch.arange(len(targets)), targets]
    assert step.loss.item() == pytest.approx(-by_hand.mean().item())
    assert step.weight == len(targets)


def test_the_majority_is_that_of_the_training_part(task: SpokenTask) -> None:
    shares = torch.tensor([12, 18, 12]) / 42  # high, low, mid
    assert task.labels == ("high", "low", "mid")
    score = task.baselines("valid")["majority"]
    assert score.metric == pytest.approx(100 * 3 / 7)
    assert score.loss == pytest.approx(-(4 * math.log(shares[0]) + 3 * math.log(shares[1])) / 7)
    sliced = task.baselines("train")["majority"]
    places = [6 * i for i in range(7)]
    assert sliced.metric == pytest.approx(100 * (task._targets["train"][places] == 1).float().mean().item())


def test_fewer_recordings_of_each_label(folder: Path, task: SpokenTask) -> None:
    few = SpokenTask.load(folder, SpokenData(bands=8, per_label=5))
    assert few.sizes == {"train": 15, "valid": 7, "test": 7, "labels": 3}
    assert few._targets["train"].bincount().tolist() == [5, 5, 5]
    assert [len(each) for each in few._features["valid"]] == [len(each) for each in task._features["valid"]]


def test_it_learns_and_classifies_a_file(task: SpokenTask, tmp_path: Path) -> None:
    model = task.build(SpokenSettings(hidden=8, noise=("variational:input=0.1",)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(4):
        for batch in task.batches(TRAINING, epoch, 0):
            optimizer.zero_grad()
            task.step(model, batch, None, TRAINING).loss.backward()
            optimizer.step()
    assert task.score(model.eval(), "test").metric == 100
    (tmp_path / "new.wav").write_bytes(wav(9830 * np.sin(2 * np.pi * 410 / RATE * np.arange(444)), RATE))
    found = task.classify(model, speech.read_wave(tmp_path / "new.wav", RATE))
    assert next(iter(found)) == "mid"
    assert set(found) == set(task.labels)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(found.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="20 samples or more; got 19"):
        task.classify(model, np.zeros(19, dtype=np.float32))


def test_samples_average_probabilities(task: SpokenTask) -> None:
    model = task.build(SpokenSettings(hidden=6, noise=("zaremba:0.5",))).eval()
    torch.manual_seed(4)
    score = task.score(model, "valid", samples=3)
    features = sorted(zip(task._features["valid"], task._targets["valid"], strict=True), key=lambda pair: len(pair[0]))
    lengths = torch.tensor([len(each) for each, _ in features])
    x = nn.utils.rnn.pad_sequence([each for each, _ in features], batch_first=True)
    torch.manual_seed(4)
    with torch.no_grad(), rd.mc_dropout(model):
        mean = torch.stack([model(x, lengths).softmax(-1) for _ in range(3)]).mean(0)
    by_hand = -torch.stack([mean[i, target].log() for i, (_, target) in enumerate(features)]).mean()
    assert score.loss == pytest.approx(by_hand.item(), rel=1e-5)
    assert score.loss != pytest.approx(task.score(model, "valid").loss, rel=1e-3)


def test_tasks_can_be_pickled(task: SpokenTask) -> None:
    again = pickle.loads(pickle.dumps(task))  # noqa: S301
    assert torch.equal(again.batches(TRAINING, 3, 1)[0][0], task.batches(TRAINING, 3, 1)[0][0])


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="per_label must be 0 or more"):
        SpokenData(per_label=-1)
    (folder / "low_99.wav").write_bytes(wav([3277] * 19, RATE))
    with pytest.raises(ValueError, match=r"20 samples or more; got 'low_99.wav with 19'"):
        SpokenTask.load(folder, DATA)
