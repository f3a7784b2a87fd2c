"""Recurrent dropout without memory loss."""

from __future__ import annotations

import math

import pytest
import torch
from by_hand import at, close, gru_gates, layer, lstm_gates, lstm_steps, one_state_steps, run

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestPerStep(MethodConformance):
    method = rd.RecurrentDropout(0.4)
    cells = ("LSTM", "GRU")
    shapes = {"candidate": "T B H"}


class TestPerSequence(TestPerStep):
    method = rd.RecurrentDropout(0.4, per="sequence")
    shapes = {"candidate": "1 B H"}


class TestClassic(TestPerStep):
    method = rd.RecurrentDropout(0.4, scaling="classic")
    evaluation = {"candidate": 0.6}

    def scale(self, site: str, p: float) -> float:
        return 1.0


def test_lstm_by_hand() -> None:
    made = layer(rd.LSTM, rd.RecurrentDropout(0.5))
    masks = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(1))

    def step(t, x, h, c):
        d, gates = at(masks[0].candidate, t), lstm_gates(made, x, h)
        new_c = [f * c[u] + i * g * d[u] for u, (i, f, g, _) in enumerate(gates)]
        return [o * math.tanh(v) for (*_, o), v in zip(gates, new_c, strict=True)], new_c

    hs, c_n = lstm_steps(made, step)
    output, (_, c_found) = run(made, masks)
    close(output, hs)
    close(c_found, c_n)


@pytest.mark.parametrize("classic", [False, True])
def test_gru_by_hand(classic) -> None:
    made = layer(rd.GRU, rd.RecurrentDropout(0.4, scaling="classic" if classic else "inverted")).train(not classic)
    masks = None if classic else made.sample_masks(2, 1, generator=torch.Generator().manual_seed(1))

    def step(t, x, h):
        d = [0.6] * 3 if masks is None else at(masks[0].candidate, t)
        return [(1 - z) * n * d[u] + z * h[u] for u, (_, z, n) in enumerate(gru_gates(made, x, h))]

    close(run(made, masks)[0], one_state_steps(made, step))


def test_with_everything_dropped_memory_is_only_forgotten() -> None:
    made = rd.LSTM(3, 4, noise=rd.RecurrentDropout(1), dtype=torch.float64)
    made.bias_ih_l0.data[4:8] = 1e4
    h, c = torch.randn(1, 2, 4, dtype=torch.float64), torch.randn(1, 2, 4, dtype=torch.float64)
    assert torch.equal(made(torch.randn(30, 2, 3, dtype=torch.float64), (h, c))[1][1], c)


def test_rnn_is_refused_with_the_reason() -> None:
    with pytest.raises(rd.UndefinedSiteError, match="RNN, and it has no additive update"):
        rd.RNN(3, 4, noise=rd.RecurrentDropout())
