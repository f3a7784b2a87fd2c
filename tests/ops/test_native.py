"""The compiled kernels: every vector width, odd sizes, float32, threads, memory, and why they may not run."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import recurdrop as rd
from recurdrop import philox
from recurdrop.errors import BackendError
from recurdrop.ops import eager, native, reference
from recurdrop.ops.contract import CELL, Call, Mode
from recurdrop.ops.dispatch import backends, choose
from recurdrop.ops.native import library, operators, recompute
from recurdrop.ops.native.library import CoreCall
from recurdrop.sites import SITES, Masks
from recurdrop.testing.backends import MODES, gradients, mask, problem
from recurdrop.testing.compare import agree, error

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no native backend: {native.missing()}")

# T, B, I, H and the projected width.
SIZES = [(2, 1, 1, 1, 0), (101, 1, 5, 17, 3), (2, 7, 3, 50, 0), (1, 33, 5, 257, 0), (5, 33, 20, 257, 30)]


@pytest.fixture(params=library.vectors() or ["none"])
def width(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run with each vector width that this processor has."""
    before = library.vector()
    library.choose_vector(request.param)
    assert library.vector() == request.param
    yield request.param
    library.choose_vector(before or "")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def every_site(mode: Mode, size: tuple[int, ...], *, gated: bool = False, shared: tuple[str, ...] = ()) -> Masks:
    sites = [site for site in SITES if CELL[mode] in SITES[site].cells]
    return Masks(**{s: mask(s, mode, size, shared, gated and "gate" in SITES[s].axes, False) for s in sites})


def made(mode: Mode, size: tuple[int, ...], masks: Masks, **options: bool) -> Call:
    """A problem whose recurrence does not amplify rounding."""
    call = problem(mode, size, masks, **options)
    w_hh = (call.weights.w_hh.detach() / size[3] ** 0.5).requires_grad_()
    return call._replace(weights=call.weights._replace(w_hh=w_hh))


def narrow(value: object) -> object:
    """The same in float32."""
    if isinstance(value, torch.Tensor):
        return value.detach().float().requires_grad_(value.requires_grad) if value.is_floating_point() else value
    if isinstance(value, tuple):
        parts = [narrow(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def without_projection(mode: Mode, size: tuple[int, ...]) -> tuple[int, ...]:
    return size if mode == "LSTM" else (*size[:4], 0)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", [native, recompute], ids=["native", "recompute"])
def test_odd_sizes_in_float64(width: str, backend: object, mode: Mode, size: tuple[int, ...]) -> None:
    size = without_projection(mode, size)
    for reverse, ragged, gated in itertools.product((False, True), repeat=3):
        call = made(mode, size, every_site(mode, size, gated=gated), reverse=reverse, ragged=ragged)
        found, expected = gradients(call, backend.run), gradients(call, reference.run)
        agree({k: found[k] for k in expected}, expected, 1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_float32_errs_no_more_than_twice_what_pytorch_does(width: str, mode: Mode) -> None:
    size = (9, 17, 20, 130, 0)
    for masks in (Masks(), every_site(mode, size)):
        exact = made(mode, size, masks)
        expected = gradients(exact, reference.run)
        call = narrow(exact)
        plain, found = gradients(call, reference.run), gradients(call, native.run)
        for name, value in expected.items():
            assert error(found[name], value) <= 2 * error(plain[name], value) + 1e-7, name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(7, 33, 20, 97, 30), (9, 3, 40, 260, 50)], ids=["rows", "units"])
def test_any_number_of_threads(threads: None, mode: Mode, size: tuple[int, ...]) -> None:
    """The first size has its rows split over threads, the second its units; two runs give the same bits."""
    size = without_projection(mode, size)
    for ragged in (False, True):
        call = narrow(made(mode, size, every_site(mode, size), ragged=ragged))
        torch.set_num_threads(1)
        alone = gradients(call, native.run)
        for count in (2, 3, 5):
            torch.set_num_threads(count)
            first, second = gradients(call, native.run), gradients(call, native.run)
            agree(first, second, 0)
            agree(first, alone, 1e-5)


def test_uninitialised_memory_reaches_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """All memory that the kernels are given, scratch included, is full of NaN."""
    empty, empty_like, new_empty = torch.empty, torch.empty_like, torch.Tensor.new_empty

    def poisoned(value: torch.Tensor) -> torch.Tensor:
        return value.fill_(float("nan")) if value.is_floating_point() else value.fill_(0xFF)

    for mode, ragged, backend in itertools.product(MODES, (False, True), (native, recompute)):
        size = without_projection(mode, (13, 7, 5, 19, 3))
        call = made(mode, size, every_site(mode, size), ragged=ragged)
        expected = gradients(call, reference.run)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty", lambda *a, **k: poisoned(empty(*a, **k)))
            patch.setattr(torch, "empty_like", lambda *a, **k: poisoned(empty_like(*a, **k)))
            patch.setattr(torch.Tensor, "new_empty", lambda *a, **k: poisoned(new_empty(*a, **k)))
            found = gradients(call, backend.run)
        agree({k: found[k] for k in expected}, expected, 1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_past_an_end_reaches_no_result(mode: Mode) -> None:
    """NaN and infinity in padding, in the input and in incoming gradients."""
    size = (6, 5, 3, 4, 0)
    call = made(mode, size, every_site(mode, size), ragged=True)
    clean = gradients(call, native.run)
    past = torch.arange(6)[:, None] >= call.lengths
    assert past.any()
    x = call.x.detach().clone()
    x[past] = float("nan")
    dirty = gradients(call._replace(x=x.requires_grad_()), native.run)
    agree(dirty, clean, 0)


def test_backward_twice_and_without_some_gradients() -> None:
    call = made("LSTM", (5, 3, 4, 6, 0), Masks())
    y = native.run(call).y.sum()
    first = torch.autograd.grad(y, (call.x, call.weights.w_hh), retain_graph=True)
    second = torch.autograd.grad(y, (call.x, call.weights.w_hh))
    assert all(map(torch.equal, first, second))
    frozen = call._replace(x=call.x.detach(), weights=type(call.weights)(*(w.detach() for w in call.weights[:4])))
    (only,) = torch.autograd.grad(native.run(frozen).h_n.sum(), frozen.h0)
    expected = torch.autograd.grad(reference.run(frozen).h_n.sum(), frozen.h0)[0]
    assert error(only, expected) < 1e-14


@pytest.mark.parametrize("mode", MODES)
def test_higher_derivatives_are_those_of_the_reference(mode: Mode) -> None:
    size = without_projection(mode, (3, 2, 2, 2, 1))
    call = made(mode, size, every_site(mode, size), ragged=True)
    leaves = [p for p in (call.x, call.h0, call.c0, *call.weights) if p is not None]

    def penalty(run: Any) -> list[torch.Tensor]:
        found = run(call)
        loss = found.y.square().sum() + found.h_n.sum() + (0 if found.c_n is None else found.c_n.square().sum())
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        second = torch.autograd.grad(sum(part.square().sum() for part in first), leaves)
        return [part.detach() for part in (*first, *second)]

    for one, other in zip(penalty(native.run), penalty(reference.run), strict=True):
        assert error(one, other) < 1e-13


def test_a_higher_derivative_goes_each_way_once() -> None:
    """Also where the first state is made from the input."""
    call = made("GRU", (3, 2, 2, 2, 0), Masks())

    def second(run: Any) -> torch.Tensor:
        h0 = call.x[0] * 2
        (first,) = torch.autograd.grad(run(call._replace(h0=h0)).y.square().sum(), call.x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), call.x)[0]

    assert error(second(native.run), second(reference.run)) < 1e-13


@pytest.mark.parametrize("site", ["input", "recurrent", "candidate"])
def test_a_mask_that_asks_for_a_gradient_gets_it(site: str) -> None:
    """As learned rates do; the kernels, which give none, are passed over."""
    torch.manual_seed(0)
    layer = rd.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    rate = torch.full((1, 1, 3 if site == "input" else 4), 0.5, requires_grad=True)
    masks = Masks(**{site: rate})
    (found,) = torch.autograd.grad(layer(x, masks=masks)[0].square().sum(), rate)
    layer.backend = "reference"
    (expected,) = torch.autograd.grad(layer(x, masks=masks)[0].square().sum(), rate)
    assert error(found, expected) < 1e-5
    for backend in ("native", "eager")[: 2 - (site == "input")]:
        layer.backend = backend
        with pytest.raises(BackendError, match=f"no gradient to masks, and those at {site} ask for one"):
            layer(x, masks=masks)
        with torch.no_grad():
            layer(x, masks=masks)


def test_tensors_that_the_core_would_misread_are_refused() -> None:
    layer = rd.GRU(3, 4, noise=rd.Zoneout(h=0.5))
    x = torch.randn(5, 2, 3)
    with pytest.raises(RuntimeError, match=r"h0 must be torch.float32 on the CPU.*got torch.int64"):
        layer(x, torch.ones(1, 2, 4, dtype=torch.int64))
    with pytest.raises(RuntimeError, match=r"a mask must be on the CPU.*on meta"):
        layer(x, masks=Masks(recurrent=torch.ones(1, 1, 4, device="meta")))
    call = narrow(made("LSTM", (5, 3, 4, 6, 2), Masks()))
    assert isinstance(call, Call)
    w = call.weights
    for wrong in (
        call._replace(c0=None),
        call._replace(weights=w._replace(b_hh=None)),
        call._replace(weights=w._replace(w_hr=None)),
    ):
        with pytest.raises(RuntimeError, match="an LSTM has c0 and others have none, biases come in pairs"):
            native.run(wrong)
    with pytest.raises(RuntimeError, match=r"1 or more and below 2\*\*31; got 0 × 3"):
        native.run(call._replace(x=call.x[:0]))


def test_the_default_device_is_that_of_new_tensors_alone() -> None:
    layer = rd.GRU(3, 4, noise=[rd.Zoneout(h=0.5), rd.WeightNoise(0.1)])
    x = torch.nn.utils.rnn.pack_padded_sequence(torch.randn(5, 2, 3), [5, 3])

    def step() -> list[torch.Tensor]:
        torch.manual_seed(0)
        y, h = layer(x)
        return [y.data, h, *torch.autograd.grad(y.data.sum() + h.sum(), layer.parameters())]

    expected = step()
    with torch.device("meta"):
        found = step()
    assert all(map(torch.equal, found, expected))


def test_a_core_of_other_sources_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    class Longer(CoreCall):
        _fields_ = (("more", ctypes.c_int64),)

    monkeypatch.setattr(library, "CoreCall", Longer)
    core, why = library._open()
    assert core is None
    assert why is not None
    assert "was compiled from other sources; install recurdrop again" in why


def test_a_graph_of_gradients_that_are_not_there() -> None:
    call = made("LSTM", (1, 2, 3, 4, 2), Masks())
    frozen = [part.detach() for part in call.weights]
    call = call._replace(x=call.x.detach(), h0=call.h0.detach(), c0=call.c0.detach() if call.c0 is not None else None)
    call = call._replace(weights=type(call.weights)(*frozen)._replace(w_hr=call.weights.w_hr))
    (found,) = torch.autograd.grad(native.run(call).c_n.sum(), call.weights.w_hr, create_graph=True, allow_unused=True)
    assert found is None


@pytest.mark.parametrize("autocast", [False, True])
def test_a_graph_of_gradients_is_as_exact_as_the_kernels(autocast: bool) -> None:
    call = narrow(made("GRU", (5, 3, 4, 6, 0), Masks()))
    assert isinstance(call, Call)
    y = native.run(call).y.sum()
    expected = torch.autograd.grad(y, call.weights.w_hh, retain_graph=True)[0]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        (found,) = torch.autograd.grad(y, call.weights.w_hh, create_graph=True)
    assert error(found.detach(), expected) < 1e-6


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torch_func_runs_on_the_reference() -> None:
    layer = rd.GRU(3, 4, noise=rd.Zoneout(h=0.5), dtype=torch.float64)
    masks = layer.sample_masks(5, 2)
    x, along = torch.randn(2, 5, 2, 3, dtype=torch.float64).unbind()

    def loss(value: torch.Tensor) -> torch.Tensor:
        return layer(value, masks=masks)[0].square().sum()

    found = torch.func.grad(loss)(x)
    value = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(value), value)
    each = torch.func.vmap(torch.func.grad(loss))(torch.stack([x, along]))[0]
    for one in (found, each, torch.func.jacrev(loss)(x)):
        assert error(one.detach(), expected) < 1e-13
    assert error(torch.func.jvp(loss, (x,), (along,))[1].detach(), (expected * along).sum()) < 1e-12
    layer.backend = "native"
    with pytest.raises(BackendError, match=r"torch\.func.*backend=\"auto\""):
        torch.func.grad(loss)(x)


def test_the_operators_keep_the_rules_of_torch() -> None:
    """Schemas, fake tensors and autograd registration, also for what a compiler traces."""
    for mode, size in (("LSTM", (3, 2, 3, 4, 2)), ("GRU", (3, 2, 3, 4, 0))):
        call = made(mode, size, Masks())
        w = call.weights
        arguments = (mode, call.x, call.h0, call.c0, w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.w_hr, *[None] * 8, False, True)
        torch.library.opcheck(operators.layer, arguments, test_utils=("test_schema", "test_faketensor"))


def test_no_gates_are_kept_without_gradients() -> None:
    call = narrow(made("LSTM", (5, 3, 4, 6, 0), Masks()))
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        native.run(call)
        widths = [t.shape[-1] for t in kept if t.dim() == 3]
        kept.clear()
        recompute.run(call)
        assert 24 in widths
        assert 24 not in [t.shape[-1] for t in kept if t.dim() == 3]
    with torch.no_grad():
        agree({"y": native.run(call).y}, {"y": reference.run(call).y}, 1e-6)


def test_an_empty_batch() -> None:
    layer = rd.LSTM(3, 4, noise=rd.Zoneout())
    y, (h, c) = layer(torch.zeros(5, 0, 3))
    y.sum().backward()
    assert (y.shape, h.shape, c.shape) == ((5, 0, 4), (1, 0, 4), (1, 0, 4))
    assert all(p.grad is not None and not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1), (3, 5, 2, 7), (2, 3, 4, 64), (2, 1, 1, 129), (1, 1, 300, 1300)], ids=str
)
def test_compiled_random_bits_are_those_of_the_generator(width: str, threads: None, sizes: tuple[int, ...]) -> None:
    expected_of = philox.keep_bits_operator._init_fn
    for key, threshold, count in itertools.product((0, -1, 2**40 + 5), (0, 1, 2**31, 2**32), (1, 3)):
        torch.set_num_threads(count)
        key_tensor = torch.tensor(key)
        found = torch.ops.recurdrop.keep_bits(key_tensor, 5 | 3 << 8, list(sizes), threshold)
        expected = expected_of(key_tensor, 5 | 3 << 8, list(sizes), threshold)
        assert torch.equal(found, expected)
        for dtype in (torch.float32, torch.float64):
            scaled = philox.multipliers(key_tensor, 5 | 3 << 8, list(sizes), threshold, 1 / 0.7, dtype)
            assert torch.equal(scaled, expected.to(dtype).mul_(1 / 0.7))


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1), (3, 5, 2, 7), (2, 3, 4, 64), (2, 1, 1, 129), (1, 1, 300, 1300)], ids=str
)
def test_compiled_normal_numbers_are_those_of_the_generator(width: str, threads: None, sizes: tuple[int, ...]) -> None:
    """A float32 errs by at most 2.5, 3.3 and 1 times 2⁻²⁴ in radius, sine and their product, over all integers."""
    for key in (0, -1, 2**40 + 5):
        key_tensor = torch.tensor(key)
        expected = philox.normals_operator._init_fn(key_tensor, 5 | 3 << 8, list(sizes), torch.float64)
        for count in (1, 3):
            torch.set_num_threads(count)
            single, double = (
                torch.ops.recurdrop.normals(key_tensor, 5 | 3 << 8, list(sizes), dtype)
                for dtype in (torch.float32, torch.float64)
            )
            assert single.dtype == torch.float32
            assert ((single.double() - expected).abs() <= 7 * 2.0**-24 * expected.abs() + 1e-15).all()
            assert (double - expected).abs().max() <= 5e-15


def test_a_backend_that_is_missing_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MISSING", "there was no compiler")
    assert dict(backends())["native"] == "there was no compiler"
    facts = native_problem()
    assert choose(facts).name == "eager"
    with pytest.raises(BackendError, match=r'backend="native" can\'t run this: there was no compiler\. Use'):
        choose(facts, "native")


def native_problem() -> object:
    from recurdrop.ops.contract import Problem

    return Problem("LSTM", torch.float32, "cpu", ("cell",), False, False, False, False)


@pytest.mark.parametrize(("wanted", "said"), [("plain", "plain None"), ("sse9", "must be one of")])
def test_the_environment_chooses_the_vector_width(wanted: str, said: str) -> None:
    code = "from recurdrop.ops.native import library; print(library.vector(), library.MISSING)"
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, library.VECTOR: wanted}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout
    if wanted == "sse9":
        assert "got 'sse9'" in ran.stdout


def test_an_unknown_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the vector width must be one of .*plain; got 'sse9'"):
        library.choose_vector("sse9")


def test_all_widths_of_this_machine_were_compiled() -> None:
    """A width that fails to compile is left out of the build with a warning only."""
    assert library.vectors()[-1] == "plain"
    capability = torch.backends.cpu.get_cpu_capability()
    if capability == "AVX512":
        assert library.vectors() == ("avx512", "avx2", "plain")
    elif capability == "AVX2":
        assert library.vectors() == ("avx2", "plain")


def test_the_sums_of_eager_and_native_differ() -> None:
    """They are two programs; else the comparisons above would compare one with itself."""
    call = narrow(made("GRU", (9, 3, 20, 31, 0), Masks()))
    assert not torch.equal(native.run(call).y, eager.run(call).y)


def test_memory_of_the_wrong_type_or_shape_is_refused() -> None:
    """The core would read past its end."""
    call = narrow(made("LSTM", (5, 3, 4, 6, 0), Masks(), ragged=True))
    w = call.weights
    wrong = {
        "torch.float64": call._replace(h0=call.h0.double()),
        "h0 must have shape": call._replace(h0=call.h0[:2]),
        "b_ih must have shape": call._replace(weights=w._replace(b_ih=w.b_ih[:5])),
        "w_ih must have shape": call._replace(weights=w._replace(w_ih=w.w_ih[:, :3])),
        "lengths must have shape": call._replace(lengths=call.lengths[:2]),
    }
    for said, bad in wrong.items():
        with pytest.raises(RuntimeError, match=said):
            native.run(bad)
    beyond = call._replace(lengths=torch.tensor([9, -1, 2]))
    inside = call._replace(lengths=torch.tensor([5, 0, 2]))
    assert torch.equal(native.run(beyond).y, native.run(inside).y)


@pytest.mark.parametrize("ends", [(0.0, 0.5), (0.5, 2.0), (2.0, 5.0), (5.0, 9.2)])
def test_the_slope_of_tanh_is_as_exact_as_torchs_where_little_of_it_is_left(ends: tuple[float, float]) -> None:
    """1 - h² near h = 1 has few places left, so that an error of one place in h is most of a gradient."""
    units = 32
    layer = rd.RNN(units, units, bias=False, backend="native")
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.eye(units))
        layer.weight_hh_l0.zero_()
        x = torch.linspace(*ends, 2048 * units).view(1, -1, units)
        h = layer(x)[0]
    slope = 1 - torch.tanh(x.double()).square()
    error = [((1 - y.double().square()) / slope - 1).abs().mean() for y in (h, torch.tanh(x))]
    # Measured on Zen 5: 1.0 to 1.1 of torch's above 0.5, and 1.8 below, where the error is below 3e-8.
    assert error[0] < (1.5 * error[1] if ends[0] >= 0.5 else 3 * error[1])
