"""Darts: `RNNModel`, whose network exists after the first `fit`, and `BlockRNNModel`; both on Lightning."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from acceptance import NOISE, QUIET, check, gradients_reach_all_weights, recurrent

import recurdrop as rd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    darts = pytest.importorskip("darts", reason="darts is not installed; `make downstream` does")
    models = pytest.importorskip("darts.models", reason="darts lacks its torch models")

pytestmark = [pytest.mark.downstream, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


@pytest.fixture
def series() -> Any:
    t = np.arange(120)
    return darts.TimeSeries.from_values(np.sin(t / 6).astype(np.float32)[:, None])


def _made(kind: str) -> Any:
    options = {
        "input_chunk_length": 12,
        "hidden_dim": 6,
        "n_epochs": 1,
        "batch_size": 16,
        "random_state": 0,
        "pl_trainer_kwargs": QUIET,
    }
    if kind == "RNNModel":
        return models.RNNModel(model="LSTM", training_length=18, **options)
    return models.BlockRNNModel(model="GRU", output_chunk_length=4, n_rnn_layers=2, **options)


@pytest.mark.parametrize("kind", ["RNNModel", "BlockRNNModel"])
def test_regularized_between_two_fits(kind: str, series: Any, tmp_path: Path) -> None:
    model, plain = _made(kind), _made(kind)
    for each in (model, plain):
        each.fit(series)
    rd.regularize(model.model, NOISE)
    (layer,) = recurrent(model.model)
    before = [p.detach().clone() for p in layer.parameters()]
    model.fit(series)
    (now,) = recurrent(model.model)
    assert now.noise == NOISE
    assert not any(torch.equal(a, b) for a, b in zip(before, now.parameters(), strict=True))

    x = torch.randn(3, 12, 1)
    network = model.model
    head = network.V if kind == "RNNModel" else network.fc
    check(network, lambda: head(network.rnn(x)[0][:, -1]), plain.model)
    gradients_reach_all_weights(network, lambda: head(network.rnn(x)[0][:, -1]).square().mean())

    forecasts = [model.predict(4, series=series).values() for _ in range(2)]
    assert np.array_equal(*forecasts)
    with rd.mc_dropout(model.model):
        samples = np.stack([model.predict(4, series=series).values() for _ in range(6)])
    assert samples.std(0).min() > 0
    assert np.array_equal(model.predict(4, series=series).values(), forecasts[0])

    model.save(str(tmp_path / "model.pt"))
    loaded = type(model).load(str(tmp_path / "model.pt"), pl_trainer_kwargs=QUIET)
    assert np.array_equal(loaded.predict(4, series=series).values(), forecasts[0])
