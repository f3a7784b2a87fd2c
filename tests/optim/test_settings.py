"""Settings under a loss summed over time and under a mean over tokens take the same steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import recurdrop as rd

T, B = 7, 3


def train(settings: rd.SGDSettings) -> tuple[torch.Tensor, list[bool]]:
    torch.manual_seed(1)
    embedding, rnn, out = nn.Embedding(9, 5), rd.LSTM(5, 6), nn.Linear(6, 9)
    model = nn.ModuleList([embedding, rnn, out]).double()
    opt = rd.NTASGD(model.parameters(), settings.lr, weight_decay=settings.weight_decay)
    clipped = []
    for _ in range(15):
        words = torch.randint(9, (T + 1, B))
        nll = nn.functional.cross_entropy(out(rnn(embedding(words[:-1]))[0]).flatten(0, 1), words[1:].flatten(),
                                          reduction="none").view(T, B)  # fmt: skip
        loss = nll.sum(0).mean() if settings.loss == "sum_over_time" else nll.mean()
        opt.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        clipped.append(bool(norm > settings.clip))
        opt.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()]), clipped


def test_both_losses_train_the_same_weights() -> None:
    published = rd.SGDSettings(lr=0.5, loss="sum_over_time", clip=1.65, weight_decay=0.02)
    weights, clipped = train(published)
    other, also = train(published.under("mean_over_tokens", steps=T))
    assert clipped == also
    assert 0 < sum(clipped) < len(clipped)
    # clip_grad_norm_ adds 1e-6 to the norm, whatever its unit
    torch.testing.assert_close(other, weights, rtol=0, atol=5e-6)
    torch.testing.assert_close(train(published)[0], weights, rtol=0, atol=0)


def test_published_pairs() -> None:
    awd = rd.SGDSettings(lr=30, loss="mean_over_tokens", clip=0.25, weight_decay=1.2e-6).under(
        "sum_over_time", steps=70
    )
    assert awd.loss == "sum_over_time"
    assert (awd.lr, awd.clip, awd.weight_decay) == pytest.approx((30 / 70, 17.5, 8.4e-5), rel=1e-15)
    zaremba = rd.SGDSettings(lr=1, loss="sum_over_time", clip=5).under("mean_over_tokens", steps=35)
    assert (zaremba.lr, zaremba.clip, zaremba.weight_decay) == (35, 5 / 35, 0)


def test_the_same_loss_changes_nothing_and_there_and_back_is_the_same() -> None:
    made = rd.SGDSettings(lr=1, loss="sum_over_time", weight_decay=0.1)
    assert made.under("sum_over_time", steps=35) is made
    assert made.clip == math.inf
    back = made.under("mean_over_tokens", steps=64).under("sum_over_time", steps=64)
    assert back == made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mean"}, "loss must be one of 'sum_over_time', 'mean_over_tokens'; got 'mean'"),
        ({"lr": -1}, "lr must be a number of 0 or more; got -1"),
        ({"clip": float("nan")}, "clip must be a number of 0 or more"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rd.SGDSettings(**{"lr": 1, "loss": "sum_over_time", **options})


def test_a_conversion_needs_a_loss_and_a_length() -> None:
    made = rd.SGDSettings(lr=1, loss="sum_over_time")
    with pytest.raises(ValueError, match="loss must be one of"):
        made.under("mean", steps=35)
    with pytest.raises(ValueError, match="steps must be 1 or more; got 0"):
        made.under("mean_over_tokens", steps=0)
    with pytest.raises(TypeError):
        rd.SGDSettings(lr=1)
