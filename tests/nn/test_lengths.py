"""lengths= for padded batches: torch's results example by example, whatever lies past an example's end."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from against_torch import (
    BATCH,
    HIDDEN,
    INPUT,
    OURS,
    PROJECTED,
    ROUNDING,
    TIME,
    UNSORTED,
    assert_same,
    gradients,
    numbers,
    twins,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import recurdrop as rd

CELLS = tuple(OURS)


def _one_by_one(layer: nn.RNNBase, x: Tensor, lengths: tuple[int, ...], states: list[Tensor]) -> dict[str, Tensor]:
    """Run torch's layer on each example without padding; x (T, B, F)."""
    outputs, finals = [], []
    for b, n in enumerate(lengths):
        start = [s[:, b] for s in states]
        if n == 0:
            width = (2 if layer.bidirectional else 1) * (layer.proj_size or layer.hidden_size)
            outputs.append(x.new_zeros(len(x), width))
            finals.append(start)
            continue
        y, state = layer(x[:n, b], tuple(start) if len(start) > 1 else start[0])
        outputs.append(nn.functional.pad(y, (0, 0, 0, len(x) - n)))
        finals.append(list(state) if isinstance(state, tuple) else [state])
    names = ("h_n", "c_n")
    final = {names[k]: torch.stack([f[k] for f in finals], 1) for k in range(len(states))}
    return {"y": torch.stack(outputs, 1)} | final


LENGTHS = [(5, 5, 5), UNSORTED, (5, 4, 2), (3, 0, 5), (0, 1, 0), (0, 0, 0), (2, 2, 2)]


@pytest.mark.parametrize("backend", ["auto", "eager", "reference"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "proj_size"), [("LSTM", 0), ("LSTM", PROJECTED), ("GRU", 0), ("RNN", 0)])
def test_lengths_equal_examples_run_one_by_one(cell: str, proj_size: int, bidirectional: bool, backend: str) -> None:
    extra: dict[str, Any] = {"bidirectional": bidirectional, "backend": backend, "dtype": torch.float64}
    theirs, ours = twins(cell, INPUT, HIDDEN, 2, **extra, **({"proj_size": proj_size} if proj_size else {}))
    for lengths, batch_first, poison in itertools.product(LENGTHS, (False, True), (torch.nan, torch.inf)):
        clean = numbers(TIME, BATCH, INPUT, seed=1).requires_grad_()
        rows = theirs.num_layers * (2 if bidirectional else 1)
        states = [numbers(rows, BATCH, theirs.proj_size or HIDDEN, seed=2).requires_grad_()]
        states += [numbers(rows, BATCH, HIDDEN, seed=3).requires_grad_()] if cell == "LSTM" else []
        outputs = _one_by_one(theirs, clean, lengths, states)
        expected = outputs | gradients(theirs, outputs, [clean, *states]) if any(lengths) else outputs
        for leaf in (clean, *states):
            leaf.grad = None

        past = torch.arange(TIME)[:, None] >= torch.tensor(lengths)
        x = clean.detach().clone()
        x[past] = poison
        x = (x.transpose(0, 1).contiguous() if batch_first else x).requires_grad_()
        ours.batch_first = batch_first
        y, state = ours(x, tuple(states) if len(states) > 1 else states[0], lengths=torch.tensor(lengths))
        y = y.transpose(0, 1) if batch_first else y
        found = {"y": y} | dict(zip(("h_n", "c_n"), state if isinstance(state, tuple) else (state,), strict=False))
        assert bool((y[past] == 0).all())
        if any(lengths):
            found |= gradients(ours, found, [x, *states])
            found["d_x"] = found["d_x"].transpose(0, 1) if batch_first else found["d_x"]
        assert_same(found, expected, ROUNDING)


@pytest.mark.parametrize("lengths", [UNSORTED, (5, 4, 2)])
@pytest.mark.parametrize("cell", CELLS)
def test_lengths_equal_packing(cell: str, lengths: tuple[int, ...]) -> None:
    theirs, ours = twins(cell, INPUT, HIDDEN, 2, bidirectional=True, batch_first=True, dtype=torch.float64)
    x = numbers(BATCH, TIME, INPUT, seed=1)
    y, state = theirs(pack_padded_sequence(x, torch.tensor(lengths), True, enforce_sorted=False))
    padded, _ = pad_packed_sequence(y, True)
    for given in (list(lengths), torch.tensor(lengths, dtype=torch.int32), np.array(lengths)):
        found, final = ours(x, lengths=given)
        assert_same({"y": found}, {"y": padded}, ROUNDING)
        both = [dict(enumerate(s if isinstance(s, tuple) else (s,))) for s in (final, state)]
        assert_same(*both, ROUNDING)


@pytest.mark.parametrize(
    ("lengths", "rule"),
    [
        ([5, 5], "one integer for each of the 3 examples"),
        ([5.0, 5.0, 5.0], "one integer for each of the 3 examples"),
        ([True, True, True], "one integer for each of the 3 examples"),
        ([[5, 5, 5]], "one integer for each of the 3 examples"),
        ([5, 5, 6], r"lengths must lie in \[0, 5\]; got \[5, 5, 6\]. Clip them"),
        ([5, -1, 5], r"lengths must lie in \[0, 5\]; got \[5, -1, 5\]"),
    ],
)
def test_bad_lengths_are_refused(lengths: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        rd.GRU(INPUT, HIDDEN)(numbers(TIME, BATCH, INPUT).float(), lengths=lengths)


def test_lengths_go_with_padded_batches_only() -> None:
    layer = rd.GRU(INPUT, HIDDEN, dtype=torch.float64)
    x = numbers(TIME, BATCH, INPUT)
    with pytest.raises(ValueError, match="lengths= goes with padded input"):
        layer(pack_padded_sequence(x, torch.tensor([5, 5, 5])), lengths=[5, 5, 5])
    with pytest.raises(ValueError, match="lengths= goes with a batch"):
        layer(x[:, 0], lengths=[5])
