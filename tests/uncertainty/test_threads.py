"""A served model: several threads predict with one model, with noise and without, and see nothing of each other."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recurdrop as rd
from recurdrop.uncertainty.thread_modes import thread_modes


class Served(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.locked = rd.nn.LockedDropout(0.3)
        self.rnn = rd.GRU(4, 6, noise=[rd.Zoneout(h=0.2), rd.Variational(recurrent=0.3)])
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(self.locked(self.norm(x.flatten(0, 1)).view_as(x)))
        return self.out(y)


X = torch.linspace(-1, 1, 5 * 3 * 4).view(5, 3, 4)
THREADS, CALLS = 8, 200


def predicted(model: nn.Module, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return rd.mc_predict(model, X, samples=4, keep=False, generator=generator).mean


def test_eight_threads_get_what_calls_one_after_another_get() -> None:
    model = Served().eval()
    parts = list(model.modules())
    before = [(type(module), dict(module._forward_pre_hooks), module.training) for module in parts]
    expected = {seed: predicted(model, seed) for seed in range(20)}
    with torch.no_grad():
        plain = model(X)
    start = threading.Barrier(THREADS)

    def work(thread: int) -> list[str]:
        start.wait()
        wrong = []
        for call in range(CALLS):
            if (thread + call) % 2:
                seed = (7 * thread + call) % 20
                right = torch.equal(predicted(model, seed), expected[seed])
            else:
                with torch.no_grad():
                    right = torch.equal(model(X), plain) and not model.training
            if not right:
                wrong.append(f"thread {thread}, call {call}")
        return wrong

    with ThreadPoolExecutor(THREADS) as pool:
        wrong = [each for found in pool.map(work, range(THREADS)) for each in found]
    assert not wrong
    assert [(type(m), dict(m._forward_pre_hooks), m.training) for m in parts] == before
    assert not any("training" in vars(type(module)) for module in parts)


def in_thread(act: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act).result()


def test_other_threads_see_the_modes_that_the_model_has() -> None:
    model = Served().eval()
    model.norm.train()
    with rd.mc_dropout(model):
        assert (model.rnn.training, model.norm.training) == (True, False)
        assert in_thread(lambda: (model.rnn.training, model.norm.training)) == (False, True)
        in_thread(model.train)  # another thread may change the flags
        model.eval()  # this thread's modes stay, as trainers put models into evaluation mode before they predict
        assert (model.rnn.training, model.norm.training) == (True, False)
    assert all(module.training for module in model.modules())


def test_held_masks_are_of_the_thread_that_holds_them() -> None:
    model = Served().train()
    model.norm.eval()
    with rd.hold_masks(model):
        first = model(X)
        other = in_thread(lambda: model(X))
        assert torch.equal(model(X), first)
    assert not torch.equal(other, first)


def test_two_threads_may_run_two_passes_of_one_model() -> None:
    model = Served().train()
    model.norm.eval()

    def work(_: int) -> bool:
        return all(torch.equal(*rd.two_passes(model, X, share=model)) for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_copies_and_pickles_made_meanwhile_are_of_the_model_itself() -> None:
    model = Served().eval()
    with rd.mc_dropout(model):
        made = [copy.deepcopy(model), pickle.loads(pickle.dumps(model.out))]  # noqa: S301
    for part in (*made[0].modules(), made[1]):
        assert "training" not in vars(type(part))
        assert not part.training


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_torch_compiled_has_its_flags_set_and_set_back() -> None:
    scripted = torch.jit.script(nn.Dropout(0.5)).eval()
    model = nn.Sequential(scripted, nn.Linear(4, 4)).eval()
    with thread_modes({module: module is scripted for module in model.modules()}):
        assert scripted.training
    assert not scripted.training
    torch._dynamo.reset()
    compiled = torch.compile(nn.Sequential(rd.GRU(4, 4, noise=rd.Zoneout(h=0.5)), nn.Identity()), backend="eager")
    x = torch.ones(3, 2, 4)
    quiet = compiled.eval()(x)[0]
    with rd.mc_dropout(compiled):
        assert not torch.equal(compiled(x)[0], quiet)
    assert torch.equal(compiled(x)[0], quiet)
