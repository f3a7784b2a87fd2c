"""Windows of varying length: their law, their cover of the stream, and going on in the middle."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import recurdrop as rd


def lengths(windows) -> np.ndarray:
    return np.array([round(w.scale * 70) for w in windows])


def test_lengths_have_the_published_law() -> None:
    found = lengths(rd.VariableBPTT(1_000_000, seed=1).windows(0))
    long = found[found > 52]
    share = 1 - len(long) / len(found)
    assert abs(share - 0.05) < 4 * math.sqrt(0.05 * 0.95 / len(found))
    for group, base in ((long, 70), (found[found <= 52], 35)):
        # the floor of N(base, 5²): mean base - 1/2, variance 25 + 1/12
        assert abs(group.mean() - (base - 0.5)) < 4 * 5 / math.sqrt(len(group))
        assert abs(group.var() - 25) < 4 * 25 * math.sqrt(2 / len(group))


def test_windows_follow_one_another_to_the_end() -> None:
    windows = rd.VariableBPTT(10_000, seed=2).windows(3)
    assert windows[0].start == 0
    assert [w.stop for w in windows[:-1]] == [w.start for w in windows[1:]]
    assert windows[-1].stop == 10_000
    assert all(w.stop - w.start == round(w.scale * 70) for w in windows[:-1])
    assert windows[-1].stop - windows[-1].start < round(windows[-1].scale * 70)


def test_the_bounds_hold_and_the_scale_follows_them() -> None:
    windows = rd.VariableBPTT(20_000, bptt=20, deviation=15, minimum=7, maximum=30, seed=0).windows(0)
    found = {round(w.scale * 20) for w in windows}
    assert (min(found), max(found)) == (7, 30)
    assert len(found) > 20


@pytest.mark.parametrize(("half", "length"), [(0, 35), (1, 17)])
def test_without_deviation_lengths_are_fixed(half: float, length: int) -> None:
    windows = rd.VariableBPTT(100, bptt=35, half=half, deviation=0, seed=0).windows(0)
    assert [w.start for w in windows] == list(range(0, 100, length))
    assert {w.scale for w in windows} == {length / 35}


def test_each_epoch_and_seed_has_windows_of_its_own() -> None:
    a, b = (rd.VariableBPTT(5000, seed=seed) for seed in (1, 2))
    assert a.windows(0) == rd.VariableBPTT(5000, seed=1).windows(0)
    assert a.windows(0) != a.windows(1)
    assert a.windows(0) != b.windows(0)


def test_torchs_seed_governs_and_no_random_state_is_touched() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    made = rd.VariableBPTT(5000)
    first = list(made)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == rd.VariableBPTT(5000, seed=11).windows(0)


@pytest.mark.parametrize("stop", [0, 7, 80, 10_000])
def test_going_on_in_the_middle(stop: int) -> None:
    whole = rd.VariableBPTT(5000, seed=4)
    expected = [w for _ in range(3) for w in whole]
    part = rd.VariableBPTT(5000, seed=4)
    seen, state = [], part.state_dict()
    for _ in range(2):
        for window in part:
            if len(seen) == stop:
                break
            seen.append(window)
            state = json.loads(json.dumps(part.state_dict()))
    resumed = rd.VariableBPTT(5000, seed=99)
    resumed.load_state_dict(state)
    for _ in range(resumed.epoch, 3):
        seen += resumed
    assert seen == expected


def test_the_rate_is_rescaled_for_one_step_and_put_back() -> None:
    w, v = (nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2))
    opt = torch.optim.SGD([{"params": [w]}, {"params": [v], "lr": 0.3}], 0.1)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.5)
    w.grad, v.grad = torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    with rd.optim.Window(0, 35, 0.5).rescaled(opt):
        opt.step()
    torch.testing.assert_close(torch.cat([w, v]).detach(), torch.tensor([0.95, 0.85], dtype=torch.float64))
    with pytest.raises(KeyError), rd.optim.rescaled_lr(opt, 3.7):
        raise KeyError
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.3]
    schedule.step()
    assert [group["lr"] for group in opt.param_groups] == [0.05, 0.15]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps of VariableBPTT must be 1 or more; got 0"),
        ({"bptt": 0}, "bptt of VariableBPTT"),
        ({"minimum": 0}, "minimum of VariableBPTT"),
        ({"maximum": 4}, "maximum of VariableBPTT must be at least minimum; got 4"),
        ({"half": 1.5}, "half of VariableBPTT must be a probability"),
        ({"deviation": -1}, "deviation of VariableBPTT"),
        ({"seed": -1}, "seed of VariableBPTT"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rd.VariableBPTT(**{"steps": 100, **options})
