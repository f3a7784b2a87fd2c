from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from recurdrop.train import random_state
from recurdrop.train.checkpoint import read_checkpoint, write_checkpoint


def draws() -> list[float]:
    """A few of each generator; an odd number of normals leaves one in store."""
    mine = [*torch.rand(3).tolist(), *torch.randn(1).tolist()]
    numpys = [*np.random.random(2), *np.random.standard_normal(3)]
    return [*mine, *map(float, numpys), random.random(), random.gauss(0, 1)]  # noqa: S311


def test_what_is_captured_comes_again_also_from_a_file(tmp_path: Path) -> None:
    random.seed(3)
    np.random.seed(4)
    draws()
    state = random_state.capture()
    write_checkpoint(tmp_path / "state", state)
    first = draws()
    second = draws()
    assert first != second
    for back in (state, read_checkpoint(tmp_path / "state")):
        random_state.restore(back)
        assert draws() == first
        assert draws() == second


@pytest.mark.parametrize("generator", ["torch", "numpy", "python"])
def test_each_generator_is_restored(generator: str) -> None:
    draw = {"torch": lambda: float(torch.rand(1)), "numpy": np.random.random, "python": random.random}[generator]
    state = random_state.capture()
    first = draw()
    assert draw() != first
    random_state.restore(state)
    assert draw() == first


def test_what_was_captured_does_not_change_with_later_draws() -> None:
    state = random_state.capture()
    words = state["numpy"][0].clone(), state["torch"].clone(), list(state["python"][1])
    for _ in range(400):
        draws()
    assert torch.equal(state["numpy"][0], words[0])
    assert torch.equal(state["torch"], words[1])
    assert state["python"][1] == words[2]


def test_random_states_are_put_back_also_after_an_error() -> None:
    before = random_state.capture()
    expected = draws()
    random_state.restore(before)
    with pytest.raises(KeyError), random_state.put_back():  # noqa: PT012
        torch.manual_seed(9)
        np.random.seed(9)
        random.seed(9)
        raise KeyError
    assert draws() == expected
