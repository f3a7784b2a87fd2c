"""Stanza: its tokenizer, and the highway LSTM of its taggers and parsers, on packed sequences."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from acceptance import check, gradients_reach_all_weights, recurrent
from torch import Tensor, nn

import recurdrop as rd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("stanza", reason="stanza is not installed; `make downstream` does")
    from stanza.models.common.hlstm import HighwayLSTM
    from stanza.models.tokenization.model import Tokenizer

pytestmark = [pytest.mark.downstream, pytest.mark.filterwarnings("ignore")]

NOISE = rd.Variational(input=0.1, recurrent=0.25)
LENGTHS = [9, 7, 4]


def _tokenizer() -> nn.Module:
    args = {
        "feat_dim": 2,
        "rnn_layers": 2,
        "conv_res": "1,3",
        "hier_conv_res": True,
        "use_mwt": True,
        "hierarchical": True,
        "hier_invtemp": 0.5,
        "tok_noise": 0.02,
    }
    return Tokenizer(args, nchars=20, emb_dim=4, hidden_dim=6, dropout=0.1, feat_dropout=0.05)


def _highway() -> nn.Module:
    return HighwayLSTM(
        6, 5, num_layers=2, batch_first=True, bidirectional=True, dropout=0.1, highway_func=torch.tanh, pad=True
    )


CHARACTERS = torch.randint(1, 20, (3, 9), generator=torch.Generator().manual_seed(0))
FEATURES = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(0))
WORDS = torch.randn(3, 9, 6, generator=torch.Generator().manual_seed(0))


def _run(model: Any) -> Tensor:
    if isinstance(model, Tokenizer):
        scores = model(CHARACTERS, FEATURES, LENGTHS)
        return torch.cat([row[:n] for row, n in zip(scores, LENGTHS, strict=True)])
    y, _ = model(WORDS, LENGTHS)
    return torch.cat([row[:n] for row, n in zip(y, LENGTHS, strict=True)])


def _train(model: nn.Module) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        _run(model.train()).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("make", [_tokenizer, _highway])
def test_regularized_between_two_trainings(make: Any) -> None:
    model = make()
    _train(model)
    plain = make()
    plain.load_state_dict(model.state_dict())
    rd.regularize(model, NOISE)
    assert len(recurrent(model)) == 2
    assert torch.equal(_run(model.eval()), _run(plain.eval()))
    _train(model)
    check(model, lambda: _run(model), make())
    gradients_reach_all_weights(model, lambda: _run(model).square().mean())
