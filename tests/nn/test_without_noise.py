"""Layers without noise: the compiled kernels where they are faster, with torch's results; else torch's own code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

import recurdrop as rd
from recurdrop.nn.pace import MOST_PADDING, TORCH_KEEPS_PACE, WORTH_PACKING
from recurdrop.ops import native

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no native backend: {native.missing()}")
CELLS = ("LSTM", "GRU", "RNN")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the compiled backend has been called with."""
    seen: list[Any] = []
    right = native.run
    monkeypatch.setattr(native, "run", lambda call: (seen.append(call), right(call))[1])
    return seen


def pair(cell: str, hidden_size: int = 5, **options: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    theirs = getattr(nn, cell)(3, hidden_size, dtype=torch.float64, **options).eval()
    ours = getattr(rd, cell)(3, hidden_size, dtype=torch.float64, noise=rd.Variational(recurrent=0.3), **options).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def flat(returned: Any) -> list[torch.Tensor]:
    if isinstance(returned, torch.Tensor):
        return [returned]
    return [tensor for part in returned if part is not None for tensor in flat(part)]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_long_sequences_take_the_compiled_kernels(cell: str, batch_first: bool, mode: Any, calls: list[Any]) -> None:
    theirs, ours = pair(cell, num_layers=2, bidirectional=True, batch_first=batch_first)
    for steps, expected_calls in ((WORTH_PACKING, 4), (WORTH_PACKING - 1, 0)):
        x = torch.randn(*((2, steps) if batch_first else (steps, 2)), 3, dtype=torch.float64)
        packed = pack_padded_sequence(x, [steps, steps - 2], batch_first=batch_first)
        for given in (x, x[0] if batch_first else x[:, 0], packed):
            calls.clear()
            with mode():
                found, expected = flat(ours(given)), flat(theirs(given))
            assert len(calls) == (0 if cell == "LSTM" and given is not packed else expected_calls)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("hidden_size", "expected_calls"), [(TORCH_KEEPS_PACE - 1, 0), (TORCH_KEEPS_PACE, 1)])
def test_wide_lstms_take_them_too(hidden_size: int, expected_calls: int, calls: list[Any]) -> None:
    theirs, ours = pair("LSTM", hidden_size)
    x = torch.randn(WORTH_PACKING, 1, 3, dtype=torch.float64)
    with torch.no_grad():
        found, expected = flat(ours(x)), flat(theirs(x))
    assert len(calls) == expected_calls
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


def gradients(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    found = flat(layer(x))
    weights = [torch.linspace(-1, 1, part.numel(), dtype=part.dtype).view_as(part) for part in found]
    loss = torch.stack([(part * weight).sum() for part, weight in zip(found, weights, strict=True)]).sum()
    return [*found, *torch.autograd.grad(loss, [x, *layer.parameters()])]


@pytest.mark.parametrize("cell", CELLS)
def test_training_takes_them_too(cell: str, calls: list[Any]) -> None:
    theirs, ours = pair(cell, num_layers=2)
    ours.noise = None
    for steps, expected_calls in ((WORTH_PACKING, 2), (WORTH_PACKING - 1, 0)):
        x = torch.randn(steps, 2, 3, dtype=torch.float64, requires_grad=True)
        calls.clear()
        found, expected = gradients(ours.train(), x), gradients(theirs.train(), x)
        assert len(calls) == expected_calls
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-13 if expected_calls else 0)


@pytest.mark.parametrize("cell", CELLS)
def test_training_with_torchs_dropout_is_torchs_to_the_bit(cell: str, calls: list[Any]) -> None:
    theirs, ours = pair(cell, num_layers=2, dropout=0.5)
    ours.noise = None
    x = torch.randn(2 * WORTH_PACKING, 2, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for layer in (ours, theirs):
        torch.manual_seed(0)
        found.append(gradients(layer.train(), x))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert not calls


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_tracers_and_transforms_see_torchs_own_layer(calls: list[Any]) -> None:
    theirs, ours = pair("GRU")
    x, other = torch.randn(2, WORTH_PACKING, 2, 3, dtype=torch.float64).unbind()
    traced = torch.jit.trace(ours, x, check_trace=False)
    calls.clear()
    assert torch.equal(traced(other)[0], theirs(other)[0])
    loss = torch.func.grad(lambda value: ours(value)[0].square().sum())
    assert torch.equal(loss(x), torch.func.grad(lambda value: theirs(value)[0].square().sum())(x))
    _, along = torch.func.jvp(lambda value: ours(value)[0], (x,), (other,))
    _, expected = torch.func.jvp(lambda value: theirs(value)[0], (x,), (other,))
    torch.testing.assert_close(along, expected)  # by the reference, for torch's kernels have no rules for it
    assert not calls


def test_tensors_without_numbers_see_torchs_own_layer(calls: list[Any]) -> None:
    noisy = rd.GRU(3, 4, noise=rd.Zoneout(h=0.5))
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(WORTH_PACKING, 2, 3)
        for layer in (rd.GRU(3, 4), noisy):
            y, h = layer(x)
            assert (tuple(y.shape), tuple(h.shape)) == ((WORTH_PACKING, 2, 4), (1, 2, 4))
    with FlopCounterMode(display=False) as counter:
        rd.GRU(3, 4)(torch.randn(WORTH_PACKING, 2, 3))
    assert counter.get_total_flops() > 0
    assert [type(call.x).__name__ for call in calls] == ["FakeTensor"]


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_may_be_changed_in_place_as_torchs_may(cell: str) -> None:
    theirs, ours = pair(cell)
    ours.noise = None
    x = torch.randn(WORTH_PACKING, 2, 3, dtype=torch.float64)
    found = []
    for layer in (ours.train(), theirs.train()):
        y, _ = layer(x)
        found.append(torch.autograd.grad(y.mul_(2).square_().sum(), layer.parameters()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_many_gradients_at_once(cell: str) -> None:
    theirs, ours = pair(cell)
    ours.noise = None
    x = torch.randn(WORTH_PACKING, 2, 3, dtype=torch.float64, requires_grad=True)
    many = torch.randn(3, WORTH_PACKING, 2, 5, dtype=torch.float64)
    y, expected = ours(x)[0], theirs(x)[0]
    (found,) = torch.autograd.grad(y, x, many, is_grads_batched=True)
    each = torch.stack([torch.autograd.grad(expected, x, one, retain_graph=True)[0] for one in many])
    torch.testing.assert_close(found, each, rtol=0, atol=1e-13)
    assert not found.requires_grad


def test_mostly_padding_stays_with_torch(calls: list[Any]) -> None:
    _, ours = pair("GRU")
    longest = 4 * WORTH_PACKING
    for others, expected_calls in ((1, 0), (longest // MOST_PADDING, 1)):
        packed = pack_padded_sequence(torch.randn(longest, 10, 3, dtype=torch.float64), [longest, *[others] * 9])
        assert (longest * 10 > MOST_PADDING * len(packed.data)) == (expected_calls == 0)
        calls.clear()
        ours(packed)
        assert len(calls) == expected_calls


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2, 3)])
def test_torch_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    _, ours = pair("GRU")
    with torch.no_grad(), pytest.raises(ValueError, match="Expected input to be 2D or 3D"):
        ours(torch.zeros(shape, dtype=torch.float64))
