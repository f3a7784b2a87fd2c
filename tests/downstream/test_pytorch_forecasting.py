"""pytorch-forecasting: `DeepAR`, whose LSTM and GRU are subclasses of torch's with a forward of their own."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from acceptance import NOISE, QUIET, check, gradients_reach_all_weights, recurrent

import recurdrop as rd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    forecasting = pytest.importorskip(
        "pytorch_forecasting", reason="pytorch-forecasting is not installed; `make downstream` does"
    )
    import lightning
    import pandas
    from pytorch_forecasting.models.nn import rnn as theirs

pytestmark = [pytest.mark.downstream, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


@pytest.fixture
def data() -> Any:
    t = np.tile(np.arange(40), 3)
    table = pandas.DataFrame({"t": t, "series": np.repeat(list("abc"), 40), "y": np.sin(t / 5).astype(np.float32) + 2})
    return forecasting.TimeSeriesDataSet(
        table,
        time_idx="t",
        target="y",
        group_ids=["series"],
        min_encoder_length=6,
        max_encoder_length=12,
        max_prediction_length=4,
        time_varying_unknown_reals=["y"],
        target_normalizer=forecasting.GroupNormalizer(groups=["series"]),
    )


def _fit(model: Any, loader: Any) -> None:
    lightning.Trainer(max_steps=3, **QUIET).fit(model, loader)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_regularized_between_two_fits(cell: str, data: Any) -> None:
    model, plain = (
        forecasting.DeepAR.from_dataset(data, cell_type=cell, hidden_size=6, rnn_layers=2, dropout=0.1, log_interval=-1)
        for _ in range(2)
    )
    loader = data.to_dataloader(train=True, batch_size=8)
    _fit(model, loader)
    assert rd.regularize(model, NOISE) is model
    assert not isinstance(model.rnn, rd.LSTM | rd.GRU), "a forward of its own: left alone unless it is named"
    rd.regularize(model, NOISE, subclasses=[theirs.RNN])
    (layer,) = recurrent(model)
    assert isinstance(layer, getattr(theirs, cell))
    before = [p.detach().clone() for p in layer.parameters()]
    _fit(model, loader)
    assert not any(torch.equal(a, b) for a, b in zip(before, layer.parameters(), strict=True))

    x, _ = next(iter(data.to_dataloader(train=False, batch_size=4)))
    check(model, lambda: _train_output(model, x), plain)
    gradients_reach_all_weights(model, lambda: _train_output(model, x).square().mean())

    wide = data.to_dataloader(train=False, batch_size=32)

    def predict() -> torch.Tensor:
        # Without n_samples DeepAR draws no futures, so that only our noise can differ. It changes its trainer_kwargs.
        # The first two numbers of its output are each series' scale; the rest is the network's.
        return model.predict(wide, mode="raw", n_samples=None, trainer_kwargs=dict(QUIET)).prediction[..., 2:]

    still = predict()
    assert torch.equal(predict(), still)
    with rd.mc_dropout(model):
        samples = torch.stack([predict() for _ in range(4)])
    assert float(samples.std(0).min()) > 0
    assert torch.equal(predict(), still)
    assert type(rd.plain(model).rnn) is getattr(theirs, cell)


def _train_output(model: Any, x: dict[str, Any]) -> torch.Tensor:
    """Encoder and decoder on the true targets, as in training, whatever the mode is."""
    hidden = model.encode(x)
    start = x["encoder_cont"][torch.arange(len(x["encoder_lengths"])), x["encoder_lengths"] - 1, model.target_positions]
    decoder = model.construct_input_vector(x["decoder_cat"], x["decoder_cont"], one_off_target=start.unsqueeze(-1))
    return model.decode_all(decoder, hidden, lengths=x["decoder_lengths"])[0]
