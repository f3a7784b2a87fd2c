"""AllenNLP's two arguments, against its layer's own steps in plain numbers."""

from __future__ import annotations

import math

import torch
from by_hand import at, close, layer, lstm_gates, lstm_steps, run

import recurdrop as rd
from recurdrop.testing import MethodConformance
from recurdrop.testing.methods import tensors


class TestRecurrent(MethodConformance):
    method = rd.AllenNLP(recurrent_dropout_probability=0.4)
    shapes = {"recurrent": "1 B H"}


class TestBoth(MethodConformance):
    method = rd.AllenNLP(recurrent_dropout_probability=0.4, layer_dropout_probability=0.3)
    shapes = {"recurrent": "1 B H"}


def test_lstm_by_hand() -> None:
    made = layer(rd.LSTM, rd.AllenNLP(recurrent_dropout_probability=0.5))
    masks = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(2))
    z = at(masks[0].recurrent, 0)
    assert 0 < z.count(0.0) < len(z)

    def step(t, x, h, c):
        gates = lstm_gates(made, x, [v * m for v, m in zip(h, z, strict=True)])
        new_c = [f * c[u] + i * g for u, (i, f, g, _) in enumerate(gates)]
        return [o * math.tanh(v) for (*_, o), v in zip(gates, new_c, strict=True)], new_c

    hs, c_n = lstm_steps(made, step)
    output, (h_found, c_found) = run(made, masks)
    close(output, hs)
    close(h_found, hs[-1])
    close(c_found, c_n)


def test_layers_are_dropped_between_and_not_after() -> None:
    noise = rd.AllenNLP(recurrent_dropout_probability=[0.1, 0.2, 0.3], layer_dropout_probability=[0.4, 0.5])
    rates = [
        {site: [n.rate for n in ns] for site, ns in plan.items()} for plan in rd.LSTM(5, 6, 3, noise=noise).plans()
    ]
    assert rates == [{"recurrent": [0.1], "output": [0.4]}, {"recurrent": [0.2], "output": [0.5]}, {"recurrent": [0.3]}]


def test_it_is_its_two_parts() -> None:
    noise = rd.AllenNLP(recurrent_dropout_probability=0.4, layer_dropout_probability=0.3)
    parts = [rd.Variational(recurrent=0.4), rd.Locked(between=0.3)]
    drawn = [
        tensors(
            rd.LSTM(5, 6, 2, bidirectional=True, noise=n).sample_masks(4, 3, generator=torch.Generator().manual_seed(0))
        )
        for n in (noise, parts)
    ]
    assert len(drawn[0]) == 6
    for (site, a), (other, b) in zip(*drawn, strict=True):
        assert site == other
        assert torch.equal(a, b)
