"""The gate: what disagrees with the reference is not timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

import recurdrop as rd
from benchmarks.cases import Case, Noise
from benchmarks.steps import Batch, batch, ours
from recurdrop.testing import agree, outcome
from recurdrop.train.environment import one_thread

EXACT, ROUNDING = 1e-10, 1e-4
"""Relative errors allowed in float64 on a small batch, and in float32 on the batch that is timed."""


MOST_BYTES = 2**30
"""That the reference may take for matrices an example."""


def small(case: Case) -> Case:
    """Return the same layer with few examples and steps."""
    return replace(case, batch=3, time=5)


def feasible(case: Case, noise: Noise) -> Case:
    """Return the case, with fewer steps where gates have masks of their own.

    The reference then makes one matrix an example at every step, and keeps them all for its backward.
    """
    (masks,) = ours(replace(case, input=1, hidden=1), noise).sample_masks(1, 1)
    if not any(isinstance(mask, torch.Tensor) and mask.dim() == 4 for mask in masks):
        return case
    bytes_per_step = 4 * case.flops // (6 * case.time)
    return replace(case, time=min(case.time, max(3, MOST_BYTES // bytes_per_step)))


@cache
def wrong(case: Case, noise: Noise, *, backend: str = "auto", packed: bool = False) -> str:
    """Say how a training step differs from the reference's, or "" where it does not.

    Outputs, states and the gradients of parameters, input and initial states are compared, with the noise that both
    draw from one seed, as it is drawn when timed.
    """

    def run(layer: Any, x: Batch) -> dict[str, Tensor]:
        return outcome(layer, x)

    return _compare(run, case, noise, backend, packed)


@cache
def wrong_evaluation(case: Case, noise: Noise) -> str:
    """Say how an evaluation differs from the reference's, or "" where it does not."""

    def run(layer: Any, x: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"output": layer.eval()(x)[0]}

    return _compare(run, case, noise, "auto", packed=False)


def wrong_with(case: Case, masks: Sequence[rd.Masks], backend: str) -> str:
    """Say how a training step with these masks differs from the reference's, in float32, or "" where it does not."""
    x = batch(case)
    return _difference(lambda name: outcome(ours(case, None, name), x, masks=masks), backend, ROUNDING)


def _compare(
    run: Callable[[Any, Batch], dict[str, Tensor]], case: Case, noise: Noise, backend: str, packed: bool
) -> str:
    for sizes, dtype, tolerance in (
        (small(case), torch.float64, EXACT),
        (feasible(case, noise), torch.float32, ROUNDING),
    ):
        x = batch(sizes, packed=packed, dtype=dtype)
        layers = {name: ours(sizes, noise, name, dtype) for name in (backend, "reference")}
        found = _difference(lambda name, layers=layers, x=x: run(layers[name], x), backend, tolerance)  # type: ignore[misc]
        if found:
            return f"{dtype}: {found}"
    return ""


def _difference(run: Callable[[str], dict[str, Tensor]], backend: str, tolerance: float) -> str:
    found = run(backend)
    with (
        one_thread()
    ):  # spares its many small operations the barriers, which take far longer than they on a busy machine
        expected = run("reference")
    try:
        agree(found, expected, tolerance)
    except AssertionError as error:
        return str(error)
    return ""
