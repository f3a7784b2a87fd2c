from __future__ import annotations

import pytest
import torch
from torch import nn

import recurdrop as rd
from recurdrop.models import LanguageStack

WORDS = torch.tensor([[0, 3], [1, 1], [4, 0]])


@pytest.mark.parametrize("kind", [rd.LSTM, rd.GRU, rd.RNN])
def test_parts_of_any_kind_one_after_the_other(kind: type) -> None:
    below, above = kind(4, 6, 2), rd.GRU(6, 3)
    model = LanguageStack(nn.Embedding(5, 4), [below, above], nn.Linear(3, 5)).double()
    logits, state, outputs = model(WORDS, details=True)
    y, first = below(model.encoder(WORDS))
    z, second = above(y)
    torch.testing.assert_close(logits, model.decoder(z), rtol=0, atol=1e-15)
    torch.testing.assert_close(state, (first, second), rtol=0, atol=1e-15)
    assert torch.equal(outputs.raw, outputs.dropped)
    again, _ = model(WORDS, state)
    assert not torch.allclose(again, logits)


def test_outputs_need_no_more_than_torchs_kernels() -> None:
    model = LanguageStack(nn.Embedding(5, 4), [rd.LSTM(4, 3, noise=rd.AWD())], nn.Linear(3, 5))
    results = []
    for model.rnns[0].backend in ("reference", "torch"):
        torch.manual_seed(1)
        results.append(model(WORDS, details=True)[2])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("rnn", [nn.LSTM(4, 3), rd.LSTM(4, 3, batch_first=True), rd.LSTM(4, 3, bidirectional=True)])
def test_layers_that_are_refused(rnn: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"must be rd\.LSTM, rd\.GRU or rd\.RNN, time first, in one direction"):
        LanguageStack(nn.Embedding(5, 4), [rnn], nn.Linear(3, 5))


def test_another_number_of_states_is_refused() -> None:
    model = LanguageStack(nn.Embedding(5, 4), [rd.GRU(4, 3)], nn.Linear(3, 5))
    with pytest.raises(ValueError, match="state must have 1 parts; got 2"):
        model(WORDS, (torch.zeros(1, 2, 3),) * 2)
