"""Non-recurrent dropout."""

from __future__ import annotations

import torch

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestZaremba(MethodConformance):
    method = rd.Zaremba(0.4)
    shapes = {"input": "T B I", "output": "T B H"}


def test_each_of_the_places_is_dropped_once() -> None:
    masks = rd.LSTM(50, 50, 3, noise=rd.Zaremba([0.1, 0.3, 0.5, 0.9])).sample_masks(40, 20)
    rates = [(m.input, m.output) for m in masks]
    found = [[None if v is None else round((v == 0).double().mean().item(), 1) for v in pair] for pair in rates]
    assert found == [[0.1, 0.3], [None, 0.5], [None, 0.9]]


def test_it_is_torch_between_dropped_tensors() -> None:
    made = rd.LSTM(4, 5, 2, noise=rd.Zaremba(0.5), dtype=torch.float64, backend="torch")
    masks = made.sample_masks(6, 3)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    lower, upper = (torch.nn.LSTM(n, 5, dtype=torch.float64) for n in (4, 5))
    for k, single in enumerate((lower, upper)):
        single.load_state_dict({n.replace("l1", "l0"): v for n, v in made.state_dict().items() if f"l{k}" in n})
    between = lower(x * masks[0].input)[0] * masks[0].output
    expected = upper(between)[0] * masks[1].output
    assert torch.equal(made(x, masks=masks)[0], expected)
