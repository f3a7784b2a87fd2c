"""Language models: the next word, or character, of running text, with the state carried from window to window."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import recurdrop as rd
from recurdrop.errors import invalid
from recurdrop.files.text import read_encoded
from recurdrop.files.tokens import check_words, close_up, unknown_share
from recurdrop.kinds.base import OPTIONAL, PARTS, Batch, Metric, Part, Score, Step, Task
from recurdrop.kinds.language.data import BUILTIN, END, UNKNOWN, Corpus, builtin, prepare, tokenize
from recurdrop.kinds.language.published_sets import WHERE, read_set
from recurdrop.kinds.language.streams import Streams
from recurdrop.models.build import build
from recurdrop.models.language import cross_entropy, detached
from recurdrop.models.settings import ModelSettings, TrainingSettings
from recurdrop.models.stack import LanguageStack
from recurdrop.tables import added_later

PROSE = "prose"
CHARACTERS = ("ptb-char", "enwik8", "text8")
EVALUATION_STREAMS, EVALUATION_WINDOW = 10, 70


@dataclass(frozen=True)
class LanguageData:
    """Which text.

    Attributes:
        set: a published set, or "prose" for any text file.
        vocabulary: the most words of prose to keep; the rest is `<unk>`.
        tokens: the most tokens of prose to use; 0 for all.
        random_start: whether each epoch starts at a place of its own within the first window.
        words: how text is cut: "auto" into words, emoji, and the characters of scripts without spaces; "characters"
            into characters as readers count them; "spaces" at spaces alone.
        encoding: of the text, as Python names it; "" to detect it.

    Raises:
        ValueError: a setting breaks its rule.
    """

    set: str = PROSE
    vocabulary: int = 10_000
    tokens: int = 0
    random_start: bool = False
    words: str = added_later("auto")
    encoding: str = added_later("")

    def __post_init__(self) -> None:
        check_words(self.words)
        if self.set not in (PROSE, *WHERE):
            raise invalid(f"set must be one of {', '.join((PROSE, *WHERE))}", self.set, "Choose one of them.")
        if self.vocabulary < 2:
            raise invalid("vocabulary must be 2 or more", self.vocabulary, "The default is 10000.")
        if self.tokens < 0:
            raise invalid("tokens must be 0 or more", self.tokens, "Give 0 for all.")


class LanguageTask(Task[LanguageData, ModelSettings]):
    """A text as streams that are read side by side, `training.batch` of them, `training.bptt` steps at a time.

    The loss of training is the cross-entropy, mean over tokens or summed over a window's steps as `training.loss` says,
    plus the penalties of `alpha`, `beta` and `kappa`. Scores are of the whole part, read in 10 streams whose states
    start at zero and are carried; the few tokens that don't fill all streams are left out.
    """

    kind = "language"
    Data = LanguageData
    Model = ModelSettings
    loss_unit = "nats per token"
    batch_dim: ClassVar[int] = 1
    needs_data: ClassVar[bool] = False
    reads: ClassVar[frozenset[str]] = OPTIONAL

    def __init__(self, corpus: Corpus, data: LanguageData = LanguageData()) -> None:
        self.corpus, self.data = corpus, data
        self.name, self.sha256 = corpus.name, corpus.sha256
        bits = data.set in CHARACTERS
        self.metric = Metric("bits per character", digits=3) if bits else Metric("perplexity", digits=1)
        self.sizes = {
            **{part: len(getattr(corpus, part)) for part in PARTS},
            "vocabulary": len(corpus.words),
        }
        for part in PARTS:
            if self.sizes[part] <= EVALUATION_STREAMS:
                rule = f"the {part} part must have more than {EVALUATION_STREAMS} tokens"
                raise invalid(rule, self.sizes[part], "Give a longer text.")

    @classmethod
    def load(cls, source: Path | None, data: LanguageData) -> LanguageTask:
        """Read a set's folder, or a text; no source means the prose inside Python, or a set from `datasets`."""
        if data.set != PROSE:
            return cls(read_set(data.set, source), data)
        if source is None:
            text, encoding, name = builtin(), "utf-8", BUILTIN
        else:
            (text, encoding), name = read_encoded(source, data.encoding or None), source.name
        least, tokens = EVALUATION_STREAMS + 1, data.tokens or 2 * len(text)
        corpus = prepare(text, name, vocabulary=data.vocabulary, tokens=tokens, least=least, words=data.words)
        task = cls(corpus, data)
        guess = {} if encoding == "utf-8" else {"encoding": f"{encoding} (--set data.encoding=… says otherwise)"}
        task.report = {**guess, "unknown words": unknown_share(float((corpus.valid == 0).mean()))}
        return task

    def build(self, model: ModelSettings) -> LanguageStack:
        """Make a model whose vocabulary is the text's."""
        counts = torch.from_numpy(np.bincount(self.corpus.train, minlength=len(self.corpus.words))) + 1.0
        return build(model, vocabulary=len(self.corpus.words), frequencies=counts)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        """Return windows (words (T, B), words that follow (T, B), factor on lr)."""
        train, bptt = self.corpus.train, training.bptt
        if bptt < 1:
            raise invalid("training.bptt must be 1 or more for running text", bptt, "Give the steps of a window.")
        if self.data.random_start:
            train = train[np.random.default_rng((seed, epoch)).integers(bptt) :]
        if len(train) <= training.batch:
            raise invalid("training.batch must leave each stream a word", training.batch, f"Have {len(train)} words.")
        if not training.variable_bptt:
            return [(words, targets, 1.0) for words, targets in Streams(train, training.batch, bptt)]
        ((words, targets),) = Streams(train, training.batch, len(train))
        longest = bptt + training.longest if training.longest else None
        windows = rd.VariableBPTT(len(words), bptt, maximum=longest, seed=seed).windows(epoch)
        return [(words[w.start : w.stop], targets[w.start : w.stop], w.scale) for w in windows]

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        """Return the loss of a window, in the unit of `training.loss`."""
        words, targets, scale = batch
        penalized = bool(training.alpha or training.beta)
        if training.kappa:
            (logits, after, *outputs), (again, *_) = rd.two_passes(model, words, state, details=penalized)
            loss = (cross_entropy(logits, targets) + cross_entropy(again, targets)) / 2
            loss = loss + rd.fraternal(logits, again, training.kappa)
        else:
            logits, after, *outputs = model(words, state, details=penalized)
            loss = cross_entropy(logits, targets)
        if training.alpha:
            loss = loss + rd.activation_regularization(outputs[0].dropped, training.alpha)
        if training.beta:
            loss = loss + rd.temporal_activation_regularization(outputs[0].raw, training.beta)
        if training.loss == "sum_over_time":
            loss = loss * len(words)
        return Step(loss, targets.numel(), detached(after), scale)

    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        """Score a part."""
        loss = _loss(model, self._slice(part), samples)
        return Score(loss, self._metric(loss))

    def baselines(self, part: Part) -> dict[str, Score]:
        """Return the loss under the training part's word frequencies, one added to each."""
        counts = np.bincount(self.corpus.train, minlength=len(self.corpus.words)) + 1.0
        loss = -float(np.log(counts / counts.sum())[self._slice(part)].mean())
        return {"word frequencies": Score(loss, self._metric(loss))}

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of a text's words, or characters.

        Raises:
            ValueError: one that the vocabulary lacks, where it has no `<unk>`.
        """
        places = {word: i for i, word in enumerate(self.corpus.words)}
        unknown = places.get(UNKNOWN)
        if self.data.set == "ptb-char":
            parts = list(text.replace(" ", "_"))
        elif self.data.set in CHARACTERS:
            parts = list(text.encode().decode("latin-1"))  # a symbol is a byte
        else:
            parts = list(tokenize(text, self.data.words))[:-1] if self.data.set == PROSE else text.split()
        found = [places.get(part, unknown) for part in parts]
        if None in found:
            missing = parts[found.index(None)]
            raise invalid("every word must be one of the training part", missing, "Leave it out.")
        return [number for number in found if number is not None]

    def text(self, numbers: Sequence[int]) -> str:
        """Return words, or characters, as text, one line a sentence."""
        parts = ["\n" if self.corpus.words[number] == END else self.corpus.words[number] for number in numbers]
        if self.data.set == "ptb-char":
            return "".join(parts).replace("_", " ").strip()
        if self.data.set in CHARACTERS:
            return "".join(parts).encode("latin-1").decode(errors="replace").strip()
        if self.data.set == PROSE and self.data.words == "characters":
            return "".join(parts).strip()
        return re.sub(" ?\n ?", "\n", close_up(" ".join(parts), self.data.words)).strip()

    def start(self) -> int:
        """Return the number of what ends a sentence, or of what comes nearest to it, to write after."""
        marks = (END, "\n", " ", *self.corpus.words)
        return next(self.corpus.words.index(mark) for mark in marks if mark in self.corpus.words)

    def _slice(self, part: Part) -> NDArray[np.int64]:
        """Return a part; of "train" as many words as validate, from its beginning."""
        return {
            "train": self.corpus.train[: len(self.corpus.valid)],
            "valid": self.corpus.valid,
            "test": self.corpus.test,
        }[part]

    def _metric(self, loss: float) -> float:
        if self.metric.name == "perplexity":
            return math.exp(loss) if loss < 700 else math.inf
        return loss / math.log(2)


@torch.no_grad()
def _loss(model: nn.Module, ids: NDArray[np.int64], samples: int) -> float:
    """Return the mean of -log p, p the mean over samples; one sample of the masks reads the whole text."""
    device = next(model.parameters()).device
    windows = Streams(ids, EVALUATION_STREAMS, EVALUATION_WINDOW)
    likely: Tensor | None = None
    with rd.mc_dropout(model) if samples else nullcontext():
        for _ in range(max(1, samples)):
            found, state = [], None
            with rd.hold_masks(model) if samples else nullcontext():
                for words, targets in windows:
                    logits, state = model(words.to(device), state)
                    log = F.log_softmax(logits.flatten(0, 1), -1)
                    found.append(log.gather(1, targets.to(device).reshape(-1, 1)).double())
            sample = torch.cat(found)
            likely = sample if likely is None else torch.logaddexp(likely, sample)
    assert likely is not None  # noqa: S101
    return math.log(max(1, samples)) - float(likely.mean())
