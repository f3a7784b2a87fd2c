"""Schedules: their curves, and that every rate of a model follows them."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import recurdrop as rd
from recurdrop import methods
from recurdrop.plan import Where, plan_layers

ALL = [methods.get(name) for name in methods.names()]
ZONEOUTS = [
    rd.Zoneout(),
    rd.Zoneout(c=0.4, h=0.1),
    rd.Zoneout(h=[0.1, 0.3]),
    rd.Zoneout(c=[0.2, 0.0], h=0.3),
    rd.Zoneout(h=0.15, shared_mask=True),
    rd.Zoneout(c=0.2, h=0.2, stochastic_depth=True),
]


class Constant(rd.Schedule):
    """One factor for ever."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        self.given = factor
        super().__init__(model)

    def factor_at(self, updates: int) -> float:
        return self.given


def factors(schedule: rd.Schedule, updates: int) -> list[float]:
    found = [schedule.factor]
    for _ in range(updates):
        schedule.step()
        found.append(schedule.factor)
    return found


def layer(noise=None, kind=rd.LSTM, **options) -> nn.Module:
    torch.manual_seed(2)
    return kind(3, 4, num_layers=2, dtype=torch.float64, noise=noise, **options)


def output(made: nn.Module, seed: int = 9) -> torch.Tensor:
    x = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(seed)
    return made(x)[0].detach()


def test_curriculum_starts_at_nothing_rises_and_arrives() -> None:
    rnn = layer(rd.Variational(input=0.5, recurrent=0.25))
    schedule = rd.Curriculum(rnn, total_updates=200)
    assert rnn.noise == rd.Variational()
    found = factors(schedule, 200)
    assert found[0] == 0
    assert all(a < b for a, b in pairwise(found))
    assert found == pytest.approx([1 - math.exp(-10 * t / 200) for t in range(201)], rel=0, abs=1e-15)
    assert 0 < 0.25 - rnn.noise.recurrent < 0.25 * 4.6e-5


def test_gamma_in_place_of_the_total() -> None:
    found = factors(rd.Curriculum(layer(rd.Zoneout()), gamma=1e-3), 5)
    assert found == pytest.approx([1 - math.exp(-1e-3 * t) for t in range(6)], rel=1e-12)


def test_anti_curriculum_runs_backwards() -> None:
    rnn = layer(rd.RNNDrop(0.5))
    schedule = rd.AntiCurriculum(rnn, 100)
    assert rnn.noise == rd.RNNDrop(0.5)
    assert factors(schedule, 100) == pytest.approx([math.exp(-t / 10) for t in range(101)], rel=1e-14)


def test_steps_lines_and_kaldis_points() -> None:
    rnn = layer(rd.Zaremba(0.5))
    assert factors(rd.StepSchedule(rnn, at=2), 4) == [0, 0, 1, 1, 1]
    rnn.noise = rd.Zaremba(0.5)
    assert factors(rd.LinearSchedule(rnn, 4), 6) == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    rnn.noise = rd.Zaremba(0.5)
    assert factors(rd.LinearSchedule(rnn, 2, start=1, end=0.5), 3) == [1, 0.75, 0.5, 0.5]
    rnn.noise = rd.Zaremba(0.5)
    found = factors(rd.PiecewiseSchedule(rnn, 20), 22)
    rise, fall = [0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6], [1 - k / 10 for k in range(11)]
    assert found == pytest.approx([0, 0, 0, 0, *rise, *fall, 0, 0], abs=1e-15)


@pytest.mark.parametrize("noise", [*(m.published() for m in ALL), *ZONEOUTS], ids=repr)
@pytest.mark.parametrize("kind", [rd.LSTM, rd.GRU, rd.RNN])
def test_every_rate_of_every_method_is_multiplied(noise: rd.Method, kind: type) -> None:
    try:
        rnn = layer(noise, kind)
    except rd.UndefinedSiteError:
        return
    target = plan_layers([noise], rnn.cell, 2)
    for factor in (0.5, 0.0, 1.0):
        rnn.noise = noise
        Constant(rnn, factor)
        plans = rnn.plans()
        assert [list(plan) for plan in plans] == [list(plan) for plan in target]
        pairs = [
            (now, then)
            for plan, first in zip(plans, target, strict=True)
            for site in first
            for now, then in zip(plan[site], first[site], strict=True)
        ]
        assert any(then.rate for _, then in pairs)
        for now, then in pairs:
            assert now.rate == factor * then.rate
            shared = then.shared if factor else now.shared  # without noise, what a mask would share is idle
            assert now == dataclasses.replace(then, rate=now.rate, evaluation=now.evaluation, shared=shared)
            if then.evaluation is not None:
                neutral = 0.0 if then.site.startswith("zone") else 1.0
                expected = neutral + factor * (then.evaluation - neutral)
                assert now.evaluation == pytest.approx(expected, rel=0, abs=1e-16)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [rd.LSTM, rd.GRU])
def test_zoneout_computes_at_the_current_rate(kind: type, training: bool) -> None:
    rnn = layer(rd.Zoneout(h=0.3), kind).train(training)
    schedule = rd.LinearSchedule(rnn, 2)
    assert torch.equal(output(rnn), output(layer(None, kind)))
    schedule.step()
    half = rd.Zoneout(c=0.25, h=0.15) if kind is rd.LSTM else rd.Zoneout(h=0.15)
    assert torch.equal(output(rnn), output(layer(half, kind).train(training)))
    schedule.step()
    assert torch.equal(output(rnn), output(layer(rd.Zoneout(h=0.3), kind).train(training)))


class Model(nn.Module):
    """Rates of every kind, and layers without any."""

    def __init__(self) -> None:
        super().__init__()
        self.both = rd.LSTM(3, 4, num_layers=2, dropout=0.4, noise=[rd.WeightDrop([0.5, 0.1]), rd.Locked(input=0.2)])
        self.single = rd.GRU(4, 4, noise=rd.WeightNoise(std=0.075))
        self.none = rd.RNN(4, 4)
        self.idle = rd.RNN(4, 4, noise=rd.Zaremba(0.0))
        self.torchs = nn.LSTM(4, 4, num_layers=2, dropout=0.6)
        self.modules_ = nn.ModuleList([nn.Dropout(0.8), nn.Dropout1d(0.5), nn.Dropout(0.0)])
        self.ours = nn.ModuleList([rd.nn.LockedDropout(0.25), rd.nn.EmbeddingDropout(nn.Embedding(5, 3), 0.1)])


def rates(model: Model) -> list:
    return [
        model.both.noise,
        model.both.dropout,
        model.single.noise,
        model.none.noise,
        model.idle.noise,
        model.torchs.dropout,
        *(m.p for m in model.modules_),
        *(m.p for m in model.ours),
    ]


def test_all_rates_of_a_model_and_no_others() -> None:
    model = Model()
    before = rates(model)
    schedule = rd.LinearSchedule(model, 2)
    schedule.step()
    noise = (rd.WeightDrop([0.25, 0.05]), rd.Locked(input=0.1))
    idle = [None, rd.Zaremba(0.0)]
    assert rates(model) == [noise, 0.2, rd.WeightNoise(std=0.0375), *idle, 0.3, 0.4, 0.25, 0.0, 0.125, 0.05]
    schedule.step()
    assert rates(model) == before
    assert isinstance(model.both.noise, tuple)


def test_rates_of_fast_dropout() -> None:
    model = nn.ModuleList(
        [
            rd.nn.FastDropoutLSTM(3, 4, num_layers=2, input=[0.0, 0.4], recurrent=0.2),
            rd.nn.FastDropoutGRU(3, 4, input=0.0, recurrent=0.0),
            rd.nn.FastDropoutLinear(4, 4, p=0.5),
        ]
    )
    x = torch.randn(2, 1, 3)
    before = model[0](x)[0].mean
    schedule = rd.LinearSchedule(model, 2)
    schedule.step()
    assert (model[0].input, model[0].recurrent, model[2].p) == ((0.0, 0.2), 0.1, 0.25)
    assert not torch.equal(model[0](x)[0].mean, before)
    schedule.step()
    assert (model[0].input, model[0].recurrent, model[2].p) == ((0.0, 0.4), 0.2, 0.5)
    assert (model[1].input, model[1].recurrent) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"input of FastDropoutLSTM\[1\] must be a number in \[0, 1\]; got 1.2"):
        rd.LinearSchedule(model, 2, end=3.0)
    assert model[2].p == 0.5
    with pytest.raises(ValueError, match="rates above 0"):
        rd.LinearSchedule(model[1], 2)


def test_a_schedule_may_raise_rates_within_their_range() -> None:
    rnn = layer(rd.Zaremba(0.5))
    schedule = rd.LinearSchedule(rnn, 1, end=2.0)
    schedule.step()
    assert rnn.noise == rd.Zaremba(1.0)


def test_one_module_alone() -> None:
    model = Model()
    rd.StepSchedule(model.both, at=1)
    assert model.both.dropout == 0
    assert model.single.noise == rd.WeightNoise(std=0.075)


def test_it_goes_on_from_its_state() -> None:
    model, other = Model(), Model()
    schedule = rd.Curriculum(model, 50)
    for _ in range(20):
        schedule.step()
    resumed = rd.Curriculum(other, 50)
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert resumed.updates == 20
    assert rates(other) == rates(model)
    schedule.step()
    resumed.step()
    assert rates(other) == rates(model)


def test_mixout_refers_to_the_weights_of_the_beginning() -> None:
    rnn, reference = layer(rd.Mixout(1.0)), layer()
    schedule = rd.StepSchedule(rnn, at=2)
    for _ in range(2):
        with torch.no_grad():
            for name, p in rnn.named_parameters():
                if "weight" in name:
                    p.add_(0.1)
        output(rnn)
        schedule.step()
    torch.testing.assert_close(output(rnn), output(reference), rtol=0, atol=1e-15)
    rnn.noise = rd.Mixout(1.0)
    assert not torch.allclose(output(rnn), output(reference))


def test_what_was_left_out_stays_told() -> None:
    model = nn.ModuleList([nn.LSTM(3, 4), nn.GRU(3, 4)])
    with pytest.warns(UserWarning, match="left out"):
        rd.regularize(model, [rd.Zaremba(0.5), rd.RNNDrop(0.5)])
    notes = rd.describe(model).notes
    rd.Curriculum(model, 10).step()
    assert any("RNNDrop" in note for note in notes)
    assert set(notes) <= set(rd.describe(model).notes)


def test_compiled_layers_follow_in_two_graphs() -> None:
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    rnn = layer(rd.Variational(input=0.5, recurrent=0.5))
    schedule = rd.Curriculum(rnn, 10)
    compiled = torch.compile(rnn, backend=counter, fullgraph=True)
    for _ in range(6):
        torch.testing.assert_close(output(compiled), output(rnn), rtol=0, atol=1e-14)
        schedule.step()
    assert counter.frame_count == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: rd.Curriculum(m), "Curriculum needs total_updates or gamma, above 0"),
        (lambda m: rd.Curriculum(m, 10, gamma=0.1), "Give one of the two"),
        (lambda m: rd.AntiCurriculum(m, 0), "AntiCurriculum needs total_updates"),
        (lambda m: rd.Curriculum(m, gamma=math.inf), "Curriculum needs"),
        (lambda m: rd.StepSchedule(m, at=-1), "at of StepSchedule must be 0 or more; got -1"),
        (lambda m: rd.LinearSchedule(m, 0), "total_updates must be 1 or more"),
        (lambda m: rd.PiecewiseSchedule(m, 9, []), "points must be pairs"),
        (lambda m: rd.PiecewiseSchedule(m, 9, [(0.5, 0), (0.5, 1)]), "points must be pairs"),
        (lambda m: rd.PiecewiseSchedule(m, 9, [(0, 0), (1.5, 1)]), "points must be pairs"),
        (lambda m: rd.PiecewiseSchedule(m, 9, [(0, -1)]), "points must be pairs"),
        (lambda m: rd.LinearSchedule(nn.Linear(1, 1), 9), "a schedule needs a model with rates above 0; got 'Linear'"),
        (lambda m: rd.LinearSchedule(m, 9, start=3), r"p of Zaremba must be a number in \[0, 1\]; got 1.5"),
        (lambda m: rd.LinearSchedule(m, 9, end=3), r"p of Zaremba must be a number in \[0, 1\]; got 1.5"),
        (lambda m: rd.PiecewiseSchedule(m, 9, [(0, 0), (0.5, 2.5), (1, 1)]), r"p of Zaremba .*; got 1.25"),
        (lambda m: rd.LinearSchedule(nn.LSTM(1, 1, 2, dropout=0.4), 9, end=3), r"dropout of LSTM .*; got 1.2000"),
    ],
)
def test_what_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(layer(rd.Zaremba(0.5)))


def test_a_method_without_declared_rates_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Mine(rd.Method):
        p: float = 0.5

        def plan(self, where: Where):
            return (self.noise("output", self.p),)

    with pytest.raises(ValueError, match="a method whose noise is scaled needs rates; got 'Mine'"):
        rd.Curriculum(layer(Mine()), 10)
