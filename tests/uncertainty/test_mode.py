"""mc_dropout: what it switches, and that it gives all modes back."""

from __future__ import annotations

import contextlib
import warnings

import pytest
import torch
from torch import Tensor, nn

import recurdrop as rd


class Mine(nn.Module):
    """A dropout of one's own, which looks at its own flag."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if self.training else x


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.before = rd.nn.LockedDropout(0.5)
        self.ours = rd.LSTM(4, 4, noise=rd.Zoneout())
        self.theirs = nn.GRU(4, 4, 2, dropout=0.5)
        self.drops = nn.ModuleList([nn.Dropout(0.5), nn.Dropout1d(0.5), nn.AlphaDropout(0.5), nn.FeatureAlphaDropout()])
        self.attention = nn.MultiheadAttention(4, 1, dropout=0.5)
        self.mine = Mine()
        self.used_again = nn.Sequential(self.before)


NOISY = {"before", "ours", "theirs", "drops.0", "drops.1", "drops.2", "drops.3"}


def training(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if module.training}


def test_noise_and_nothing_else_is_on() -> None:
    model = Model().eval()
    with rd.mc_dropout(model):
        assert training(model) == NOISY
        with rd.mc_dropout(model, also=[Mine]):
            assert training(model) == NOISY | {"mine"}
        assert training(model) == NOISY
    assert training(model) == set()


def test_every_module_gets_its_mode_back_after_an_error() -> None:
    model = Model().train()
    model.norm.eval()
    model.drops[1].eval()
    before = training(model)
    with contextlib.suppress(ZeroDivisionError), rd.mc_dropout(model):
        assert training(model) == NOISY
        raise ZeroDivisionError
    assert training(model) == before


def test_batch_norm_is_untouched() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    x = torch.randn(8, 4)
    with rd.mc_dropout(model):
        model(x)
        normed = model[1](model[0](x))
    assert int(model[1].num_batches_tracked) == 0
    assert torch.equal(model[1].running_mean, torch.zeros(4))
    torch.testing.assert_close(normed, model[0](x) / (1 + 1e-5) ** 0.5)


@pytest.mark.parametrize(
    "layer",
    [nn.LSTM(3, 3, 2, dropout=0.5), nn.Dropout(0.5), rd.RNN(3, 3, noise=rd.Zoneout()), rd.GRU(3, 3, 2, dropout=0.5)],
    ids=repr,
)
def test_passes_differ(layer: nn.Module) -> None:
    model = nn.Sequential(layer).eval()

    def run() -> Tensor:
        y = model(torch.ones(5, 2, 3))
        return y[0] if isinstance(y, tuple) else y

    plain = run()
    with rd.mc_dropout(model):
        first, second = run(), run()
    assert not torch.equal(first, second)
    assert torch.equal(run(), plain)


@pytest.mark.parametrize(
    "model",
    [nn.LSTM(3, 3), nn.Dropout(0), rd.LSTM(3, 3, noise=rd.Zoneout(c=0, h=0)), rd.nn.LockedDropout(0), Mine()],
    ids=repr,
)
def test_a_model_without_noise_is_named(model: nn.Module) -> None:
    with (
        pytest.warns(UserWarning, match="makes noise: all its samples are equal. Give it some") as seen,
        rd.mc_dropout(model),
    ):
        pass
    assert seen[0].filename == __file__
    with warnings.catch_warnings(), rd.mc_dropout(model, also=[type(model)]):
        warnings.simplefilter("error")
