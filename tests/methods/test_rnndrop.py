"""RNNDrop."""

from __future__ import annotations

import math

import pytest
import torch
from by_hand import close, layer, lstm_gates, lstm_steps, run

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestRNNDrop(MethodConformance):
    method = rd.RNNDrop(0.4)
    cells = ("LSTM",)
    shapes = {"cell": "1 B H"}
    evaluation = {"cell": 0.6}

    def scale(self, site: str, p: float) -> float:
        return 1.0


class TestWithoutScaling(TestRNNDrop):
    method = rd.RNNDrop(0.4, scaling="none")
    evaluation = {}


def steps(made, multiplier):
    def step(t, x, h, c):
        del t
        gates = lstm_gates(made, x, h)
        new_c = [m * (f * old + i * g) for (i, f, g, _), old, m in zip(gates, c, multiplier, strict=True)]
        return [o * math.tanh(v) for (*_, o), v in zip(gates, new_c, strict=True)], new_c

    return lstm_steps(made, step)


@pytest.mark.parametrize("training", [True, False])
def test_by_hand(training) -> None:
    made = layer(rd.LSTM, rd.RNNDrop(0.4)).train(training)
    masks = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(1)) if training else None
    multiplier = masks[0].cell[0, 0].tolist() if masks else [0.6] * 3
    assert not training or set(multiplier) == {0.0, 1.0}
    hs, c_n = steps(made, multiplier)
    output, (_, c_found) = run(made, masks)
    close(output, hs)
    close(c_found, c_n)


def test_from_a_zero_cell_it_is_semeniuta_per_sequence() -> None:
    moon = rd.LSTM(3, 20, noise=rd.RNNDrop(0.5), dtype=torch.float64)
    semeniuta = rd.LSTM(3, 20, dtype=torch.float64)
    semeniuta.load_state_dict(moon.state_dict())
    x = torch.randn(7, 4, 3, dtype=torch.float64)
    masks = moon.sample_masks(7, 4)
    same = tuple(rd.Masks(candidate=m.cell) for m in masks)
    a, b = moon(x, masks=masks), semeniuta(x, masks=same)
    assert torch.allclose(a[0], b[0], rtol=0, atol=1e-14)
    h, c = torch.randn(1, 4, 20, dtype=torch.float64), torch.randn(1, 4, 20, dtype=torch.float64)
    assert not torch.allclose(moon(x, (h, c), masks=masks)[0], semeniuta(x, (h, c), masks=same)[0])
