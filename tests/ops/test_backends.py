"""Every backend against the reference, at every site."""

from __future__ import annotations

import pytest
import torch

from recurdrop.errors import BackendError
from recurdrop.ops import eager, native, reference, torch_nn
from recurdrop.ops.contract import Problem
from recurdrop.ops.dispatch import BACKENDS, backends, choose, run
from recurdrop.ops.native import recompute
from recurdrop.sites import SITES, Masks
from recurdrop.testing import BackendConformance
from recurdrop.testing.backends import MODES, gradients, mask, problem
from recurdrop.testing.compare import agree, error


class TestEager(BackendConformance):
    backend = "eager"


@pytest.mark.skipif(native.missing() is not None, reason=f"no native backend: {native.missing()}")
class TestNative(BackendConformance):
    backend = "native"


@pytest.mark.skipif(native.missing() is not None, reason=f"no native backend: {native.missing()}")
class TestRecompute(BackendConformance):
    backend = "recompute"


class TestTorch(BackendConformance):
    backend = "torch"


def facts(**changes: object) -> Problem:
    given = {"mode": "LSTM", "dtype": torch.float32, "device": "cpu", "in_loop": (), "gated_input": False}
    return Problem(**{**given, "per_example": False, "ragged": False, "steps": False, **changes})


def test_auto_takes_the_first_that_can_and_keeps_the_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "supports", lambda problem: "not here")
    assert choose(facts()).name == "torch"
    noisy = choose(facts(in_loop=("recurrent", "zone_h")))
    assert noisy.name == "eager"
    assert noisy.refused == (
        ("native", "not here"),
        ("torch", "torch's kernels have no place for noise at recurrent, zone_h, inside the time loop"),
    )
    everything = choose(facts(per_example=True, gated_input=True))
    assert everything.name == "reference"
    assert [name for name, _ in everything.refused] == ["native", "torch", "eager"]


@pytest.mark.skipif(native.missing() is not None, reason=f"no native backend: {native.missing()}")
def test_auto_prefers_the_compiled_kernels() -> None:
    assert choose(facts()).name == choose(facts(in_loop=("cell",), ragged=True, steps=True)).name == "native"
    assert choose(facts(device="cuda")).refused[0] == (
        "native",
        "the compiled kernels run on the CPU, and the input is on cuda",
    )
    assert choose(facts(dtype=torch.bfloat16)).name == "torch"
    assert choose(facts(dtype=torch.bfloat16, in_loop=("cell",))).name == "native"


@pytest.mark.parametrize(
    ("wanted", "fact", "reason"),
    [
        ("torch", {"in_loop": ("cell",)}, "noise at cell"),
        ("torch", {"gated_input": True}, "one input for all gates"),
        ("torch", {"per_example": True}, "one matrix for all examples"),
        ("torch", {"steps": True}, "c of every step"),
        ("eager", {"per_example": True}, "one matrix for all examples"),
    ],
)
def test_a_forced_backend_that_cannot_says_why(wanted: str, fact: dict, reason: str) -> None:
    with pytest.raises(BackendError, match=rf'backend="{wanted}" can\'t run this: .*{reason}'):
        choose(facts(**fact), wanted)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match="backend must be 'auto' or one of 'native', 'torch', 'eager', 'reference', 'recompute'; got 'cuda'",
    ):
        choose(facts(), "cuda")


def test_every_backend_is_listed() -> None:
    assert [name for name, _ in backends()] == list(BACKENDS)
    assert set(BACKENDS.values()) == {native, torch_nn, eager, reference, recompute}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_accumulate_in_float32(mode: str, dtype: torch.dtype) -> None:
    """The error is that of rounding inputs and outputs once, not of a loop in the narrow type."""
    sites = [s for s in SITES if mode in SITES[s].cells or (mode[:3] == "RNN" and "RNN" in SITES[s].cells)]
    size = (6, 3, 4, 5, 0)
    masks = Masks(**{s: mask(s, mode, size, (), False, False) for s in sites if s not in ("detach",)})
    exact = problem(mode, size, masks)

    def cast(value: object, to: torch.dtype) -> object:
        if isinstance(value, torch.Tensor):
            return value.detach().to(to) if value.is_floating_point() else value
        if isinstance(value, tuple):
            parts = [cast(part, to) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        return value

    rounded = cast(exact, dtype)
    for name in ("eager", "reference"):
        found = run(rounded, name)
        expected = BACKENDS["reference"].run(cast(rounded, torch.float64))
        assert found.y.dtype == found.h_n.dtype == dtype
        assert error(found.y, expected.y) < torch.finfo(dtype).eps / 2


def test_uninitialised_memory_reaches_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every buffer that the loops take is filled with NaN first."""
    empty, empty_like, new_empty = torch.empty, torch.empty_like, torch.Tensor.new_empty

    def poisoned(made: torch.Tensor) -> torch.Tensor:
        return made.fill_(float("nan")) if made.is_floating_point() else made

    size = (5, 3, 7, 5, 3)
    for mode in MODES:
        width = size if mode == "LSTM" else (*size[:4], 0)
        cell = mode[:3] if mode.startswith("RNN") else mode
        sites = [s for s in SITES if cell in SITES[s].cells]
        call = problem(mode, width, Masks(**{s: mask(s, mode, width, (), False, False) for s in sites}), ragged=True)
        expected = gradients(call, reference.run)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty", lambda *a, **k: poisoned(empty(*a, **k)))
            patch.setattr(torch, "empty_like", lambda *a, **k: poisoned(empty_like(*a, **k)))
            patch.setattr(torch.Tensor, "new_empty", lambda *a, **k: poisoned(new_empty(*a, **k)))
            found = gradients(call, eager.run)
        agree(found, expected, 1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_the_reference_is_differentiable_twice(mode: str) -> None:
    size = (2, 2, 2, 2, 1) if mode == "LSTM" else (2, 2, 2, 2, 0)
    sites = [s for s in SITES if (mode[:3] if mode[:3] == "RNN" else mode) in SITES[s].cells and s != "detach"]
    call = problem(mode, size, Masks(**{s: mask(s, mode, size, (), False, True) for s in sites}))
    if mode == "RNN_RELU":
        call = call._replace(x=call.x.detach().abs().add(5).requires_grad_())

    def y(x: torch.Tensor, w_hh: torch.Tensor) -> torch.Tensor:
        return reference.run(call._replace(x=x, weights=call.weights._replace(w_hh=w_hh))).y

    leaves = (call.x, call.weights.w_hh)
    assert torch.autograd.gradcheck(y, leaves)
    assert torch.autograd.gradgradcheck(y, leaves)


def test_a_second_derivative_of_the_eager_loop_is_refused_with_the_remedy() -> None:
    call = problem("GRU", (3, 2, 2, 2, 0), Masks())
    (first,) = torch.autograd.grad(eager.run(call).y.sum(), call.x, create_graph=True)
    with pytest.raises(BackendError, match=r'differentiable once.*backend="reference"'):
        first.square().sum().backward()


@pytest.mark.parametrize("mode", MODES)
def test_products_with_packed_matrices(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are used for large matrices, and err no more than twice what the plain product errs, in float32."""
    size = (8, 5, 3, 400 if mode.startswith("RNN") else 230, 0)
    masks = Masks(recurrent=mask("recurrent", mode, size, (), False, False))
    wide = problem(mode, size, masks)
    scaled = wide.weights._replace(w_hh=(wide.weights.w_hh.detach() / 30).requires_grad_())
    exact = gradients(wide._replace(weights=scaled), reference.run)

    def narrow(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return value.detach().float().requires_grad_(value.requires_grad)
        return type(value)(*(narrow(v) for v in value)) if isinstance(value, tuple) else value

    call = narrow(wide._replace(weights=scaled))
    packed = gradients(call, eager.run)
    monkeypatch.setattr("recurdrop.ops.product.pack", lambda *a: None)
    plain = gradients(call, eager.run)
    for name, expected in exact.items():
        assert error(packed[name], expected) <= 2 * error(plain[name], expected) + 1e-7, name
    differs = any(not torch.equal(packed[name], plain[name]) for name in exact)
    assert differs == torch.backends.mkldnn.is_available()
