from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR, MultiStepLR, ReduceLROnPlateau

import recurdrop as rd
from recurdrop.models.settings import TrainingSettings
from recurdrop.train.optimizers import falling, make_optimizer, make_schedule


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"batch": 1, "epochs": 6, "lr": 0.5, **changes})


def path(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], steps: int = 6) -> torch.Tensor:
    """The values of a parameter on its way down a bowl, (steps, 3)."""
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = make([parameter])
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        ((parameter - 0.3) ** 2 * torch.tensor([0.5, 0.1, 0.2])).sum().backward()
        optimizer.step()
        seen.append(parameter.detach().clone())
    return torch.stack(seen)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("rmsprop", torch.optim.RMSprop),
        ("ntasgd", torch.optim.SGD),
    ],
)
def test_each_optimizer_takes_torchs_own_steps(name: str, make: type[Any], decay: float) -> None:
    ours = path(lambda p: make_optimizer(p, settings(optimizer=name, weight_decay=decay)))
    theirs = path(lambda p: make(p, lr=0.5, weight_decay=decay))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    if decay:
        assert not torch.allclose(ours, path(lambda p: make(p, lr=0.5)))


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "ntasgd"])
def test_decoupled_decay_is_no_part_of_the_optimizer(name: str) -> None:
    ours = path(lambda p: make_optimizer(p, settings(optimizer=name, weight_decay=0.1, decoupled=True)))
    assert torch.equal(ours, path(lambda p: make_optimizer(p, settings(optimizer=name))))


def test_ntasgd_waits_as_many_reports_as_are_asked_for() -> None:
    optimizer = make_optimizer([nn.Parameter(torch.ones(1))], settings(optimizer="ntasgd", nonmono=3))
    assert isinstance(optimizer, rd.NTASGD)
    assert [optimizer.report(loss) for loss in (1.0, 2.0, 2.0, 2.0, 2.0)] == [False, False, False, False, True]


def rates(make: Callable[[torch.optim.Optimizer], Any], losses: list[float]) -> list[float]:
    """The learning rate of each of some epochs."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    schedule, seen = make(optimizer), []
    for loss in losses:
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([loss] if isinstance(schedule, ReduceLROnPlateau) else []))
    return seen


LOSSES = [3.0, 2.0, 2.5, 2.0, 1.5, 1.5, 1.6, 1.7]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"schedule": "decay", "constant_epochs": 3, "divisor": 2.0},
            [0.5, 0.5, 0.5, *(0.5 / 2**k for k in range(1, 6))],
        ),
        ({"schedule": "milestones", "milestones": (2, 5), "divisor": 10.0}, [0.5] * 2 + [0.05] * 3 + [0.005] * 3),
        (
            {"schedule": "plateau", "patience": 1, "divisor": 4.0},
            [0.5] * 3 + [0.125, 0.03125] + [0.03125, 0.03125 / 4, 0.03125 / 16],
        ),
        ({"schedule": "plateau", "patience": 2, "divisor": 4.0}, [0.5] * 4 + [0.125] * 3 + [0.03125]),
        ({"schedule": "falling"}, [0.5] * 5 + [0.375, 0.25, 0.125]),
    ],
    ids=lambda x: x.get("schedule") if isinstance(x, dict) else None,
)
def test_each_schedule_gives_these_learning_rates(changes: dict[str, Any], expected: list[float]) -> None:
    found = rates(lambda optimizer: make_schedule(optimizer, settings(**changes), updates=8), LOSSES)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "make"),
    [
        ({"schedule": "decay", "constant_epochs": 3, "divisor": 2.0}, lambda o: rd.ZarembaLR(o, 3, 2.0)),
        ({"schedule": "milestones", "milestones": (2, 5), "divisor": 10.0}, lambda o: MultiStepLR(o, [2, 5], 0.1)),
        (
            {"schedule": "plateau", "patience": 2, "divisor": 4.0},
            lambda o: ReduceLROnPlateau(o, factor=0.25, patience=1, threshold=0),
        ),
    ],
    ids=["decay", "milestones", "plateau"],
)
def test_each_schedule_is_torchs_own(changes: dict[str, Any], make: Callable[..., Any]) -> None:
    assert rates(lambda o: make_schedule(o, settings(**changes), updates=8), LOSSES) == rates(make, LOSSES)


def test_the_second_half_falls_as_torchs_linear_schedule() -> None:
    ours = rates(lambda o: make_schedule(o, settings(schedule="falling"), updates=8), [0.0] * 9)[4:]
    assert ours == pytest.approx(rates(lambda o: LinearLR(o, 1.0, 0.0, 4), [0.0] * 5))
    assert [falling(done) for done in (0.0, 0.5, 0.75, 1.0, 1.5)] == [1, 1, 0.5, 0, 0]


def test_a_constant_rate_needs_no_schedule() -> None:
    assert make_schedule(torch.optim.SGD([nn.Parameter(torch.ones(1))]), settings(), 3) is None


def test_names_that_there_are_not_are_refused() -> None:
    parameters = [nn.Parameter(torch.ones(1))]
    with pytest.raises(ValueError, match="optimizer must be one of sgd, ntasgd, adam, rmsprop; got 'lion'"):
        make_optimizer(parameters, settings(optimizer="lion"))
    with pytest.raises(ValueError, match=r"schedule must be one of constant, decay, .*; got 'cosine'"):
        make_schedule(torch.optim.SGD(parameters), settings(schedule="cosine"), 3)


@pytest.mark.parametrize(
    ("changes", "updates", "rule"),
    [
        ({"schedule": "falling", "epochs": 0}, 0, "schedule falling needs epochs"),
        ({"schedule": "plateau", "divisor": 2.0}, 8, "schedule plateau needs patience of 1"),
        ({"schedule": "plateau", "patience": 1}, 8, "and a divisor above 1"),
    ],
)
def test_a_schedule_without_what_it_needs_is_refused(changes: dict[str, Any], updates: int, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make_schedule(torch.optim.SGD([nn.Parameter(torch.ones(1))]), settings(**changes), updates)
