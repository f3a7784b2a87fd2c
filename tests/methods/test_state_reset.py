"""State reset."""

from __future__ import annotations

import torch

import recurdrop as rd
from recurdrop.sites import Masks
from recurdrop.testing import MethodConformance
from recurdrop.testing.methods import check, tensors


class TestStateReset(MethodConformance):
    method = rd.StateReset(0.4)
    shapes = {"state": "B 1"}

    def scale(self, site: str, p: float) -> float:
        return 1.0

    def check_independent(self, masks: tuple[Masks, ...]) -> None:
        first, *others = (value for _, value in tensors(masks))
        check(all(torch.equal(first, other) for other in others), "a layer or direction resets other examples")


def test_a_reset_example_starts_from_zero_in_every_layer() -> None:
    made = rd.LSTM(3, 4, 2, bidirectional=True, noise=rd.StateReset(0.5), dtype=torch.float64)
    x = torch.randn(5, 30, 3, dtype=torch.float64)
    h, c = torch.randn(4, 30, 4, dtype=torch.float64), torch.randn(4, 30, 4, dtype=torch.float64)
    masks = made.sample_masks(5, 30)
    kept = masks[0].state[:, 0].bool()
    assert kept.any() and not kept.all()
    y = made(x, (h, c), masks=masks)[0]
    zero, given = torch.nn.LSTM.forward(made.eval(), x)[0], torch.nn.LSTM.forward(made, x, (h, c))[0]
    expected = torch.where(kept[:, None], given, zero)
    assert torch.allclose(y, expected, rtol=0, atol=1e-14)


def test_without_a_state_it_changes_nothing() -> None:
    made = rd.GRU(3, 4, noise=rd.StateReset(0.5))
    x = torch.randn(5, 3, 3)
    assert torch.allclose(made(x)[0], made.eval()(x)[0], rtol=0, atol=1e-6)
