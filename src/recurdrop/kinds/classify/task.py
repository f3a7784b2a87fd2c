"""Classes of texts."""

from __future__ import annotations

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
from recurdrop.files.reading import Reading
from recurdrop.files.tokens import check_words, unknown_share
from recurdrop.kinds.base import Batch, Metric, Part, Score, Step, Task, by_length, shuffled
from recurdrop.kinds.classify.data import UNKNOWN, Ids, Labelled, LabelledText, load
from recurdrop.kinds.classify.model import ClassifierSettings, SequenceClassifier
from recurdrop.models.settings import TrainingSettings
from recurdrop.tables import added_later

POOL = 50
"""Batches out of which texts of like length are put together."""
SCORED = 256
"""Texts of a batch without gradients."""


@dataclass(frozen=True)
class ClassifyData(Reading):
    """What of the data is used, and how it is cut.

    Attributes:
        text: the column of texts, where the data are tables.
        label: the column of labels.
        vocabulary: the most words to keep, padding and unknown included.
        max_length: the most words of a text.
        keep: which of them where there are more, "last" or "first".
        valid: the share of training that validates, where no validation part is given; of a single file, as much again
            tests.
        split_seed: of the cut, the same for all runs.
        words: how text is cut: "auto" into words, emoji, and the characters of scripts without spaces; "characters"
            into characters as readers count them; "spaces" at spaces alone.

    Raises:
        ValueError: a setting breaks its rule.
    """

    text: str = "text"
    label: str = "label"
    vocabulary: int = 20_000
    max_length: int = 200
    keep: str = "last"
    valid: float = 0.1
    split_seed: int = 0
    words: str = added_later("auto")

    def __post_init__(self) -> None:
        check_words(self.words)
        self.check_reading()
        if self.vocabulary < 3:
            raise invalid("vocabulary must be 3 or more", self.vocabulary, "Give e.g. 20000.")
        if self.max_length < 1:
            raise invalid("max_length must be 1 or more", self.max_length, "Give e.g. 200.")
        if self.keep not in ("last", "first"):
            raise invalid("keep must be last or first", self.keep, "Choose which words of a long text to keep.")
        if not 0 < self.valid < 0.5:
            raise invalid("valid must lie in (0, 0.5)", self.valid, "Give e.g. 0.1.")
        if self.split_seed < 0:
            raise invalid("split_seed must be 0 or more", self.split_seed, "Give e.g. 0.")


class ClassifyTask(Task[ClassifyData, ClassifierSettings]):
    """Texts with labels. The loss is the cross-entropy of the classes.

    Attributes:
        data: the texts.
        report: rows left out, and texts that occur in several parts.
    """

    kind = "classify"
    Data = ClassifyData
    Model = ClassifierSettings
    loss_unit = "nats per text"
    metric = Metric("accuracy", higher_is_better=True, digits=4)

    def __init__(self, data: LabelledText) -> None:
        self.data = data
        self.name, self.sha256 = data.name, data.sha256
        unknown = float((np.concatenate(data.valid.texts) == UNKNOWN).mean())
        self.report = {**data.report, "unknown words": unknown_share(unknown)}
        counts = {part: len(getattr(data, part).labels) for part in ("train", "valid", "test")}
        self.sizes = {**counts, "vocabulary": len(data.words), "classes": len(data.classes)}

    @classmethod
    def load(cls, source: Path, data: ClassifyData) -> ClassifyTask:
        """Read texts and labels; `recurdrop.kinds.classify.data.load` says from what."""
        return cls(
            load(
                source,
                text=data.text,
                label=data.label,
                vocabulary=data.vocabulary,
                max_length=data.max_length,
                keep=data.keep,
                valid=data.valid,
                seed=data.split_seed,
                words=data.words,
                reading=data,
            )
        )

    def build(self, model: ClassifierSettings) -> SequenceClassifier:
        """Make a classifier of these texts."""
        return SequenceClassifier(len(self.data.words), len(self.data.classes), model)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        """Return batches of texts of like length: words (B, T), lengths (B,), labels (B,).

        All texts are shuffled; out of each 50 batches, those of like length are put together; batches are shuffled.
        """
        order = shuffled(len(self.data.train.labels), seed, epoch)
        lengths = np.array([len(text) for text in self.data.train.texts])
        found = by_length(order, lengths, training.batch, POOL)
        places = np.random.default_rng((seed, epoch, 1)).permutation(len(found))
        return Batches(self.data.train, [found[place] for place in places])

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        """Return the cross-entropy of a batch."""
        words, lengths, labels = batch
        return Step(F.cross_entropy(model(words, lengths), labels), len(labels))

    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        """Return cross-entropy, accuracy and macro F1; probabilities are averaged over passes with noise."""
        rows = self._part(part)
        logs = log_probabilities(model, rows.texts, samples)
        return scored(logs.numpy(), rows.labels)

    def baselines(self, part: Part) -> Mapping[str, Score]:
        """Return the score of the classes' frequencies in training, whatever the text."""
        counts = np.bincount(self.data.train.labels, minlength=len(self.data.classes))
        labels = self._part(part).labels
        return {"majority class": scored(np.tile(np.log(counts / counts.sum()), (len(labels), 1)), labels)}

    def classify(self, model: nn.Module, texts: Sequence[str], *, samples: int = 0) -> Tensor:
        """Return probabilities (N, K) of the classes in `data.classes`, whatever the model's mode.

        Args:
            model: made by `build`.
            texts: any texts; one without known words gets what the model says of none.
            samples: as in `score`.
        """
        training = model.training
        try:
            return log_probabilities(model.eval(), self.data.numbered(texts), samples).exp()
        finally:
            model.train(training)

    def _part(self, part: Part) -> Labelled:
        rows = cast(Labelled, getattr(self.data, part))
        count = len(self.data.valid.labels) if part == "train" else len(rows.labels)
        return Labelled(rows.texts[:count], rows.labels[:count])


class Batches(Sequence[Batch]):
    """Batches that are padded when they are asked for.

    Args:
        part: the texts.
        rows: of each batch.
    """

    def __init__(self, part: Labelled, rows: Sequence[Ids]) -> None:
        self.part, self.rows = part, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        """Return a batch."""
        if isinstance(place, slice):
            return Batches(self.part, self.rows[place])
        rows = self.rows[place]
        return *padded([self.part.texts[row] for row in rows]), torch.from_numpy(self.part.labels[rows])


def padded(texts: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Return word numbers (B, T), 0 behind each text, T at least 1, and lengths (B,)."""
    lengths = np.array([len(text) for text in texts])
    words = np.zeros((len(texts), max(1, int(lengths.max()))), dtype=np.int64)
    for row, text in zip(words, texts, strict=True):
        row[: len(text)] = text
    return torch.from_numpy(words), torch.from_numpy(lengths)


def log_probabilities(model: nn.Module, texts: Sequence[Ids], samples: int) -> Tensor:
    """Return the logarithms of the classes' probabilities, (N, K) float64 on the CPU, in the order of the texts."""
    device = next(model.parameters()).device
    order = np.argsort([len(text) for text in texts], kind="stable")
    found = []
    with torch.no_grad():
        for start in range(0, len(order), SCORED):
            batch = padded([texts[row] for row in order[start : start + SCORED]])
            words, lengths = (tensor.to(device) for tensor in batch)
            found.append(class_logs(model, words, lengths, samples=samples))
    logs = torch.cat(found)
    return torch.empty_like(logs).index_copy_(0, torch.from_numpy(order), logs)


def class_logs(model: nn.Module, *given: Tensor, samples: int) -> Tensor:
    """Return log-probabilities (B, K) float64 on the CPU, of what a model of logits says without noise or with."""
    if not samples:
        logits: Tensor = model(*given)
        return logits.double().cpu().log_softmax(-1)
    with rd.mc_dropout(model):
        mean = torch.stack([model(*given).double().softmax(-1) for _ in range(samples)]).mean(0)
    return mean.cpu().log()


def scored(logs: NDArray[np.float64], labels: Ids) -> Score:
    """Return the score of log-probabilities (N, K) for labels (N,)."""
    said, count = logs.argmax(1), logs.shape[1]
    table = np.bincount(labels * count + said, minlength=count * count).reshape(count, count)
    hits = np.diag(table)
    f1 = 2 * hits / np.maximum(table.sum(0) + table.sum(1), 1)
    loss = -float(logs[np.arange(len(labels)), labels].mean())
    return Score(loss, float(hits.sum() / len(labels)), {"macro F1": float(f1.mean())})
