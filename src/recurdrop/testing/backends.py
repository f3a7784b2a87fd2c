"""The conformance suite of a backend: every site, alone and together, in every sharing, against the reference."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import torch
from torch import Tensor

from recurdrop.ops.contract import CELL, Call, Mode, Problem, Result, Weights
from recurdrop.ops.dispatch import BACKENDS
from recurdrop.sites import GATES, SITES, Masks
from recurdrop.testing.compare import agree

MODES: tuple[Mode, ...] = ("LSTM", "GRU", "RNN_TANH", "RNN_RELU")
SHARINGS = {
    "fresh": (),
    "over time": ("time",),
    "over the batch": ("batch",),
    "over units": ("unit", "column"),
    "over all": ("time", "batch", "unit", "row", "column"),
}


class BackendConformance:
    """What every backend must hold to; set `backend` to its name in `ops.dispatch.BACKENDS`.

    Attributes:
        backend: the name.
        tolerance: relative error against the reference in float64.
        sizes: (T, B, I, H, projected width), each odd or prime.
    """

    backend: ClassVar[str]
    tolerance: ClassVar[float] = 1e-12
    sizes: ClassVar[tuple[tuple[int, int, int, int, int], ...]] = ((5, 3, 7, 5, 3), (1, 1, 1, 1, 0), (2, 7, 3, 17, 11))

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run each test on the modes and sharings that it asks for."""
        if "mode" in metafunc.fixturenames:
            metafunc.parametrize("mode", MODES)
        if "sharing" in metafunc.fixturenames:
            metafunc.parametrize("sharing", SHARINGS)
        if "size" in metafunc.fixturenames:
            metafunc.parametrize("size", self.sizes, ids=str)

    def test_every_site_alone(self, mode: Mode, sharing: str, size: tuple[int, ...]) -> None:
        """With bits, with numbers, and, where a site has gates, with one mask a gate."""
        ran = 0
        size = size if mode == "LSTM" else (*size[:4], 0)
        for site in SITES:
            if CELL[mode] in SITES[site].cells:
                for gated, numbers in itertools.product((False, True), repeat=2):
                    if not gated or "gate" in SITES[site].axes:
                        masks = Masks(**{site: mask(site, mode, size, SHARINGS[sharing], gated, numbers)})
                        ran += self.compare(problem(mode, size, masks))
        if ran == 0:
            raise AssertionError("the backend ran none of the sites")

    def test_all_sites_together(self, mode: Mode, size: tuple[int, ...]) -> None:
        """In both directions, with and without lengths, biases and a projection."""
        for reverse, ragged, bias, projected, gated in itertools.product((False, True), repeat=5):
            if projected and (mode != "LSTM" or not size[4]):
                continue
            sites = [s for s in SITES if CELL[mode] in SITES[s].cells]
            width = size if projected else (*size[:4], 0)
            masks = Masks(**{s: mask(s, mode, width, (), gated and "gate" in SITES[s].axes, False) for s in sites})
            self.compare(problem(mode, width, masks, reverse=reverse, ragged=ragged, bias=bias))
            self.compare(problem(mode, width, Masks(), reverse=reverse, ragged=ragged, bias=bias))

    def compare(self, call: Call) -> bool:
        """Compare outputs, states and gradients with the reference; False if the backend refuses the problem."""
        if BACKENDS[self.backend].supports(Problem.of(call)) is not None:
            return False
        found = gradients(call, BACKENDS[self.backend].run)
        expected = gradients(call, BACKENDS["reference"].run)
        agree(
            {k: v for k, v in found.items() if k in expected},
            {k: v for k, v in expected.items() if k in found},
            self.tolerance,
        )
        missing = expected.keys() - found.keys() - {"c", "gradient at c"}
        if missing:
            raise AssertionError(f"the backend gives no {missing}")
        return True


def problem(
    mode: Mode, size: tuple[int, ...], masks: Masks, *, reverse: bool = False, ragged: bool = False, bias: bool = True
) -> Call:
    """Make a call with random weights, inputs and states in float64; what lies past a length is NaN-free but wild."""
    time, batch, width, hidden, projected = size
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    gates, state = GATES[CELL[mode]], projected or hidden
    weights = Weights(
        normal(gates * hidden, width),
        normal(gates * hidden, state),
        normal(gates * hidden) if bias else None,
        normal(gates * hidden) if bias else None,
        normal(projected, hidden) if projected else None,
    )
    lengths = torch.randint(0, time + 1, (batch,), generator=generator) if ragged else None
    c0 = normal(batch, hidden) if mode == "LSTM" else None
    return Call(mode, normal(time, batch, width), normal(batch, state), c0, weights, masks, lengths, reverse)


def mask(site: str, mode: Mode, size: tuple[int, ...], shared: tuple[str, ...], gated: bool, numbers: bool) -> Tensor:
    """Make a mask for a site: bits, or numbers in [0, 1]."""
    time, batch, width, hidden, projected = size
    gates, state = GATES[CELL[mode]], projected or hidden
    unit = {"input": width, "recurrent": state, "zone_h": state, "output": state}.get(site, hidden)
    lengths = {"time": time, "batch": batch, "gate": gates, "unit": unit, "row": gates * hidden}
    lengths["column"] = width if site == "weight_ih" else state
    if site == "state":
        shape = [batch, 1]
    elif site == "detach":
        shape = [1 if "time" in shared else time, 1, 1]
    else:
        axes = [
            a for a in SITES[site].axes if (a != "gate" or gated) and (SITES[site].operation, a) != ("affine", "batch")
        ]
        shape = [1 if a in shared else lengths[a] for a in axes]
    generator = torch.Generator().manual_seed(SITES[site].code + 1)
    values = torch.rand(shape, generator=generator, dtype=torch.float64)
    if numbers:
        return values
    return values < 0.4 if SITES[site].operation == "keep old" else (values < 0.6).double() / 0.6


def gradients(call: Call, run: Any) -> dict[str, Tensor]:
    """Run a call and return outputs, states and the gradients of all its tensors under random output gradients."""
    result: Result = run(call)
    named = {n: v for n, v in result._asdict().items() if v is not None}
    generator = torch.Generator().manual_seed(5)
    total = torch.zeros((), dtype=torch.float64)
    for name in ("y", "h_n", "c_n"):
        if name in named:
            weight = torch.randn(named[name].shape, generator=generator, dtype=torch.float64)
            total = total + (named[name] * weight).sum()
    leaves = {"x": call.x, "h0": call.h0, "c0": call.c0, **call.weights._asdict()}
    leaves = {n: v for n, v in leaves.items() if v is not None}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    outcome = {n: v.detach() for n, v in named.items()}
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        outcome[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return outcome
