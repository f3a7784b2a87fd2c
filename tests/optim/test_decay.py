"""Zaremba's learning rates and Gal's weight decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import recurdrop as rd


def rates(schedule, epochs: int) -> list[float]:
    found = []
    for _ in range(epochs):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return found


def make(constant: int, divisor: float, lr: float = 1.0) -> rd.ZarembaLR:
    return rd.ZarembaLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr), constant, divisor)


def test_the_small_network() -> None:
    assert rates(make(4, 2), 13) == [1, 1, 1, 1, *(2.0**-k for k in range(1, 10))]


@pytest.mark.parametrize(("constant", "divisor", "epochs"), [(6, 1.2, 39), (14, 1.15, 55), (0, 2.0, 3)])
def test_constant_then_one_division_an_epoch(constant: int, divisor: float, epochs: int) -> None:
    found = rates(make(constant, divisor, lr=0.7), epochs)
    lr, expected = 0.7, []
    for epoch in range(epochs):
        lr = lr / divisor if epoch >= constant else lr
        expected.append(lr)
    assert found == pytest.approx(expected, rel=1e-14)


def test_it_goes_on_from_its_state() -> None:
    whole, part, resumed = make(4, 2), make(4, 2), make(9, 3)
    expected = rates(whole, 10)
    seen = rates(part, 6)
    resumed.optimizer.load_state_dict(part.optimizer.state_dict())
    resumed.load_state_dict(part.state_dict())
    assert seen + rates(resumed, 4) == expected


def test_decay_is_a_factor_alone() -> None:
    p = nn.Parameter(torch.tensor([2.0, -4.0], dtype=torch.float64))
    p.grad = torch.ones(2, dtype=torch.float64)
    opt = torch.optim.SGD([p], 0.5)
    opt.step()
    rd.decoupled_decay_([p], 0.25)
    assert p.tolist() == [1.5 * 0.75, -4.5 * 0.75]


def test_what_is_refused() -> None:
    for constant, divisor, message in ((-1, 2, "constant of ZarembaLR"), (4, 0, "divisor of ZarembaLR")):
        with pytest.raises(ValueError, match=message):
            make(constant, divisor)
    for decay in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="weight_decay must be a number in"):
            rd.decoupled_decay_([], decay)
