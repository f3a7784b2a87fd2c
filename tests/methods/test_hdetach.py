"""h-detach."""

from __future__ import annotations

import pytest
import torch

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestHDetach(MethodConformance):
    method = rd.HDetach(0.4)
    shapes = {"detach": "T 1 1"}
    touches_forward = False

    def scale(self, site: str, p: float) -> float:
        return 1.0


@pytest.mark.parametrize("kind", [rd.LSTM, rd.GRU, rd.RNN])
@pytest.mark.parametrize("backend", ["eager", "reference"])
def test_forward_is_unchanged_to_the_bit(kind, backend) -> None:
    made = kind(3, 4, noise=rd.HDetach(0.5), backend=backend)
    x = torch.randn(6, 2, 3)
    assert torch.equal(made(x)[0], made(x, masks=[rd.Masks()])[0])


@pytest.mark.parametrize("backend", ["eager", "reference"])
def test_on_an_rnn_the_gradient_ends_at_the_detached_step(backend) -> None:
    made = rd.RNN(3, 4, backend=backend, dtype=torch.float64)
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    bits = torch.ones(6, 1, 1, dtype=torch.float64)
    bits[3] = 0
    y = made(x, masks=[rd.Masks(detach=bits)])[0]
    (gradient,) = torch.autograd.grad(y[-1].sum(), x)
    assert not gradient[:3].any()
    assert gradient[3:].ne(0).all()


@pytest.mark.parametrize("backend", ["eager", "reference"])
def test_the_cell_state_of_an_lstm_always_passes(backend) -> None:
    made = rd.LSTM(3, 1, noise=rd.HDetach(1), backend=backend, dtype=torch.float64)
    x, h = torch.randn(5, 1, 3, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    c = torch.randn(1, 1, 1, dtype=torch.float64, requires_grad=True)
    y, (_, c_n) = made(x, (h, c))
    (gradient,) = torch.autograd.grad(c_n.sum(), c)
    before = torch.cat((h, y[:-1]))
    forget = torch.sigmoid(
        x @ made.weight_ih_l0[1] + before[..., 0] * made.weight_hh_l0[1] + made.bias_ih_l0[1] + made.bias_hh_l0[1]
    )
    assert torch.allclose(gradient.flatten(), forget.prod().reshape(1), rtol=1e-12)
