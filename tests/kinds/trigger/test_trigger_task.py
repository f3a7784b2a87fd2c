from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import recurdrop as rd
from recurdrop.kinds.speech import data as speech
from recurdrop.kinds.speech.data import read_wave
from recurdrop.kinds.trigger.data import Clip, Mixer, backgrounds
from recurdrop.kinds.trigger.metric import Counts, compare, detections
from recurdrop.kinds.trigger.model import TriggerModel, TriggerSettings
from recurdrop.kinds.trigger.task import TriggerData, TriggerTask
from recurdrop.models.settings import TrainingSettings
from waves import wav

RATE = 2000
SMALL: dict[str, Any] = {"seconds": 2.0, "train": 7, "valid": 4, "test": 5, "bands": 8, "snr": (20.0, 20.0)}
TRAINING = TrainingSettings(batch=3, epochs=2, lr=0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tones: the trigger is 700 Hz, the other word 150 Hz."""
    for label, frequency in (("3", 700), ("4", 150)):
        for i in (0, 1, 5, 6, 10, 11):
            tone = 16384 * np.sin(2 * np.pi * frequency / RATE * np.arange(300 + 10 * i))
            (tmp_path / f"{label}_ann_{i}.wav").write_bytes(wav(tone, RATE))
    return tmp_path


def mixed(folder: Path, data: TriggerData) -> Clip:
    """Return the second clip of the test part."""
    recordings = speech.read(folder)
    return Mixer(recordings, data, data.seed, backgrounds(folder, recordings.rate)).clip("test", 1)


@pytest.fixture
def task(folder: Path) -> TriggerTask:
    return TriggerTask.load(folder, TriggerData(**SMALL))


class Known(nn.Module):
    """Says each time what it is told: logits (clips, frames)."""

    def __init__(self, logits: Tensor, stride: int) -> None:
        super().__init__()
        self.logits, self.stride = nn.Parameter(logits), stride

    def forward(self, features: Tensor) -> Tensor:
        return 1 * self.logits[: len(features)]


def test_detections_are_rising_edges_apart() -> None:
    p = np.array([0.6, 0.7, 0.2, 0.5, 0.4, 0.9, 0.1, 0.1, 0.5, 0.9], dtype=np.float32)
    assert detections(p, 0.1, 0.5, 0.0) == pytest.approx([0.1, 0.4, 0.6, 0.9])
    assert detections(p, 0.1, 0.5, 0.25) == pytest.approx([0.1, 0.4, 0.9])
    assert detections(p, 0.1, 0.8, 0.0) == pytest.approx([0.6, 1.0])
    assert detections(p[1:3], 1.0, 0.95, 0.0) == []


def test_each_event_is_hit_once_and_within_the_tolerance() -> None:
    clips = [
        ([0.75, 1.0, 3.0], [0.5, 2.0]),  # one hit: the second is a repetition, the third too far
        ([1.0, 1.125], [1.0, 1.25]),  # two: each takes the earliest that is near and left
        ([], [1.0]),
        ([1.0], []),
        ([0.75, 1.25], [1.0]),  # before and after are alike
    ]
    assert compare(clips, 0.25) == Counts(4, 8, 6)
    assert [compare([clip], 0.25).hits for clip in clips] == [1, 2, 0, 0, 1]
    counts = Counts(3, 4, 6)
    assert (counts.precision, counts.recall) == (0.75, 0.5)
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert Counts(0, 0, 3).precision == Counts(0, 3, 0).recall == Counts(0, 0, 0).f1 == 0


def test_scores_are_those_of_the_probabilities(task: TriggerTask) -> None:
    stride, clips = 5, task._clips["valid"]
    targets = torch.from_numpy(clips.labels[:, 4::5])
    assert targets.shape == (4, 40)
    perfect = task.score(Known(8 * targets - 4, stride), "valid")
    assert (perfect.metric, dict(perfect.others)) == (1, {"precision": 1, "recall": 1, "frame accuracy": 1})
    assert perfect.loss == pytest.approx(math.log1p(math.exp(-4)), rel=1e-5)
    logits = (8 * targets - 4) * torch.linspace(0.5, 1, 160).reshape(4, 40)
    logits[0] *= -1  # misses what there is and finds what there is not
    found = [detections(row.sigmoid().numpy(), 0.05, 0.5, 0.4) for row in logits]
    counts, score = compare(zip(found, clips.ends, strict=True), 0.4), task.score(Known(logits, stride), "valid")
    assert (score.metric, score.others["recall"]) == (counts.f1, counts.recall)
    assert 0 < score.metric < 1
    assert score.others["frame accuracy"] == pytest.approx(((logits > 0) == (targets > 0)).float().mean().item())
    assert score.loss == pytest.approx(F.binary_cross_entropy_with_logits(logits, targets).item())


def test_the_training_score_is_of_as_many_clips_as_validate(task: TriggerTask) -> None:
    targets = torch.from_numpy(task._clips["train"].labels[:, 4::5])
    targets[4:] = 1 - targets[4:]
    assert task.score(Known(20 * targets - 10, 5), "train").metric == 1


def test_the_loss_weighs_positive_frames(folder: Path) -> None:
    task = TriggerTask.load(folder, TriggerData(**SMALL, positive_weight=3.0))
    features, labels = task.batches(TRAINING, 0, 1)[0]
    logits = torch.linspace(-2, 2, 120).reshape(3, 40)
    step = task.step(Known(logits, 5), (features, labels), None, TRAINING)
    p, y = logits.sigmoid(), labels[:, 4::5]
    assert y.any()
    by_hand = -(3 * y * p.log() + (1 - y) * (1 - p).log())
    assert step.loss.item() == pytest.approx(by_hand.mean().item())
    assert step.weight == 120


def test_an_epoch_has_each_clip_once_in_an_order_of_its_own(task: TriggerTask) -> None:
    batches = task.batches(TRAINING, 0, 1)
    assert [len(features) for features, _ in batches] == [3, 3, 1]
    features, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    clips = task._clips["train"]
    order = [next(i for i in range(7) if torch.equal(row, task._features["train"][i])) for row in features]
    assert sorted(order) == list(range(7))
    np.testing.assert_array_equal(labels, clips.labels[order])
    assert torch.equal(task.batches(TRAINING, 0, 1)[0][0], batches[0][0])
    others = [task.batches(TRAINING, *which)[0][0] for which in ((1, 1), (0, 2))]
    assert not any(torch.equal(other, batches[0][0]) for other in others)


def test_features_are_normal_in_training(task: TriggerTask) -> None:
    train = task._features["train"].double().flatten(0, 1)
    torch.testing.assert_close(train.mean(0), torch.zeros(8).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(8).double(), atol=1e-5, rtol=0)
    again = (task._clips["test"].features - task._mean) / task._deviation
    np.testing.assert_array_equal(task._features["test"], again)


def test_never_has_the_loss_of_the_rate(task: TriggerTask) -> None:
    y = task._clips["test"].labels
    score = task.baselines("test")["never"]
    assert task.rate == pytest.approx(task._clips["train"].labels.mean())
    expected = -(y.mean() * math.log(task.rate) + (1 - y.mean()) * math.log(1 - task.rate))
    assert (score.loss, score.metric) == (pytest.approx(expected), 0)
    assert score.others["frame accuracy"] == pytest.approx(1 - y.mean())
    sliced = task._clips["train"].labels[:4].mean()
    assert task.baselines("train")["never"].others["frame accuracy"] == pytest.approx(1 - sliced)


def test_detecting_in_a_file_is_scoring_its_clip(task: TriggerTask, folder: Path, tmp_path: Path) -> None:
    model = task.build(TriggerSettings(hidden=6, channels=8)).eval()
    clip = mixed(folder, task.data)
    (tmp_path / "clip.wav").write_bytes(wav(32768 * clip.wave, RATE))
    probabilities, times = task.detect(model, read_wave(tmp_path / "clip.wav", RATE))
    with torch.no_grad():
        expected = model(task._features["test"][1:2])[0].sigmoid()
    torch.testing.assert_close(torch.from_numpy(probabilities), expected)
    assert times == detections(probabilities, 0.04, 0.5, 0.4)
    assert clip.ends == task._clips["test"].ends[1]
    with pytest.raises(ValueError, match="80 samples or more; got 79"):
        task.detect(model, np.zeros(79, dtype=np.float32))


def test_samples_average_probabilities(task: TriggerTask) -> None:
    model = task.build(TriggerSettings(hidden=6, channels=8, noise=("zaremba:0.5",))).eval()
    torch.manual_seed(4)
    score = task.score(model, "valid", samples=3)
    torch.manual_seed(4)
    with torch.no_grad(), rd.mc_dropout(model):
        mean = torch.stack([model(task._features["valid"]).sigmoid() for _ in range(3)]).mean(0)
    targets = torch.from_numpy(task._clips["valid"].labels[:, 3::4])
    assert score.loss == pytest.approx(F.binary_cross_entropy(mean, targets).item(), rel=1e-5)
    assert score.loss != pytest.approx(task.score(model, "valid").loss, rel=1e-3)
    assert not model.training


def test_it_learns_to_tell_tones_apart(folder: Path) -> None:
    task = TriggerTask.load(folder, TriggerData(**{**SMALL, "train": 24}))
    torch.manual_seed(0)
    model = task.build(TriggerSettings(hidden=16, channels=16, noise=("variational:input=0.1",)))
    assert isinstance(model, TriggerModel)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(20):
        model.train()
        for batch in task.batches(TRAINING, epoch, 0):
            optimizer.zero_grad()
            task.step(model, batch, None, TRAINING).loss.backward()
            optimizer.step()
    score = task.score(model.eval(), "test")
    assert score.metric > 0.9
    assert score.loss < task.baselines("test")["never"].loss / 3


def test_tasks_can_be_pickled_and_say_what_they_hold(task: TriggerTask) -> None:
    again = pickle.loads(pickle.dumps(task))  # noqa: S301
    assert torch.equal(again.batches(TRAINING, 3, 1)[0][0], task.batches(TRAINING, 3, 1)[0][0])
    assert (task.sizes["train"], task.sizes["recordings"]) == (7, 12)
    assert task.sizes["test triggers"] == sum(map(len, task._clips["test"].ends))


def test_a_background_of_their_own_is_mixed_in(folder: Path, task: TriggerTask) -> None:
    (folder / "background").mkdir()
    hum = 9830 * np.sin(2 * np.pi * 50 / RATE * np.arange(12 * RATE))
    (folder / "background" / "hum.wav").write_bytes(wav(hum, RATE))
    own = TriggerTask.load(folder, TriggerData(**{**SMALL, "noise": (-30.0, -30.0), "snr": (-100.0, -100.0)}))
    spectrum = np.abs(np.fft.rfft(mixed(folder, own.data).wave.astype(float))) ** 2
    assert spectrum[50 * 2] > 0.99 * spectrum.sum()
    assert own.sha256 != task.sha256
    assert own.sizes["recordings"] == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"valid": 0}, "valid must be 1 clip or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"positive_weight": 0.0}, "positive_weight"),
        ({"threshold": 1.0}, "threshold must be between"),
        ({"tolerance": -0.1}, "tolerance must be"),
        ({"after": 9.0}, "after=9.0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TriggerData(**settings)


def test_clips_without_a_trigger_and_strides_beyond_a_clip_are_refused(folder: Path, task: TriggerTask) -> None:
    with pytest.raises(ValueError, match="must have a trigger"):
        [TriggerTask.load(folder, TriggerData(**{**SMALL, "train": 1, "seed": seed})) for seed in range(9)]
    with pytest.raises(ValueError, match="stride must not exceed"):
        task.build(TriggerSettings(kernel=300, stride=300))
