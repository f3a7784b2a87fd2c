"""`mc_dropout` around a trainer that puts the model into evaluation mode itself, as Lightning does to predict."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import recurdrop as rd


class Forecaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = rd.GRU(3, 5, noise=rd.Zoneout(h=0.5))
        self.norm = nn.BatchNorm1d(5)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(self.rnn(x)[0][-1]))


def predict(model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    return model(x)


def test_noise_stays_on_when_the_trainer_evaluates() -> None:
    model, x = Forecaster(), torch.randn(6, 4, 3)
    state, still = model.norm.state_dict(), predict(model, x)
    model.train()
    model.norm.eval()
    with rd.mc_dropout(model):
        first, second = predict(model, x), predict(model, x)
        assert not torch.equal(first, second)
        assert bool((first == 0).any()), "torch's dropout is on"
        rnn = [model.rnn.eval()(x)[0] for _ in range(2)]
        assert not torch.equal(*rnn)
    assert all(torch.equal(value, state[name]) for name, value in model.norm.state_dict().items())
    assert [m.training for m in (model, model.rnn, model.norm, model.drop)] == [True, True, False, True]
    assert torch.equal(predict(model, x), still)
    assert torch.equal(predict(model, x), still)
