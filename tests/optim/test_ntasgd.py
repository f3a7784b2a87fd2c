"""NT-ASGD: the trigger, the average, swapping it in, and going on from a checkpoint."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import recurdrop as rd

LOSSES = [10, 6, 7, 7, 7, 7, 6.5, 6.6]


class Run:
    """A small regression, one row a step, whose loss after each step is known from its number."""

    def __init__(self, make, dtype=torch.float64) -> None:
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).to(dtype)
        self.data = torch.randn(200, 3, generator=torch.Generator().manual_seed(5)).to(dtype)
        self.opt = make(self.model.parameters())
        self.iterates: list[list[torch.Tensor]] = []

    def weights(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.model.parameters()]

    def step(self, i: int) -> None:
        self.opt.zero_grad()
        self.model(self.data[i : i + 1]).sub(1).pow(2).mean().backward()
        self.opt.step()
        self.iterates.append(self.weights())


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def averages(run: Run) -> list[torch.Tensor]:
    with run.opt.averaged():
        return run.weights()


def ours(**options):
    return lambda params: rd.NTASGD(params, 0.1, **{"weight_decay": 0.01, **options})


def test_scripted_losses_trigger_at_the_eighth() -> None:
    opt = rd.NTASGD(nn.Linear(2, 2).parameters(), 1.0, n=5)
    assert [opt.report(v) for v in LOSSES] == [False] * 7 + [True]
    assert opt.averaging
    assert opt.history == LOSSES


def test_the_earliest_trigger_is_the_report_after_n_plus_one() -> None:
    opt = rd.NTASGD(nn.Linear(2, 2).parameters(), 1.0, n=5)
    assert [opt.report(v) for v in (1, 2, 2, 2, 2, 2, 2)] == [False] * 6 + [True]


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_trigger_against_the_definition(n: int) -> None:
    rng, fired = np.random.default_rng(n), 0
    for _ in range(50):
        losses = [float(v) for v in rng.integers(1, 5, 15) + 5 / np.arange(1, 16)]
        opt = rd.NTASGD(nn.Linear(1, 1).parameters(), 1.0, n=n)
        for t, v in enumerate(losses):
            expected = t > n and any(v > earlier for earlier in losses[: t - n])
            assert opt.report(torch.tensor(v, dtype=torch.float64)) == expected
            fired += expected
    assert 50 < fired < 50 * 15


def groups(params) -> list[dict]:
    first, *rest = params
    return [{"params": [first], "weight_decay": 0.05}, {"params": rest, "lr": 0.3}]


def test_it_is_sgd_bit_for_bit_before_and_after_the_trigger() -> None:
    run = Run(lambda params: rd.NTASGD(groups(params), 0.1, weight_decay=0.01))
    sgd = Run(lambda params: torch.optim.SGD(groups(params), 0.1, weight_decay=0.01))
    for i in range(40):
        for each in (run, sgd):
            each.opt.param_groups[0]["lr"] = 0.1 * (1 + i % 3)
            each.step(i)
        if i == 20:
            run.opt.start_averaging()
    assert equal(run.weights(), sgd.weights())


@pytest.mark.parametrize(("average_from", "first"), [("first", 0), ("second", 1)])
def test_average_is_the_mean_of_the_later_iterates(average_from: str, first: int) -> None:
    run = Run(ours(n=1, average_from=average_from))
    for i, loss in enumerate([5.0, 4.0, 4.5, 4.6]):
        run.step(i)
        assert run.opt.report(loss) == (i == 3)
    after = len(run.iterates)
    for i in range(50):
        run.step(after + i)
        stored = run.iterates[after + first :] or run.iterates[-1:]
        for k, mean in enumerate(averages(run)):
            expected = torch.stack([w[k] for w in stored]).mean(0)
            torch.testing.assert_close(mean, expected, rtol=0, atol=1e-15)


def test_from_the_second_step_it_is_torchs_asgd_at_a_constant_rate() -> None:
    # torch's keeps the rate in float32, which 1/8 has exactly, and the weight 1/k of the mean too
    run = Run(lambda params: rd.NTASGD(params, 0.125, weight_decay=0.01, average_from="second"))
    other = Run(lambda params: torch.optim.ASGD(params, 0.125, lambd=0.0, t0=0, weight_decay=0.01))
    run.opt.start_averaging()
    for i in range(30):
        run.step(i)
        other.step(i)
        means = [other.opt.state[p]["ax"] for p in other.model.parameters()]
        for found, expected in zip(averages(run), means, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=3e-9)
        assert equal(run.weights(), other.weights())


def test_a_rescaled_rate_acts_in_the_step_it_was_set_for() -> None:
    run = Run(ours(weight_decay=0.0))
    run.opt.start_averaging()
    for i, factor in enumerate([1.0, 0.5, 1.25]):
        run.opt.zero_grad()
        run.model(run.data[i : i + 1]).sum().backward()
        before, gradients = run.weights(), [p.grad.clone() for p in run.model.parameters()]
        with rd.optim.rescaled_lr(run.opt, factor):
            run.opt.step()
        for w, old, g in zip(run.weights(), before, gradients, strict=True):
            torch.testing.assert_close(w, old - 0.1 * factor * g, rtol=0, atol=1e-15)


def test_before_the_trigger_nothing_is_swapped() -> None:
    run = Run(ours())
    run.step(0)
    assert equal(averages(run), run.weights())
    run.opt.start_averaging()
    assert equal(averages(run), run.weights())


def test_raw_weights_are_back_also_after_an_error() -> None:
    run = Run(ours())
    run.opt.start_averaging()
    for i in range(5):
        run.step(i)
    raw = run.weights()
    seen = []

    def validate() -> None:
        with run.opt.averaged():
            for _ in range(2):
                with run.opt.averaged():
                    seen.append(run.weights())
                seen.append(run.weights())
            raise KeyError

    with pytest.raises(KeyError):
        validate()
    assert equal(run.weights(), raw)
    assert not equal(seen[0], raw)
    assert all(equal(weights, seen[0]) for weights in seen)
    run.step(6)


def test_a_step_on_averaged_weights_is_refused() -> None:
    run = Run(ours())
    with run.opt.averaged(), pytest.raises(RuntimeError, match="steps on raw weights"):
        run.opt.step()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("stop", [10, 25, 32])
def test_a_resumed_run_goes_on_bit_for_bit(dtype: torch.dtype, stop: int) -> None:
    def make(params):
        return rd.NTASGD(groups(params), 0.1, n=2, weight_decay=0.01)

    def go(run: Run, start: int, end: int) -> None:
        for i in range(start, end):
            run.step(i)
            if i % 5 == 4:
                run.opt.report([5.0, 4.0, 4.1, 4.2, 4.3, 4.2, 4.1, 4.0][i // 5])

    whole = Run(make, dtype)
    go(whole, 0, 40)
    assert whole.opt.averaging

    part = Run(make, dtype)
    go(part, 0, stop)
    file = io.BytesIO()
    torch.save({"model": part.model.state_dict(), "opt": part.opt.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    kept = copy.deepcopy(saved["opt"])
    resumed = Run(make, dtype)
    resumed.model.load_state_dict(saved["model"])
    resumed.opt.load_state_dict(saved["opt"])
    go(resumed, stop, 40)
    assert equal(resumed.weights(), whole.weights())
    assert equal(averages(resumed), averages(whole))
    assert resumed.opt.history == whole.opt.history
    for mine, theirs in zip(resumed.opt.state.values(), whole.opt.state.values(), strict=True):
        assert torch.equal(mine["mean"], theirs["mean"])
        assert mine["mean"].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for state, before in zip(saved["opt"]["state"].values(), kept["state"].values(), strict=True):
        assert torch.equal(state["mean"], before["mean"])


@pytest.mark.parametrize("through", [copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))])  # noqa: S301
def test_copies_go_on_alone(through) -> None:
    run = Run(ours(n=1))
    run.opt.start_averaging()
    run.opt.report(3.0)
    run.step(0)
    other = through((run.model, run.opt))
    run.step(1)
    model, opt = other
    assert opt.history == [3.0]
    assert (opt.n, opt.averaging, opt.average_from) == (1, True, "first")
    opt.zero_grad()
    model(run.data[1:2]).sub(1).pow(2).mean().backward()
    opt.step()
    with opt.averaged():
        assert equal([p.detach() for p in model.parameters()], averages(run))


def test_a_later_report_that_fires_leaves_the_average_alone() -> None:
    run = Run(ours(n=0))
    assert [run.opt.report(1.0), run.opt.report(2.0)] == [False, True]
    run.step(0)
    run.step(1)
    mean = averages(run)
    assert run.opt.report(3.0)
    assert equal(averages(run), mean)
    run.opt.start_averaging()
    assert equal(averages(run), run.weights())


def test_closure_and_scheduler() -> None:
    w = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    opt = rd.NTASGD([w], 0.5)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.5)

    def closure() -> torch.Tensor:
        opt.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return loss

    assert [opt.step(closure).item(), w.item()] == [4.0, 0.0]
    schedule.step()
    w.data.fill_(2.0)
    opt.step(closure)
    assert w.item() == 1.0


def test_a_parameter_without_gradient_stays_and_counts() -> None:
    w = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    opt = rd.NTASGD([w], 1.0)
    opt.start_averaging()
    for gradient in (1.0, 3.0, None, None):
        w.grad = None if gradient is None else torch.tensor([gradient], dtype=torch.float64)
        opt.step()
    assert w.item() == -2.0
    with opt.averaged():
        assert w.item() == (1.0 - 2.0 - 2.0 - 2.0) / 4


def test_a_group_added_late_has_an_average_of_its_own() -> None:
    run = Run(ours())
    run.opt.start_averaging()
    run.step(0)
    late = nn.Parameter(torch.zeros(1))
    run.opt.add_param_group({"params": [late]})
    late.grad = torch.full((1,), -1.0)
    run.opt.step()
    with run.opt.averaged():
        torch.testing.assert_close(late.detach(), torch.tensor([0.1]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr of NTASGD must be a number of 0 or more; got -1.0"),
        ({"lr": float("nan")}, "lr of NTASGD"),
        ({"weight_decay": -0.1}, "weight_decay of NTASGD"),
        ({"n": -1}, "n of NTASGD must be a whole number"),
        ({"n": True}, "n of NTASGD"),
        ({"average_from": "third"}, "average_from of NTASGD must be 'first' or 'second'; got 'third'"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rd.NTASGD(nn.Linear(1, 1).parameters(), **{"lr": 1.0, **options})


def test_nan_and_foreign_states_are_refused() -> None:
    run = Run(ours())
    with pytest.raises(ValueError, match="validation loss must be a number; got nan"):
        run.opt.report(float("nan"))
    sgd = torch.optim.SGD(run.model.parameters(), 0.1)
    with pytest.raises(ValueError, match="part named ntasgd"):
        run.opt.load_state_dict(sgd.state_dict())
