"""The benchmarks' own logic: the gate, the peers and the verdicts. No test here looks at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from benchmarks import cases, timing, verify
from benchmarks.cases import Case, Target
from benchmarks.peer_layers import CellLoop, DroppedMatrix
from benchmarks.rows import Row
from benchmarks.steps import batch, plain, training
from benchmarks.table import as_json, count

import recurdrop as rd
from recurdrop.ops import eager

TINY = {cell: Case(cell, 3, 5, 4, 6) for cell in ("LSTM", "GRU", "RNN")}


def test_every_target_has_its_case() -> None:
    assert set(cases.PADDED) == set(cases.CASES)
    assert set(cases.PACKED) < set(cases.CASES)
    assert all(cases.CASES[name].hidden >= 256 for name in cases.RATE_CASES)
    for cell in TINY:
        assert next(iter(cases.in_loop(cell))) == cases.MAIN


def test_what_is_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = eager.run
    noise = cases.in_loop("LSTM")[cases.MAIN]
    assert verify.wrong.__wrapped__(TINY["LSTM"], noise, backend="eager", packed=True) == ""
    monkeypatch.setattr(eager, "run", lambda call: right(call._replace(x=call.x * 1.001)))
    assert "output" in verify.wrong.__wrapped__(TINY["LSTM"], noise, backend="eager")
    assert "output" in verify.wrong_with(TINY["LSTM"], (rd.Masks(),), "eager")


def test_large_masks_of_single_gates_are_checked_on_fewer_steps() -> None:
    large = cases.CASES["lstm-1150"]
    untied, tied = (cases.in_loop("LSTM")[name] for name in ("keras", cases.MAIN))
    assert verify.feasible(large, untied).time == 3
    assert verify.feasible(large, tied) == large


@pytest.mark.parametrize("cell", TINY)
def test_peers_without_noise_are_torch(cell: str) -> None:
    case, x = TINY[cell], batch(TINY[cell])
    layer: Any = plain(case)
    loop, wrapper = CellLoop(case, 0.0), DroppedMatrix(case, 0.0)
    loop.cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    wrapper.raw.data.copy_(layer.weight_hh_l0)
    wrapper.inner.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "weight_hh_l0"})
    for peer in (loop, wrapper):
        torch.testing.assert_close(peer(x)[0], layer(x)[0])
        peer.p = 0.5
        assert not torch.equal(peer(x)[0], peer(x)[0])
        assert training(case, peer, x)() > 0


def test_candidates_take_turns() -> None:
    order: list[str] = []

    def candidate(name: str, seconds: list[float]) -> Any:
        def step() -> float:
            order.append(name)
            return seconds.pop(0)

        return step

    found = timing.alternate({"a": candidate("a", [9, 9, 3, 1, 2]), "b": candidate("b", [9, 9, 1, 1, 1])}, 3)
    assert order == ["a", "b"] * 5
    assert found == {"a": timing.Times(2, 1), "b": timing.Times(1, 1)}


def test_verdicts() -> None:
    low, high = Target(1.0, 1.25), Target(1.10, 1.03, most=True)
    rows = [Row("x", "", 0.996, low), Row("x", "", 0.99, low), Row("x", "", 1.1, high), Row("x", "", 1.2, high)]
    assert [row.holds for row in rows] == [True, False, True, False]
    assert Row("x", "", math.nan, low).holds is None
    assert Row("x", "", 2.0, low, wrong="output").holds is False
    assert count({"group": rows}) == "2 of 4 targets hold"
    assert as_json({}, {"group": [Row("x", "")]})["groups"]["group"][0]["value"] is None
