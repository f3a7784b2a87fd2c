"""Polyphonic music: which keys sound in the next frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from recurdrop.errors import invalid
from recurdrop.files.inside import check_inside
from recurdrop.files.tables import located
from recurdrop.kinds.base import PARTS, Batch, Metric, Part, Score, Step, Task, by_length, shuffled
from recurdrop.kinds.music.data import KEYS, Music, read_music
from recurdrop.kinds.music.model import FrameModel
from recurdrop.models.recurrent import RecurrentSettings
from recurdrop.models.settings import TrainingSettings
from recurdrop.nn.fast_dropout import FastDropoutGRU, FastDropoutLSTM, FastDropoutRNN
from recurdrop.nn.fast_dropout.base import FastDropout
from recurdrop.uncertainty.predict import mc_predict

FAST: dict[str, type[FastDropout]] = {"lstm": FastDropoutLSTM, "gru": FastDropoutGRU, "rnn": FastDropoutRNN}
_POOL = 8
_FRAMES = 8192


@dataclass(frozen=True)
class MusicData:
    """What data are used.

    Attributes:
        file: name of the file where the source is a folder; it may lie there as .gz.
    """

    file: str | None = None

    def __post_init__(self) -> None:
        if self.file is not None:
            check_inside("file", self.file, nested=True)


@dataclass(frozen=True)
class MusicModel(RecurrentSettings):
    """The model.

    Attributes:
        dropout: of the last layer's output.
        fast_dropout: whether layers of fast dropout take the place of those with noise.
        fast_input: with fast dropout, the probability to drop an input of a layer.
        fast_recurrent: with fast dropout, that for h_{t-1}.

    Raises:
        ValueError: noise together with fast dropout.
    """

    cell: str = "rnn"
    dropout: float = 0.0
    fast_dropout: bool = False
    fast_input: float = 0.1
    fast_recurrent: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fast_dropout and self.noise:
            raise invalid("fast dropout goes without other noise", self.noise, "Set one of the two.")


class MusicTask(Task[MusicData, MusicModel]):
    """Predict the next frame of a piece from those before; the first one from a frame of silence.

    The loss of a frame is the sum over the keys of the binary cross-entropy; loss and metric are its mean over all
    frames of a part, as frame-level log-likelihoods since Boulanger-Lewandowski et al. 2012, arXiv:1206.6392.
    """

    kind: ClassVar[str] = "music"
    Data: ClassVar[type] = MusicData
    Model: ClassVar[type] = MusicModel
    loss_unit = "nats per frame"
    metric = Metric("NLL", "nats per frame")

    def __init__(self, music: Music) -> None:
        self.pieces = {part: getattr(music, part) for part in PARTS}
        self.name, self.sha256 = music.name, music.sha256
        frames = {f"{part} frames": sum(map(len, pieces)) for part, pieces in self.pieces.items()}
        self.sizes = {part: len(pieces) for part, pieces in self.pieces.items()} | frames
        every = torch.cat(self.pieces["train"]).double()
        self.frequencies = ((every.sum(0) + 0.5) / (len(every) + 1)).float()

    @classmethod
    def load(cls, source: Path, data: MusicData) -> MusicTask:
        """Read a JSON file of pieces."""
        return cls(read_music(located(source, data.file)))

    def build(self, model: MusicModel) -> FrameModel:
        """Make a model of frames."""
        if model.fast_dropout:
            rates: dict[str, Any] = {"input": model.fast_input, "recurrent": model.fast_recurrent}
            fast = FAST[model.cell](KEYS, model.hidden, model.layers, batch_first=True, **rates)
            return FrameModel(fast, self.frequencies, model.dropout)
        return FrameModel(model.rnn(KEYS, batch_first=True), self.frequencies, model.dropout)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        """Return frames (B, T, 88) and lengths (B,): pieces of similar length together, in shuffled order."""
        pieces = self.pieces["train"]
        lengths = np.array([len(piece) for piece in pieces])
        chunks = by_length(shuffled(len(pieces), seed, epoch), lengths, training.batch, _POOL)
        return [_padded([pieces[i] for i in chunks[j]]) for j in shuffled(len(chunks), seed, epoch)]

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        """Return the loss per frame of a batch."""
        frames, lengths = batch
        count = int(lengths.sum())
        return Step(_nll(model(_before(frames), lengths), frames, lengths) / count, count)

    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        """Score a model; samples are averaged as probabilities, and fast dropout, which has none, as it is."""
        device = next(model.parameters()).device
        total, count = 0.0, 0
        noisy = samples > 0 and not any(isinstance(module, FastDropout) for module in model.modules())
        with torch.no_grad():
            for pieces in self._scored(part):
                frames, lengths = (x.to(device) for x in _padded(pieces))
                given = _before(frames), lengths
                if noisy:
                    options: Any = {"samples": samples, "in_dims": 0, "select": torch.sigmoid, "keep": False}
                    logits = mc_predict(model, *given, **options).mean.logit(1e-7)
                else:
                    logits = model(*given)
                total += _nll(logits.double(), frames.double(), lengths).item()
                count += int(lengths.sum())
        return Score(total / count, total / count)

    def baselines(self, part: Part) -> Mapping[str, Score]:
        """Score the frequencies of the keys in the training part."""
        frames = torch.cat([piece for pieces in self._scored(part) for piece in pieces]).double()
        logits = self.frequencies.double().logit().expand_as(frames)
        nll = F.binary_cross_entropy_with_logits(logits, frames, reduction="sum").item() / len(frames)
        return {"key frequencies": Score(nll, nll)}

    def _scored(self, part: Part) -> list[tuple[Tensor, ...]]:
        """Return the pieces of a part in batches of some thousand frames, short ones first."""
        pieces = self.pieces[part]
        if part == "train":
            pieces = pieces[:: -(-len(pieces) // len(self.pieces["valid"]))]
        chunks: list[tuple[Tensor, ...]] = []
        for piece in sorted(pieces, key=len):
            if chunks and (len(chunks[-1]) + 1) * len(piece) <= _FRAMES:
                chunks[-1] += (piece,)
            else:
                chunks.append((piece,))
        return chunks


def _padded(pieces: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    frames = pad_sequence([piece.float() for piece in pieces], batch_first=True)
    return frames, torch.tensor([len(piece) for piece in pieces])


def _before(frames: Tensor) -> Tensor:
    """Return what each frame is predicted from last: the one before, silence at first."""
    return F.pad(frames[:, :-1], (0, 0, 1, 0))


def _nll(logits: Tensor, frames: Tensor, lengths: Tensor) -> Tensor:
    """Return the sum over the real frames."""
    each = F.binary_cross_entropy_with_logits(logits, frames, reduction="none").sum(-1)
    real = torch.arange(frames.shape[1], device=frames.device) < lengths.to(frames.device)[:, None]
    return each.masked_fill(~real, 0).sum()
