"""Weight drop."""

from __future__ import annotations

import pytest
import torch
from by_hand import close, layer, one_state_steps, rnn_units, run

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestElements(MethodConformance):
    method = rd.WeightDrop(0.4)
    shapes = {"weight_hh": "R C"}


class TestRows(MethodConformance):
    method = rd.WeightDrop(0.4, unit="row")
    shapes = {"weight_hh": "R 1"}


class TestColumns(MethodConformance):
    method = rd.WeightDrop(0.4, unit="column")
    shapes = {"weight_hh": "1 C"}


def test_by_hand() -> None:
    made = layer(rd.RNN, rd.WeightDrop(0.5))
    masks = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(0))
    dropped = made.weight_hh_l0.detach() * masks[0].weight_hh
    assert 0 < (dropped == 0).sum() < dropped.numel()
    close(run(made, masks)[0], one_state_steps(made, lambda t, x, h: rnn_units(made, x, h, w_hh=dropped)))


def test_the_first_step_from_zero_does_not_see_it_the_second_does() -> None:
    made = rd.LSTM(3, 4, noise=rd.WeightDrop(0.5), dtype=torch.float64)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    torch.manual_seed(0)
    a, b = made(x)[0], made(x)[0]
    assert torch.allclose(a[0], b[0], rtol=0, atol=1e-15)
    assert not torch.allclose(a[1], b[1])


@pytest.mark.parametrize("kind", [rd.LSTM, rd.GRU, rd.RNN])
def test_the_gradient_of_the_raw_matrix_is_masked(kind) -> None:
    made = kind(3, 4, bidirectional=True, noise=rd.WeightDrop(0.5), dtype=torch.float64)
    masks = made.sample_masks(6, 2)
    made(torch.randn(6, 2, 3, dtype=torch.float64), masks=masks)[0].square().sum().backward()
    for weight, m in zip((made.weight_hh_l0, made.weight_hh_l0_reverse), masks, strict=True):
        assert torch.equal(weight.grad != 0, m.weight_hh != 0)
