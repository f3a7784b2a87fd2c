"""The AWD-LSTM that people write around torch.nn: dropped copies of raw matrices, and masks in Python."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cases import Case
from benchmarks.peer_layers import DroppedMatrix
from recurdrop.models import AWDLSTM
from recurdrop.models.stack import Outputs


class WrapperAWDLSTM(nn.Module):
    """The same model as `AWDLSTM`, with the same initial weights and rates.

    Its rates are those of awd-lstm-lm's arguments: `dropoute`, `dropouti`, `dropouth`, `dropout`, and `p` of every
    wrapper for `wdrop`.
    """

    def __init__(self, ours: AWDLSTM) -> None:
        super().__init__()
        first, last = ours.rnns[0].noise, ours.rnns[-1].noise
        self.dropoute, self.dropouti, self.dropouth, self.dropout = (
            ours.encoder.p,
            first.input,
            first.output,
            last.output,
        )
        vocabulary, width = ours.encoder.weight.shape
        self.encoder = nn.Embedding(vocabulary, width)
        self.rnns = nn.ModuleList(_wrapped(rnn) for rnn in ours.rnns)
        self.decoder = nn.Linear(width, vocabulary)
        self.decoder.weight = self.encoder.weight
        self.encoder.load_state_dict(ours.encoder.embedding.state_dict())
        self.decoder.load_state_dict(ours.decoder.state_dict())

    def forward(self, words: Tensor, state: Any = None, *, details: bool = False) -> Any:
        weight = self.encoder.weight
        if self.training and self.dropoute:
            weight = weight * _mask(weight, (len(weight), 1), self.dropoute)
        x = self._locked(F.embedding(words, weight), self.dropouti)
        after = []
        for i, rnn in enumerate(self.rnns):
            raw, new = rnn(x, None if state is None else state[i])
            x = self._locked(raw, self.dropout if i == len(self.rnns) - 1 else self.dropouth)
            after.append(new)
        logits = self.decoder(x)
        return (logits, tuple(after), Outputs(raw, x)) if details else (logits, tuple(after))

    def _locked(self, x: Tensor, p: float) -> Tensor:
        return x * _mask(x, (1, *x.shape[1:]), p) if self.training and p else x

    def without_noise(self) -> WrapperAWDLSTM:
        """Set every rate to 0, and return the model."""
        self.dropoute = self.dropouti = self.dropouth = self.dropout = 0.0
        for rnn in self.rnns:
            rnn.p = 0.0
        return self


def _mask(like: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    return like.new_empty(shape).bernoulli_(1 - p).div_(1 - p)


def _wrapped(layer: Any) -> DroppedMatrix:
    wrapper = DroppedMatrix(Case("LSTM", layer.input_size, layer.hidden_size, 1, 1), layer.noise.weight)
    weights = layer.state_dict()
    wrapper.raw.data.copy_(weights.pop("weight_hh_l0"))
    wrapper.inner.load_state_dict(weights)
    return wrapper
