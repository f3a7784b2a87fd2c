"""Translation: sentence pairs, an encoder-decoder with attention, perplexity and BLEU."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import recurdrop as rd
from recurdrop.errors import invalid
from recurdrop.files.inside import check_inside
from recurdrop.files.tokens import check_words, unknown_share
from recurdrop.kinds.base import Batch, Metric, Part, Score, Step, Task, by_length, shuffled
from recurdrop.kinds.translate import files as parallel
from recurdrop.kinds.translate.beam import beam_search
from recurdrop.kinds.translate.data import (
    BOS,
    EOS,
    PAD,
    UNK,
    Pairs,
    Sentences,
    join,
    padded,
    prepare,
    tokenize,
    tokenize_like_moses,
)
from recurdrop.kinds.translate.metric import bleu
from recurdrop.kinds.translate.model import EncoderDecoder, TranslateModel
from recurdrop.models.settings import TrainingSettings
from recurdrop.tables import added_later

ROWS = 250
"""Sentences that are scored or translated at once."""
POOL = 50
"""Batches that are sorted by length together."""


@dataclass(frozen=True)
class TranslateData:
    """Which languages, and what of the sentences.

    Attributes:
        source_language: to translate from, as names of files end.
        target_language: to translate into.
        min_count: how often a word must occur in the training part to be known.
        max_length: the most words of a training sentence, and of a translation with its end.
        split_seed: of the split of files that are not split yet.
        words: how text is cut: "auto" into words, emoji, and the characters of scripts without spaces; "characters"
            into characters as readers count them; "spaces" at spaces alone.

    Raises:
        ValueError: a setting breaks its rule.
    """

    source_language: str = "en"
    target_language: str = "de"
    min_count: int = 2
    max_length: int = 50
    split_seed: int = 0
    words: str = added_later("auto")

    def __post_init__(self) -> None:
        check_words(self.words)
        for name in ("source_language", "target_language"):
            check_inside(name, getattr(self, name), nested=False)
        if self.source_language == self.target_language:
            raise invalid("two languages must be named", self.target_language, "Change target_language.")
        for name in ("min_count", "max_length"):
            if getattr(self, name) < 1:
                raise invalid(f"{name} must be 1 or more", getattr(self, name), "Give e.g. 2 and 50.")


class TranslateTask(Task[TranslateData, TranslateModel]):
    """Sentence pairs in batches of like length: source (B, S), its lengths (B,), target with start and end (B, T).

    The loss of training is the cross-entropy of the target's words and its end, with fraternal dropout's penalty where
    `training.kappa` is set. Scores are the same without penalty; unknown words count as `<unk>`. Translations never
    hold `<unk>`.
    """

    kind = "translate"
    reads: ClassVar[frozenset[str]] = frozenset({"kappa"})
    Data = TranslateData
    Model = TranslateModel
    loss_unit = "nats per token"
    metric = Metric("perplexity")

    def __init__(self, pairs: Pairs, data: TranslateData, *, name: str, sha256: str, dropped: int = 0) -> None:
        self.pairs, self.data, self.name, self.sha256 = pairs, data, name, sha256
        self.sizes = {
            **{part: len(sentences) for part, sentences in pairs.parts.items()},
            "source_words": len(pairs.source),
            "target_words": len(pairs.target),
            "dropped": dropped,
            "too_long": pairs.too_long,
        }
        valid = pairs.parts["valid"]
        sides = {"unknown words of the source": valid.source, "unknown words of the target": valid.target}
        self.report = {
            side: unknown_share(float((rows == UNK).sum() / max(1, (rows > BOS).sum() + (rows == UNK).sum())))
            for side, rows in sides.items()
        }

    @classmethod
    def load(cls, source: Path, data: TranslateData) -> TranslateTask:
        """Read what `recurdrop.kinds.translate.files.read` reads."""
        read = parallel.read(source, data.source_language, data.target_language, seed=data.split_seed)
        pairs = prepare(read, min_count=data.min_count, max_length=data.max_length, words=data.words)
        return cls(pairs, data, name=read.name, sha256=read.sha256, dropped=read.dropped)

    def build(self, model: TranslateModel) -> EncoderDecoder:
        """Make a model with the vocabularies of the data."""
        return EncoderDecoder(len(self.pairs.source), len(self.pairs.target), model)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        """Return all training pairs: shuffled, sorted by length within `POOL` batches, cut; the batches shuffled."""
        train = self.pairs.parts["train"]
        # The target's length decides, then the source's.
        lengths = train.target_lengths * (train.lengths.max() + 1) + train.lengths
        cuts = by_length(shuffled(len(train), seed, epoch), lengths, training.batch, POOL)
        return [_batch(train, cuts[i]) for i in np.random.default_rng((seed, epoch, 1)).permutation(len(cuts))]

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        """Return the mean loss of the words and ends of a batch."""
        source, lengths, target = batch
        words, wanted = target[:, :-1], target[:, 1:]
        real = wanted != PAD
        if training.kappa:
            first, second = rd.two_passes(model, source, lengths, words)
            loss = (_cross_entropy(first, wanted) + _cross_entropy(second, wanted)) / 2
            loss = loss + rd.fraternal(first, second, training.kappa, mask=real)
        else:
            loss = _cross_entropy(model(source, lengths, words), wanted)
        return Step(loss, int(real.sum()))

    @torch.no_grad()
    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        """Score a part."""
        sentences = self._slice(part)
        order = np.argsort(sentences.target_lengths, kind="stable")
        device, total, tokens = next(model.parameters()).device, 0.0, 0
        with rd.mc_dropout(model) if samples else nullcontext():
            for start in range(0, len(order), ROWS):
                batch = _batch(sentences, order[start : start + ROWS])
                source, lengths, target = (tensor.to(device) for tensor in batch)
                passes = [_log_probs(model, source, lengths, target) for _ in range(max(1, samples))]
                likely = torch.stack(passes).logsumexp(0) - math.log(len(passes))
                total -= float(likely.sum())
                tokens += likely.numel()
        return _scored(total / tokens)

    def final(self, model: nn.Module, part: Part) -> Mapping[str, float]:
        """Return the BLEU of greedy translations, and of those with a beam of 5."""
        sentences = self._slice(part)
        sources = [row[:n].tolist() for row, n in zip(sentences.source, sentences.lengths, strict=True)]
        found = {}
        for name, beam in (("BLEU", 1), ("BLEU with a beam of 5", 5)):
            tokens = self._decode(model, sources, beam)
            hypotheses = [" ".join(words) if self.pairs.tokenized else join(words, self.data.words) for words in tokens]
            found[name] = bleu(hypotheses, sentences.references, tokenized=self.pairs.tokenized).score
        return found

    def baselines(self, part: Part) -> dict[str, Score]:
        """Return the loss under the training part's frequencies of words and ends, one added to each."""
        counts = np.array(self.pairs.target.counts, dtype=float) + 1
        counts[[PAD, BOS]] = 0
        wanted = self._slice(part).target[:, 1:]
        with np.errstate(divide="ignore"):
            nats = -np.log(counts / counts.sum())
        return {"word frequencies": _scored(float(nats[wanted[wanted != PAD]].mean()))}

    def translate(self, model: nn.Module, sentences: Sequence[str], beam: int = 1) -> list[str]:
        """Translate sentences as people write them; an empty one stays empty.

        Args:
            model: in evaluation mode.
            sentences: in the source language; case does not matter.
            beam: hypotheses that are kept of each; 1 is greedy.

        Raises:
            ValueError: a beam below 1.
        """
        cut = self.data.words
        tokens = [tokenize_like_moses(s) if self.pairs.tokenized else tokenize(s, cut) for s in sentences]
        sources = [self.pairs.source.numbers(sentence) for sentence in tokens]
        return [join(words, cut) for words in self._decode(model, sources, beam)]

    def _slice(self, part: Part) -> Sentences:
        """Return a part; of "train" as many pairs as validate, from its beginning."""
        return self.pairs.parts[part].first(len(self.pairs.parts["valid" if part == "train" else part]))

    @torch.no_grad()
    def _decode(self, model: nn.Module, sources: Sequence[Sequence[int]], beam: int) -> list[list[str]]:
        device, found = next(model.parameters()).device, [list[str]() for _ in sources]
        order = sorted((place for place, row in enumerate(sources) if len(row)), key=lambda place: len(sources[place]))
        for start in range(0, len(order), ROWS):
            places = order[start : start + ROWS]
            source = torch.from_numpy(padded([sources[place] for place in places])).long().to(device)
            numbers, _ = beam_search(
                cast(EncoderDecoder, model),
                source,
                (source != PAD).sum(1),
                beam=beam,
                limit=self.data.max_length,
                start=BOS,
                end=EOS,
                never=(PAD, UNK, BOS),
            )
            for place, row in zip(places, numbers, strict=True):
                found[place] = self.pairs.target.tokens(row)
        return found


def _batch(sentences: Sentences, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    lengths, steps = sentences.lengths[rows], int(sentences.target_lengths[rows].max()) + 1
    source, target = sentences.source[rows, : lengths.max()], sentences.target[rows, :steps]
    return torch.from_numpy(source).long(), torch.from_numpy(lengths), torch.from_numpy(target).long()


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD)


def _log_probs(model: nn.Module, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
    """Return log p of every word and end, padding left out; (N,) float64."""
    wanted = target[:, 1:].flatten()
    logits = model(source, lengths, target[:, :-1]).flatten(0, 1)
    nats = F.cross_entropy(logits, wanted, ignore_index=PAD, reduction="none")
    return -nats[wanted != PAD].double()


def _scored(loss: float) -> Score:
    return Score(loss, math.exp(loss) if loss < 700 else math.inf)
