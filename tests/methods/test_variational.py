"""Variational dropout, with Keras's form of it."""

from __future__ import annotations

import math

import pytest
import torch
from by_hand import HIDDEN, close, gru_gates, layer, lstm_gates, lstm_steps, one_state_steps, rnn_units, run

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestTied(MethodConformance):
    method = rd.Variational(input=0.4, recurrent=0.3, output=0.2)
    shapes = {"input": "1 B I", "recurrent": "1 B H", "output": "1 B H"}


class TestUntied(MethodConformance):
    method = rd.Variational(input=0.4, recurrent=0.3, output=0.2, tied=False)
    shapes = {"input": "1 B G I", "recurrent": "1 B G H", "output": "1 B H"}


class TestRecurrentAlone(MethodConformance):
    method = rd.Variational(recurrent=0.4)
    shapes = {"recurrent": "1 B H"}


def by_gate(mask: torch.Tensor, gates: int) -> list:
    """The values of a mask of one example, one vector a gate."""
    return mask[0, 0].tolist() if mask.dim() == 4 else [mask[0, 0].tolist()] * gates


@pytest.mark.parametrize("tied", [True, False])
def test_lstm_by_hand(tied) -> None:
    made = layer(rd.LSTM, rd.Variational(input=0.5, recurrent=0.5, output=0.5, tied=tied))
    (masks,) = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(2))
    noise = {"m_x": by_gate(masks.input, 4), "m_h": by_gate(masks.recurrent, 4)}

    def step(t, x, h, c):
        del t
        gates = lstm_gates(made, x, h, **noise)
        new_c = [f * old + i * g for (i, f, g, _), old in zip(gates, c, strict=True)]
        return [o * math.tanh(v) for (*_, o), v in zip(gates, new_c, strict=True)], new_c

    hs, c_n = lstm_steps(made, step)
    output, (h_n, c_found) = run(made, (masks,))
    close(h_n, hs[-1])
    close(c_found, c_n)
    close(output, [[a * m for a, m in zip(h, masks.output[0, 0].tolist(), strict=True)] for h in hs])


@pytest.mark.parametrize("tied", [True, False])
def test_gru_interpolates_with_the_unmasked_state(tied) -> None:
    made = layer(rd.GRU, rd.Variational(input=0.5, recurrent=0.5, tied=tied))
    (masks,) = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(1))
    noise = {"m_x": by_gate(masks.input, 3), "m_h": by_gate(masks.recurrent, 3)}
    assert not masks.recurrent.all()

    def step(t, x, h):
        del t
        return [(1 - z) * n + z * h[u] for u, (_, z, n) in enumerate(gru_gates(made, x, h, **noise))]

    close(run(made, (masks,))[0], one_state_steps(made, step))


def test_rnn_by_hand() -> None:
    made = layer(rd.RNN, rd.Variational(input=0.5, recurrent=0.5))
    (masks,) = made.sample_masks(2, 1, generator=torch.Generator().manual_seed(3))
    noise = {"m_x": [masks.input[0, 0].tolist()], "m_h": [masks.recurrent[0, 0].tolist()]}
    close(run(made, (masks,))[0], one_state_steps(made, lambda t, x, h: rnn_units(made, x, h, **noise)))


@pytest.mark.parametrize("kind", [rd.LSTM, rd.GRU])
def test_untied_with_equal_bits_is_tied(kind) -> None:
    made = kind(3, 4, noise=rd.Variational(input=0.5, recurrent=0.5), dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    (masks,) = made.sample_masks(5, 2)
    gates = {"LSTM": 4, "GRU": 3}[made.cell]
    untied = masks._replace(
        input=masks.input.unsqueeze(2).expand(-1, -1, gates, -1), recurrent=masks.recurrent.unsqueeze(2)
    )
    assert torch.allclose(made(x, masks=[masks])[0], made(x, masks=[untied])[0], rtol=0, atol=1e-13)


def test_shared_by_the_batch_it_is_a_column_mask_on_the_weights() -> None:
    made = rd.LSTM(3, 4, dtype=torch.float64)
    x, bits = torch.randn(5, 2, 3, dtype=torch.float64), torch.tensor([0.0, 2.0, 2.0, 0.0], dtype=torch.float64)
    y = made(x, masks=[rd.Masks(recurrent=bits[None, None])])[0]
    assert torch.allclose(y, made(x, masks=[rd.Masks(weight_hh=bits[None])])[0], rtol=0, atol=1e-13)


def test_without_recurrent_weights_recurrent_masks_do_nothing() -> None:
    made = rd.LSTM(3, 4, noise=rd.Variational(recurrent=0.5), dtype=torch.float64)
    made.weight_hh_l0.data.zero_()
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    assert torch.allclose(made(x)[0], made.eval()(x)[0], rtol=0, atol=1e-14)


def test_an_update_gate_of_one_carries_the_state_exactly() -> None:
    made = rd.GRU(3, HIDDEN, noise=rd.Variational(recurrent=0.5), dtype=torch.float64)
    made.bias_ih_l0.data[HIDDEN : 2 * HIDDEN] = 1e4
    h = torch.randn(1, 2, HIDDEN, dtype=torch.float64)
    assert torch.equal(made(torch.randn(50, 2, 3, dtype=torch.float64), h)[1], h)
