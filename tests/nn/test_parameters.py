"""Parameters are torch's: saved, copied, reassigned, tied, parametrized, frozen and moved as torch's are."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from against_torch import (
    BATCH,
    FORMS,
    HIDDEN,
    INPUT,
    OURS,
    ROUNDING,
    TIME,
    TORCH,
    assert_same,
    forward_backward,
    numbers,
    twins,
)
from torch import Tensor, nn
from torch.nn.utils import parametrize

import recurdrop as rd

CELLS = tuple(OURS)
BACKENDS = ("torch", "eager", "reference")


@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "torch.save"])
@pytest.mark.parametrize("cell", CELLS)
def test_copies_are_whole_and_independent(cell: str, copied: str) -> None:
    noise = [rd.Variational(0.4, 0.3, 0.5), rd.WeightDrop(0.5)]
    layer = OURS[cell](INPUT, HIDDEN, 2, bidirectional=True, noise=noise, backend="eager")
    if copied == "deepcopy":
        twin = copy.deepcopy(layer)
    elif copied == "pickle":
        twin = pickle.loads(pickle.dumps(layer))  # noqa: S301
    else:
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    assert twin.noise == layer.noise == tuple(noise)
    assert twin.backend == "eager"
    torch.manual_seed(2)
    expected = forward_backward(layer, FORMS[1])
    torch.manual_seed(2)
    assert_same(forward_backward(twin, FORMS[1]), expected)
    with torch.no_grad():
        twin.weight_hh_l0.zero_()
        twin.noise = None
    torch.manual_seed(2)
    assert_same(forward_backward(layer, FORMS[1]), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_saved_weights_load_with_weights_only(cell: str) -> None:
    layer = OURS[cell](INPUT, HIDDEN, 2, noise=rd.WeightDrop(0.5))
    layer(numbers(TIME, BATCH, INPUT).float())
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    theirs = TORCH[cell](INPUT, HIDDEN, 2)
    theirs.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert_same(forward_backward(layer.eval(), FORMS[0]), forward_backward(theirs, FORMS[0]))


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
@pytest.mark.parametrize("cell", CELLS)
def test_reassigned_and_tied_weights_are_honoured(cell: str, backend: str) -> None:
    theirs, ours = twins(cell, HIDDEN, HIDDEN, 2, backend=backend, dtype=torch.float64)
    shared = nn.Parameter(numbers(*theirs.weight_hh_l0.shape, seed=9) / 4)
    for layer in (theirs, ours):
        layer.weight_hh_l0 = shared
        layer.weight_hh_l1 = shared
        layer.bias_hh_l0 = nn.Parameter(layer.bias_ih_l1.detach() * 2)
    expected = forward_backward(theirs, FORMS[1])
    assert_same(forward_backward(ours, FORMS[1]), expected, 0 if backend == "auto" else ROUNDING)
    assert "d_weight_hh_l1" not in expected
    with torch.no_grad():
        ours.weight_hh_l0.mul_(0.5)
    assert_same(forward_backward(ours, FORMS[1]), forward_backward(theirs, FORMS[1]), ROUNDING)


class _Triple(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 3 * weight


@pytest.mark.parametrize("noise", [None, rd.Variational(0.3, 0.3, 0.3), rd.WeightDrop(0.5), rd.Locked(0.5)], ids=repr)
@pytest.mark.parametrize("cell", CELLS)
def test_parametrized_weights_are_honoured(cell: str, noise: rd.Method | None) -> None:
    layer = OURS[cell](INPUT, HIDDEN, 2, noise=noise, dtype=torch.float64)
    tripled = copy.deepcopy(layer)
    with torch.no_grad():
        tripled.weight_hh_l1.mul_(3)
    torch.manual_seed(4)
    expected = forward_backward(tripled, FORMS[1])
    parametrize.register_parametrization(layer, "weight_hh_l1", _Triple())
    torch.manual_seed(4)
    found = forward_backward(layer, FORMS[1])
    expected["d_weight_hh_l1"] *= 3
    found["d_weight_hh_l1"] = found.pop("d_parametrizations.weight_hh_l1.original")
    assert_same(found, expected, ROUNDING)
    assert float(found["d_weight_hh_l1"].abs().max()) > 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", CELLS)
def test_frozen_parameters_get_no_gradient_and_change_no_other(cell: str, backend: str) -> None:
    noise = rd.Locked(0.3, 0.3, 0.3) if backend == "torch" else rd.Variational(0.3, 0.3, 0.3)
    layer = OURS[cell](INPUT, HIDDEN, 2, noise=noise, backend=backend, dtype=torch.float64)
    x = numbers(TIME, BATCH, INPUT, seed=1).requires_grad_()

    def gradient_of(*names: str) -> dict[str, Tensor]:
        torch.manual_seed(6)
        leaves = [x if name == "x" else getattr(layer, name) for name in names]
        y, _ = layer(x)
        return dict(zip(names, torch.autograd.grad((y * numbers(*y.shape, seed=3)).sum(), leaves), strict=True))

    live = ("x", "weight_ih_l0", "bias_hh_l1")
    expected = gradient_of(*live)
    layer.weight_hh_l0.requires_grad_(False)
    layer.bias_ih_l0.requires_grad_(False)
    assert_same(gradient_of(*live), expected, ROUNDING)
    layer.requires_grad_(False)
    assert_same(gradient_of("x"), {"x": expected["x"]}, ROUNDING)
    layer.requires_grad_(True)
    x.requires_grad_(False)
    assert_same(gradient_of(*live[1:]), {name: expected[name] for name in live[1:]}, ROUNDING)


@pytest.mark.parametrize("noise", [None, rd.Variational(0.3, 0.3, 0.3)], ids=["none", "variational"])
@pytest.mark.parametrize("cell", CELLS)
def test_layer_moves_between_dtypes(cell: str, noise: rd.Method | None) -> None:
    layer = OURS[cell](INPUT, HIDDEN, 2, noise=noise)
    assert next(iter(forward_backward(layer.double(), FORMS[0]).values())).dtype == torch.float64
    theirs = TORCH[cell](INPUT, HIDDEN, 2, dtype=torch.float64)
    theirs.load_state_dict(layer.state_dict())
    layer.flatten_parameters()
    assert_same(forward_backward(layer.eval(), FORMS[1]), forward_backward(theirs, FORMS[1]))
