"""Plain dropout."""

from __future__ import annotations

import pytest
import torch
from by_hand import at, close, layer, lstm_gates, lstm_steps, run

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestDropout(MethodConformance):
    method = rd.Dropout(0.4)
    shapes = {"output": "T B H"}


class TestDropoutAtTheInput(MethodConformance):
    method = rd.Dropout(0.4, site="input")
    shapes = {"input": "T B I"}


class TestNaiveRecurrentDropout(MethodConformance):
    method = rd.Dropout(0.4, site="recurrent")
    shapes = {"recurrent": "T B H"}


class TestDropoutOfTheCandidate(MethodConformance):
    method = rd.Dropout(0.4, site="candidate")
    cells = ("LSTM", "GRU")
    shapes = {"candidate": "T B H"}


class TestDropoutOfTheCell(MethodConformance):
    method = rd.Dropout(0.4, site="cell")
    cells = ("LSTM",)
    shapes = {"cell": "T B H"}


def test_the_recurrence_reads_the_undropped_state() -> None:
    import math

    made = layer(rd.LSTM, rd.Dropout(0.5))
    masks = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(0))

    def step(t, x, h, c):
        del t
        new_c = [f * old + i * g for (i, f, g, _), old in zip(lstm_gates(made, x, h), c, strict=True)]
        return [o * math.tanh(v) for (*_, o), v in zip(lstm_gates(made, x, h), new_c, strict=True)], new_c

    hs, _ = lstm_steps(made, step)
    output, (h_n, _) = run(made, masks)
    close(h_n, hs[-1])
    close(output, [[a * m for a, m in zip(h, at(masks[0].output, t), strict=True)] for t, h in enumerate(hs)])


def test_every_layer_has_its_rate() -> None:
    masks = rd.GRU(3, 200, 3, noise=rd.Dropout([0.0, 0.2, 0.9])).sample_masks(50, 10)
    assert masks[0].output is None
    assert [round((m.output == 0).double().mean().item(), 1) for m in masks[1:]] == [0.2, 0.9]


def test_a_list_must_have_one_rate_a_layer() -> None:
    with pytest.raises(ValueError, match=r"p of Dropout governs 3 places .* got \[0.1, 0.2\]"):
        rd.GRU(3, 4, 3, noise=rd.Dropout([0.1, 0.2]))


def test_unknown_site() -> None:
    with pytest.raises(ValueError, match=r"site of Dropout must be one of 'input'.*got 'gate'"):
        rd.Dropout(0.1, site="gate")
