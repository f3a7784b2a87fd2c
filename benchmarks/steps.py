"""Layers, batches and timed steps. A step returns its seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import recurdrop as rd
from benchmarks.cases import Case, Noise
from recurdrop.ops.dispatch import backends

Step = Callable[[], float]
Batch = Tensor | PackedSequence


def fastest() -> str:
    """Return our fastest backend that can run noise inside the loop, to force it where "auto" would take torch's."""
    there = [name for name, missing in backends() if missing is None]
    return "native" if "native" in there else "eager"


def ours(case: Case, noise: Noise = None, backend: str = "auto", dtype: torch.dtype = torch.float32) -> Any:
    """Make our layer; equal cases get equal weights."""
    torch.manual_seed(0)
    return getattr(rd, case.cell)(case.input, case.hidden, noise=noise, backend=backend, dtype=dtype)


def plain(case: Case) -> nn.Module:
    """Make the layer of torch.nn."""
    torch.manual_seed(0)
    layer: nn.Module = getattr(nn, case.cell)(case.input, case.hidden)
    return layer


def batch(case: Case, *, packed: bool = False, dtype: torch.dtype = torch.float32) -> Batch:
    """Make an input; packed, its lengths are uniform in [1, T], unsorted, and the longest is T."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(case.time, case.batch, case.input, generator=generator, dtype=dtype)
    if not packed:
        return x
    lengths = torch.randint(1, case.time + 1, (case.batch,), generator=generator)
    lengths[case.batch // 2] = case.time
    return pack_padded_sequence(x, lengths, enforce_sorted=False)


def training(case: Case, layer: nn.Module, x: Batch, masks: Sequence[rd.Masks] | None = None) -> Step:
    """Forward, and the gradients of every parameter and of the input from random ones at the output."""
    options = {} if masks is None else {"masks": masks}
    data = _data(x).detach().requires_grad_()
    given = x._replace(data=data) if isinstance(x, PackedSequence) else data
    leaves = [data, *layer.parameters()]
    gradient = torch.randn(*data.shape[:-1], case.hidden, generator=torch.Generator().manual_seed(2))

    def step() -> float:
        start = time.perf_counter()
        torch.autograd.grad(_data(layer(given, **options)[0]), leaves, gradient)
        return time.perf_counter() - start

    return step


def evaluation(layer: nn.Module, x: Batch) -> Step:
    """Forward in evaluation mode, without gradients."""
    layer.eval()

    def step() -> float:
        start = time.perf_counter()
        with torch.no_grad():
            layer(x)
        return time.perf_counter() - start

    return step


def _data(y: Batch) -> Tensor:
    return y.data if isinstance(y, PackedSequence) else y
