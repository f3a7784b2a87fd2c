"""Trigger-word detection, judged by its events."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import recurdrop as rd
from recurdrop.errors import invalid
from recurdrop.files.mel import LogMel, moments
from recurdrop.kinds.base import PARTS, Batch, Metric, Part, Score, Step, Task, shuffled
from recurdrop.kinds.speech import data as speech
from recurdrop.kinds.trigger.data import ClipSettings, Mixer, backgrounds
from recurdrop.kinds.trigger.metric import compare, detections
from recurdrop.kinds.trigger.model import TriggerModel, TriggerSettings
from recurdrop.models.settings import TrainingSettings

_ROWS = 50


@dataclass(frozen=True)
class TriggerData(ClipSettings):
    """Which clips there are, and what counts as a detection.

    Attributes:
        train: clips of the training part.
        valid: of the validation part.
        test: of the test part.
        seed: of the clips.
        bands: mel filters.
        window: seconds that a frame of features sees.
        hop: seconds from frame to frame.
        positive_weight: what a frame with label 1 counts in the loss; others count 1.
        threshold: probability from which a trigger is detected. A second detection within `after` seconds is none.
        tolerance: the most seconds between a detection and the end of its trigger.

    Raises:
        ValueError: a setting breaks its rule.
    """

    train: int = 400
    valid: int = 200
    test: int = 200
    seed: int = 0
    bands: int = 40
    window: float = 0.025
    hop: float = 0.01
    positive_weight: float = 1.0
    threshold: float = 0.5
    tolerance: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in PARTS:
            if getattr(self, part) < 1:
                raise invalid(f"{part} must be 1 clip or more", getattr(self, part), "Give e.g. 200.")
        if self.seed < 0:
            raise invalid("seed must be 0 or more", self.seed, "Give e.g. 0.")
        if not 0 < self.positive_weight < math.inf:
            raise invalid("positive_weight must be above 0 and finite", self.positive_weight, "Give 1 for none.")
        if not 0 < self.threshold < 1:
            raise invalid("threshold must be between 0 and 1", self.threshold, "Give e.g. 0.5.")
        if not 0 <= self.tolerance < math.inf:
            raise invalid("tolerance must be 0 or more and finite", self.tolerance, "Give e.g. 0.4 seconds.")


class TriggerTask(Task[TriggerData, TriggerSettings]):
    """Detect one word in clips of noise and words, made of recordings of words.

    Loss:
        Binary cross-entropy of the label of each output frame, which is 1 for `after` seconds after a trigger.
    Metric:
        F1 of detections at a fixed threshold, over all clips of a part; see `recurdrop.kinds.trigger.metric`.

    Args:
        recordings: the words.
        data: which clips to make of them.
        background: users' own backgrounds, none for noise.

    Attributes:
        mel: the features.
    """

    kind = "trigger"
    Data = TriggerData
    Model = TriggerSettings
    loss_unit = "nats per frame"
    metric = Metric("F1", higher_is_better=True, digits=3)

    def __init__(
        self, recordings: speech.Recordings, data: TriggerData, background: Sequence[NDArray[np.float32]] = ()
    ) -> None:
        self.name, self.sha256, self.data = recordings.name, recordings.sha256, data
        if background:
            found = [self.sha256, *(hashlib.sha256(wave.tobytes()).hexdigest() for wave in background)]
            self.sha256 = hashlib.sha256("".join(found).encode()).hexdigest()
        self.mel = LogMel(recordings.rate, data.bands, data.window, data.hop)
        mixer = Mixer(recordings, data, data.seed, background)
        self._clips = {part: mixer.clips(part, getattr(data, part), self.mel) for part in PARTS}
        self._mean, self._deviation = moments(self._clips["train"].features)
        self._features = {part: self._normal(clips.features) for part, clips in self._clips.items()}
        self.rate = float(self._clips["train"].labels.mean())
        if not self.rate:
            raise invalid(
                "a training clip must have a trigger", f"train={data.train} clips without", "Make more clips."
            )
        counts: dict[str, int] = {part: getattr(data, part) for part in PARTS}
        events = {f"{part} triggers": sum(map(len, self._clips[part].ends)) for part in PARTS}
        self.sizes = {**counts, **events, "recordings": len(recordings.files)}

    @classmethod
    def load(cls, source: Path, data: TriggerData) -> TriggerTask:
        """Read recordings as `data.speech.read` does, and the user's own `background/` where a folder has one."""
        recordings = speech.read(source)
        return cls(recordings, data, backgrounds(source, recordings.rate))

    def build(self, model: TriggerSettings) -> nn.Module:
        """Make a `TriggerModel`."""
        if self._features["train"].shape[1] < model.stride:
            raise invalid("stride must not exceed a clip's frames", model.stride, "Give e.g. 4.")
        return TriggerModel(self.data.bands, self.rate, model)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        """Return features (B, T, bands) and labels (B, T) of clips in random order."""
        order = torch.from_numpy(shuffled(self.data.train, seed, epoch))
        features, labels = self._features["train"], torch.from_numpy(self._clips["train"].labels)
        return [(features[rows], labels[rows]) for rows in order.split(training.batch)]

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        """Return the mean loss over the output frames of all clips."""
        features, labels = batch
        targets = _every(labels, cast(TriggerModel, model).stride)
        return Step(self._loss(model(features), targets), targets.numel())

    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        """Score detections; others are precision, recall and the share of frames on the right side of the threshold."""
        clips, data = self._clips[part], self.data
        count = min(len(clips.ends), data.valid) if part == "train" else len(clips.ends)
        stride = cast(TriggerModel, model).stride
        rows = self._features[part][:count].split(_ROWS)
        logits = torch.cat([self._logits(model, features, samples) for features in rows])
        targets = _every(torch.from_numpy(clips.labels[:count]), stride)
        probabilities = logits.sigmoid().numpy()
        found = [self._detections(each, stride) for each in probabilities]
        counts = compare(zip(found, clips.ends, strict=False), data.tolerance)
        right = (probabilities >= data.threshold) == (targets.numpy() > 0)
        others = {"precision": counts.precision, "recall": counts.recall, "frame accuracy": float(right.mean())}
        return Score(self._loss(logits, targets).item(), counts.f1, others)

    def baselines(self, part: Part) -> Mapping[str, Score]:
        """Return "never": no detection, each frame's probability the share of training frames with label 1."""
        labels = torch.from_numpy(self._clips[part].labels)
        if part == "train":
            labels = labels[: self.data.valid]
        loss = self._loss(torch.full_like(labels, math.log(self.rate / (1 - self.rate))), labels).item()
        others = {"precision": 0.0, "recall": 0.0, "frame accuracy": 1 - labels.mean().item()}
        return {"never": Score(loss, 0.0, others)}

    def detect(self, model: nn.Module, wave: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[float]]:
        """Detect triggers in a wave of any length.

        Args:
            model: one of `build`; it runs as it is, in evaluation mode or not.
            wave: (N,), `mel.rate` samples a second, as `data.speech.read_wave` reads them.

        Returns:
            The probability of each output frame, (N // mel.step // stride,), and the seconds of the detections.

        Raises:
            ValueError: a wave too short for a frame.
        """
        stride = cast(TriggerModel, model).stride
        features = self._normal(self.mel(wave)[None])
        if features.shape[1] < stride:
            rule = f"a wave must have {stride * self.mel.step} samples or more"
            raise invalid(rule, len(wave), "Give a longer one.")
        probabilities = self._logits(model, features, 0)[0].sigmoid().numpy()
        return probabilities, self._detections(probabilities, stride)

    def _normal(self, features: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy((features - self._mean) / self._deviation)

    def _detections(self, probabilities: NDArray[np.float32], stride: int) -> list[float]:
        step = stride * self.mel.step / self.mel.rate
        return detections(probabilities, step, self.data.threshold, self.data.after)

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        weight = logits.new_tensor(self.data.positive_weight)
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)

    def _logits(self, model: nn.Module, features: Tensor, samples: int) -> Tensor:
        """Return log odds (B, frames) on the CPU, those of the mean probability over samples with noise."""
        features = features.to(next(model.parameters()).device)
        with torch.no_grad():
            if not samples:
                return cast(Tensor, model(features)).float().cpu()
            with rd.mc_dropout(model):
                passes = torch.stack([model(features).float() for _ in range(samples)])
        return (F.logsigmoid(passes).logsumexp(0) - F.logsigmoid(-passes).logsumexp(0)).cpu()


def _every(labels: Tensor, stride: int) -> Tensor:
    """Return the labels (B, T // stride) of output frames: those of the input frames that they end with."""
    return labels[:, stride - 1 :: stride]
