"""Haste's two arguments, against its layers' own steps in plain numbers, in training and at evaluation."""

from __future__ import annotations

import math

import pytest
import torch
from by_hand import at, close, gru_gates, layer, lstm_gates, lstm_steps, one_state_steps, run

import recurdrop as rd
from recurdrop.testing import MethodConformance
from recurdrop.testing.methods import tensors


class TestBoth(MethodConformance):
    method = rd.Haste(dropout=0.3, zoneout=0.4)
    shapes = {"weight_hh": "R C", "zone_h": "T B H"}
    evaluation = {"zone_h": 0.4}


class TestDropoutAlone(MethodConformance):
    method = rd.Haste(dropout=0.3)
    shapes = {"weight_hh": "R C"}


def noisy(kind, training):
    """A layer, its masks (None at evaluation), its recurrent matrix and its weights of the old h at step t."""
    made = layer(kind, rd.Haste(dropout=0.5, zoneout=0.4)).train(training)
    if not training:
        return made, None, made.weight_hh_l0, lambda t: [0.4] * 3
    masks = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(1))
    return made, masks, made.weight_hh_l0 * masks[0].weight_hh, lambda t: at(masks[0].zone_h, t)


def zoned(old, new, keep):
    return [(n - o) * (1 - k) + o for o, n, k in zip(old, new, keep, strict=True)]


@pytest.mark.parametrize("training", [True, False])
def test_lstm_by_hand(training: bool) -> None:
    made, masks, w_hh, keep = noisy(rd.LSTM, training)

    def step(t, x, h, c):
        gates = lstm_gates(made, x, h, w_hh=w_hh)
        new_c = [f * c[u] + i * g for u, (i, f, g, _) in enumerate(gates)]
        return zoned(h, [o * math.tanh(v) for (*_, o), v in zip(gates, new_c, strict=True)], keep(t)), new_c

    hs, c_n = lstm_steps(made, step)
    output, (h_found, c_found) = run(made, masks)
    close(output, hs)
    close(h_found, hs[-1])
    close(c_found, c_n)


@pytest.mark.parametrize("training", [True, False])
def test_gru_by_hand(training: bool) -> None:
    made, masks, w_hh, keep = noisy(rd.GRU, training)

    def step(t, x, h):
        return zoned(
            h, [z * h[u] + (1 - z) * n for u, (_, z, n) in enumerate(gru_gates(made, x, h, w_hh=w_hh))], keep(t)
        )

    close(run(made, masks)[0], one_state_steps(made, step))


def test_it_is_its_two_parts() -> None:
    parts = [rd.WeightDrop(0.3), rd.Zoneout(c=0, h=0.4)]
    drawn = [
        tensors(rd.LSTM(5, 6, 2, noise=n).sample_masks(4, 3, generator=torch.Generator().manual_seed(0)))
        for n in (rd.Haste(dropout=0.3, zoneout=0.4), parts)
    ]
    assert len(drawn[0]) == 4
    for (site, a), (other, b) in zip(*drawn, strict=True):
        assert site == other
        assert torch.equal(a, b)
