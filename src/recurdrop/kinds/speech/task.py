"""Classification of short recordings, such as spoken digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import recurdrop as rd
from recurdrop.errors import invalid
from recurdrop.files.mel import LogMel, moments
from recurdrop.kinds.base import PARTS, Batch, Metric, Part, Score, Step, Task, by_length, shuffled
from recurdrop.kinds.speech import data as speech
from recurdrop.kinds.speech.model import SpokenModel, SpokenSettings
from recurdrop.models.settings import TrainingSettings

_POOL = 8
_ROWS = 100


@dataclass(frozen=True)
class SpokenData:
    """What of the recordings is used.

    Attributes:
        bands: mel filters.
        window: seconds that a frame sees.
        hop: seconds from frame to frame.
        per_label: the most recordings of a label to train with, the first by name; 0 for all.

    Raises:
        ValueError: a setting breaks its rule.
    """

    bands: int = 40
    window: float = 0.025
    hop: float = 0.01
    per_label: int = 0

    def __post_init__(self) -> None:
        if self.per_label < 0:
            raise invalid("per_label must be 0 or more", self.per_label, "Give 0 for all recordings.")


class SpokenTask(Task[SpokenData, SpokenSettings]):
    """Say which label a recording has.

    Loss:
        Cross-entropy of the label.
    Metric:
        Share of recordings whose most probable label is theirs.

    Args:
        recordings: the words, in three parts.
        data: what of them to use.

    Attributes:
        mel: the features.
        labels: what is said, sorted.
    """

    kind = "speech"
    Data = SpokenData
    Model = SpokenSettings
    loss_unit = "nats per recording"
    metric = Metric("accuracy", "%", higher_is_better=True, digits=1)

    def __init__(self, recordings: speech.Recordings, data: SpokenData) -> None:
        self.name, self.sha256, self.labels = recordings.name, recordings.sha256, recordings.labels
        self.mel = LogMel(recordings.rate, data.bands, data.window, data.hop)
        for file, wave in zip(recordings.files, recordings.waves, strict=True):
            if len(wave) < self.mel.step:
                rule = f"a recording must have {self.mel.step} samples or more"
                raise invalid(rule, f"{file} with {len(wave)}", "Leave it out.")
        places = dict(recordings.parts)
        if data.per_label:
            targets = recordings.targets[places["train"]]
            first = [np.flatnonzero(targets == label)[: data.per_label] for label in range(len(self.labels))]
            places["train"] = places["train"][np.sort(np.concatenate(first))]
        features = {part: [self.mel(recordings.waves[i]) for i in places[part]] for part in PARTS}
        self._mean, self._deviation = moments(np.concatenate(features["train"]))
        self._features = {part: [self._normal(each) for each in features[part]] for part in PARTS}
        self._targets = {part: torch.from_numpy(recordings.targets[places[part]]) for part in PARTS}
        self._frequencies = torch.bincount(self._targets["train"], minlength=len(self.labels)).float()
        counts: dict[str, int] = {part: len(places[part]) for part in PARTS}
        self.sizes = {**counts, "labels": len(self.labels)}

    @classmethod
    def load(cls, source: Path, data: SpokenData) -> SpokenTask:
        """Read recordings as `data.speech.read` does."""
        return cls(speech.read(source), data)

    def build(self, model: SpokenSettings) -> nn.Module:
        """Make a `SpokenModel`."""
        return SpokenModel(self.mel.bands, self._frequencies, model)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        """Return features (B, T, bands), lengths (B,) and labels (B,).

        Recordings come in random order but for this: of eight batches' worth of them, those of like length share a
        batch, so that little is padded.
        """
        features = self._features["train"]
        lengths = np.array([len(each) for each in features])
        groups = by_length(shuffled(len(features), seed, epoch), lengths, training.batch, _POOL)
        mixed = np.random.default_rng((seed, epoch, 1)).permutation(len(groups))
        return _Padded(features, self._targets["train"], [groups[i] for i in mixed])

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        """Return the mean loss over recordings."""
        features, lengths, targets = batch
        return Step(F.cross_entropy(model(features, lengths), targets), len(targets))

    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        """Score labels."""
        places = self._slice(part)
        targets = self._targets[part][places]
        log_probs = self._log_probs(model, [self._features[part][i] for i in places], samples)
        right = (log_probs.argmax(1) == targets).double().mean()
        return Score(F.nll_loss(log_probs, targets).item(), 100 * right.item())

    def baselines(self, part: Part) -> Mapping[str, Score]:
        """Return "majority": the most frequent training label; its loss is that of the labels' frequencies."""
        targets = self._targets[part][self._slice(part)]
        loss = F.nll_loss((self._frequencies / self._frequencies.sum()).log().expand(len(targets), -1), targets)
        right = (targets == self._frequencies.argmax()).double().mean()
        return {"majority": Score(loss.item(), 100 * right.item())}

    def classify(self, model: nn.Module, wave: NDArray[np.float32]) -> dict[str, float]:
        """Return the probability of each label for one recording, the most probable first.

        Args:
            model: one of `build`.
            wave: (N,), `mel.rate` samples a second, as `data.speech.read_wave` reads them.

        Raises:
            ValueError: a wave too short for a frame.
        """
        if len(wave) < self.mel.step:
            rule = f"a recording must have {self.mel.step} samples or more"
            raise invalid(rule, len(wave), "Give a longer one.")
        probabilities = self._log_probs(model, [self._normal(self.mel(wave))], 0)[0].exp()
        order = probabilities.argsort(descending=True, stable=True).tolist()
        return {self.labels[i]: probabilities[i].item() for i in order}

    def _slice(self, part: Part) -> NDArray[np.int64]:
        """Return places in a part; of "train" as many as validate, evenly over the files' order."""
        count = len(self._features[part])
        kept = min(count, len(self._features["valid"])) if part == "train" else count
        return np.arange(kept) * count // kept

    def _normal(self, features: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy((features - self._mean) / self._deviation)

    def _log_probs(self, model: nn.Module, features: Sequence[Tensor], samples: int) -> Tensor:
        """Return log-probabilities (N, L) on the CPU, those of the mean probability over samples with noise."""
        device = next(model.parameters()).device
        order = np.argsort([len(each) for each in features], kind="stable")
        found: list[Tensor] = []
        with torch.no_grad():
            for start in range(0, len(order), _ROWS):
                x, lengths = (part.to(device) for part in _pad([features[i] for i in order[start : start + _ROWS]]))
                if not samples:
                    found.append(model(x, lengths).float().log_softmax(-1).cpu())
                    continue
                with rd.mc_dropout(model):
                    passes = [model(x, lengths).float().log_softmax(-1) for _ in range(samples)]
                found.append((torch.stack(passes).logsumexp(0) - np.log(samples)).cpu())
        return torch.cat(found)[torch.from_numpy(np.argsort(order))]


class _Padded(Sequence[Batch]):
    """Batches that are padded when they are asked for.

    Args:
        features: of each recording, (T_i, bands).
        targets: its label, (N,).
        groups: the recordings of each batch.
    """

    def __init__(self, features: Sequence[Tensor], targets: Tensor, groups: Sequence[NDArray[np.int64]]) -> None:
        self._features, self._targets, self._groups = features, targets, groups

    def __len__(self) -> int:
        return len(self._groups)

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...

    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return _Padded(self._features, self._targets, self._groups[index])
        group = self._groups[index]
        return (*_pad([self._features[i] for i in group]), self._targets[torch.from_numpy(group)])


def _pad(features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return sequences (T_i, bands) as (B, T, bands), zeros behind them, and their lengths (B,)."""
    lengths = torch.tensor([len(each) for each in features])
    return nn.utils.rnn.pad_sequence(list(features), batch_first=True), lengths
