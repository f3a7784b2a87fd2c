"""TensorFlow 1's wrapper, against its own step in plain numbers: the state is masked when it is stored."""

from __future__ import annotations

import math

import pytest
import torch
from by_hand import TIME, at, close, data, layer, lstm_gates, rnn_units

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestLSTMAndRNN(MethodConformance):
    method = rd.TF1Variational(input=0.3, state=0.4, output=0.2)
    shapes = {"input": "1 1 I", "recurrent": "1 1 H", "output": "1 1 H"}
    cells = ("LSTM", "RNN")
    seed = 2


def masked(values, mask):
    return [v * m for v, m in zip(values, mask, strict=True)]


def test_lstm_as_the_wrapper_steps() -> None:
    made = layer(rd.LSTM, rd.TF1Variational(input=0.5, state=0.5, output=0.5))
    (masks,) = made.sample_masks(TIME, 1, generator=torch.Generator().manual_seed(6))
    z_x, z_h, z_y = (at(mask, 0) for mask in (masks.input, masks.recurrent, masks.output))
    assert all(0 < z.count(0.0) < len(z) for z in (z_x, z_h, z_y)), "a mask that drops all or nothing shows little"
    x, _, c = data()
    h, c, outputs = [0.0] * 3, c[0, 0].tolist(), []
    for t in range(TIME):
        gates = lstm_gates(made, masked(x[t, 0].tolist(), z_x), h)
        c = [f * c[u] + i * g for u, (i, f, g, _) in enumerate(gates)]
        new_h = [o * math.tanh(v) for (*_, o), v in zip(gates, c, strict=True)]
        outputs.append(masked(new_h, z_y))
        h = masked(new_h, z_h)
    y, (h_n, c_n) = made(x, (torch.zeros(1, 1, 3, dtype=torch.float64), data()[2]), masks=(masks,))
    close(y[:, 0].tolist(), outputs)
    close(c_n[0, 0].tolist(), c)
    close(h_n[0, 0].tolist(), new_h)


def test_rnn_as_the_wrapper_steps() -> None:
    made = layer(rd.RNN, rd.TF1Variational(state=0.5))
    (masks,) = made.sample_masks(TIME, 1, generator=torch.Generator().manual_seed(6))
    z_h, h, outputs = at(masks.recurrent, 0), [0.0] * 3, []
    x, _, _ = data()
    for t in range(TIME):
        new_h = rnn_units(made, x[t, 0].tolist(), h)
        outputs.append(new_h)
        h = masked(new_h, z_h)
    close(made(x, masks=(masks,))[0][:, 0].tolist(), outputs)


def test_gru_is_refused_for_the_state_only() -> None:
    with pytest.raises(rd.UndefinedSiteError, match=r"got a cell of kind GRU, where TF1 also masks .* Leave state out"):
        rd.GRU(3, 4, noise=rd.TF1Variational(state=0.1))
    assert rd.TF1Variational.cells() == ("LSTM", "RNN")
    assert rd.GRU(3, 4, noise=rd.TF1Variational(input=0.1)).plans()[0]["input"][0].rate == 0.1


def test_each_layer_has_rates_and_masks_of_its_own() -> None:
    noise = rd.TF1Variational(input=[0.5, 0], state=[0, 0.5], output=0.5)
    low, high = rd.LSTM(40, 40, 2, noise=noise).sample_masks(3, 2, generator=torch.Generator().manual_seed(0))
    assert (low.recurrent, high.input) == (None, None)
    assert not torch.equal(low.output, high.output)
