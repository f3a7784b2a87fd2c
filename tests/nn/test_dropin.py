"""Our layers against torch's over every constructor argument, input form and backend, by value."""

from __future__ import annotations

import functools
import inspect
import itertools
import typing
from typing import Any

import pytest
import torch
from against_torch import (
    BATCH,
    FORMS,
    HIDDEN,
    INPUT,
    OURS,
    PROJECTED,
    ROUNDING,
    TIME,
    TORCH,
    assert_same,
    forward_backward,
    twins,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import recurdrop as rd

CELLS = tuple(OURS)
BACKENDS = ("torch", "eager", "reference")

GRID: dict[str, dict[str, tuple[Any, ...]]] = {
    cell: {
        "input_size": (INPUT,),
        "hidden_size": (HIDDEN,),
        "num_layers": (1, 2),
        "bias": (True, False),
        "batch_first": (False, True),
        "bidirectional": (False, True),
    }
    for cell in CELLS
}
GRID["LSTM"]["proj_size"] = (0, PROJECTED)
GRID["RNN"]["nonlinearity"] = ("tanh", "relu")
# Arguments with a test of their own, by its name.
ELSEWHERE = {
    "dropout": "test_dropout_is_torchs_own_random_stream",
    "device": "test_device",
    "dtype": "test_dtype",
}

GRID_CASES = [
    pytest.param(cell, values, id="-".join([cell, *(f"{k}={v}" for k, v in list(values.items())[2:])]))
    for cell, grid in GRID.items()
    for values in (dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values()))
]


def _zero_rates(cell: str) -> list[rd.Method]:
    methods = [rd.Variational(0, 0, 0), rd.Locked(0, 0, 0), rd.Zaremba(0), rd.DropConnect(0, ih=True), rd.HDetach(0)]
    methods += [rd.StateReset(0), rd.Gaussian(0, site="recurrent")]
    own = {"LSTM": [rd.Zoneout(c=0, h=0), rd.RecurrentDropout(0), rd.RNNDrop(0)], "GRU": [rd.RecurrentDropout(0)]}
    return methods + own.get(cell, [])


def _inverted(cell: str) -> list[rd.Method]:
    methods = [rd.Variational(0.4, 0.3, 0.5), rd.Locked(0.4, 0.3, 0.5), rd.WeightDrop(0.5), rd.HDetach(0.5)]
    return [*methods, rd.StateReset(0.5), *([] if cell == "RNN" else [rd.RecurrentDropout(0.5)])]


@functools.cache
def _torchs(cell: str, values: tuple[tuple[str, Any], ...]) -> tuple[nn.RNNBase, dict[str, dict[str, Tensor]]]:
    """Return torch's layer and what it gives for every input form; made once for all backends."""
    torch.manual_seed(0)
    layer = TORCH[cell](**dict(values), dtype=torch.float64)
    return layer, {form.name: forward_backward(layer, form) for form in FORMS}


def _ours(cell: str, values: dict[str, Any], **extra: Any) -> tuple[Any, dict[str, dict[str, Tensor]]]:
    theirs, expected = _torchs(cell, tuple(values.items()))
    layer = OURS[cell](**values, dtype=torch.float64, **extra)
    layer.load_state_dict(theirs.state_dict(), strict=True)
    return layer, expected


def test_grid_has_every_argument_of_torch() -> None:
    for cell, theirs in TORCH.items():
        known = set(GRID[cell]) | set(ELSEWHERE)
        base = set(inspect.signature(nn.RNNBase.__init__).parameters) - {"self", "mode"}
        assert base - known <= {"proj_size"}, f"torch's {cell} has an argument that the grid lacks"
        if hasattr(typing, "get_overloads"):  # Python 3.11
            spelled = [set(inspect.signature(f).parameters) for f in typing.get_overloads(theirs.__init__)]
            assert set().union(*spelled) - {"self", "args", "kwargs"} == known, f"the grid of {cell} is not torch's"
        assert list(inspect.signature(theirs.forward).parameters) == ["self", "input", "hx"]
    assert all(name in globals() for name in ELSEWHERE.values())
    assert len(GRID_CASES) == 32 + 16 + 32
    assert len(FORMS) == 8


@pytest.mark.parametrize(("cell", "values"), GRID_CASES)
def test_without_noise_it_is_torchs_layer(cell: str, values: dict[str, Any]) -> None:
    layer, expected = _ours(cell, values)
    assert isinstance(layer, TORCH[cell])
    for form in FORMS:
        assert_same(forward_backward(layer, form), expected[form.name])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("cell", "values"), GRID_CASES)
def test_backends_equal_torch_up_to_rounding(cell: str, values: dict[str, Any], backend: str) -> None:
    # With noise of rate 0 in one of the layers a forced backend runs also where torch's own forward would.
    layer, expected = _ours(cell, values, backend=backend)
    silent, _ = _ours(cell, values, backend=backend, noise=_zero_rates(cell))
    for form in FORMS:
        found = forward_backward(layer, form)
        assert_same(found, expected[form.name], ROUNDING)
        assert_same(forward_backward(silent, form), found)


@pytest.mark.parametrize(("cell", "values"), GRID_CASES)
def test_rates_of_zero_are_no_noise(cell: str, values: dict[str, Any]) -> None:
    layer, expected = _ours(cell, values, noise=_zero_rates(cell))
    state = torch.get_rng_state()
    for form in FORMS:
        assert_same(forward_backward(layer, form), expected[form.name])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize(("cell", "values"), GRID_CASES)
def test_evaluation_of_inverted_methods_is_torchs(cell: str, values: dict[str, Any], backend: str) -> None:
    layer, expected = _ours(cell, values, noise=_inverted(cell), backend=backend)
    layer.dropout = 0.3 if values["num_layers"] > 1 else 0.0
    layer.eval()
    state = torch.get_rng_state()
    for form in FORMS:
        assert_same(forward_backward(layer, form), expected[form.name], 0 if backend == "auto" else ROUNDING)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dropout", [0, 0.3, 1])
@pytest.mark.parametrize("cell", CELLS)
def test_dropout_is_torchs_own_random_stream(cell: str, dropout: float, bidirectional: bool) -> None:
    theirs, ours = twins(cell, INPUT, HIDDEN, 3, dropout=dropout, bidirectional=bidirectional, dtype=torch.float64)
    for form in FORMS:
        torch.manual_seed(5)
        expected = forward_backward(theirs, form)
        after = torch.get_rng_state()
        torch.manual_seed(5)
        assert_same(forward_backward(ours, form), expected)
        assert torch.equal(torch.get_rng_state(), after)
    ours.eval(), theirs.eval()
    assert_same(forward_backward(ours, FORMS[0]), forward_backward(theirs, FORMS[0]))


@pytest.mark.parametrize("backend", ["eager", "reference"])
@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_one_is_torchs_in_every_backend(cell: str, backend: str) -> None:
    theirs, ours = twins(cell, INPUT, HIDDEN, 3, dropout=1, backend=backend, dtype=torch.float64)
    for form in FORMS:
        assert_same(forward_backward(ours, form), forward_backward(theirs, form), ROUNDING)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_one_layer_warns_as_torch_does(cell: str) -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last recurrent layer") as theirs:
        TORCH[cell](INPUT, HIDDEN, dropout=0.3)
    with pytest.warns(UserWarning, match="dropout option") as ours:
        OURS[cell](INPUT, HIDDEN, dropout=0.3)
    assert [str(w.message) for w in ours] == [str(w.message) for w in theirs]


POSITIONAL = {
    "LSTM": (INPUT, HIDDEN, 2, False, True, 0.25, True, PROJECTED, "cpu", torch.float64),
    "GRU": (INPUT, HIDDEN, 2, False, True, 0.25, True),
    "RNN": (INPUT, HIDDEN, 2, "relu", False, True, 0.25, True),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("cell", CELLS)
def test_positional_arguments(cell: str) -> None:
    for count in range(2, len(POSITIONAL[cell]) + 1):
        theirs, ours = twins(cell, *POSITIONAL[cell][:count])
        assert str(theirs) == str(ours), count
        for name in ("mode", *nn.RNNBase.__constants__):
            if hasattr(theirs, name):
                assert getattr(theirs, name) == getattr(ours, name), (count, name)
        torch.manual_seed(1)
        expected = forward_backward(theirs, FORMS[1])
        torch.manual_seed(1)
        assert_same(forward_backward(ours, FORMS[1]), expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtype(cell: str, dtype: torch.dtype) -> None:
    theirs, ours = twins(cell, INPUT, HIDDEN, 2, dtype=dtype)
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert_same(forward_backward(ours, FORMS[1]), forward_backward(theirs, FORMS[1]))
    for backend in ("eager", "reference"):
        ours.backend = backend
        assert {v.dtype for v in forward_backward(ours, FORMS[1]).values()} == {dtype}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("device", ["cpu", "meta", torch.device("cpu"), torch.device("meta")])
def test_device(cell: str, device: Any) -> None:
    layer = OURS[cell](INPUT, HIDDEN, 2, device=device, noise=rd.Variational(0.3, 0.3, 0.3))
    assert {p.device for p in layer.parameters()} == {torch.device(device)}
    theirs = TORCH[cell](INPUT, HIDDEN, 2)
    layer = layer.to_empty(device="cpu")
    layer.load_state_dict(theirs.state_dict())
    layer.noise = None
    assert_same(forward_backward(layer, FORMS[0]), forward_backward(theirs, FORMS[0]))


@pytest.mark.parametrize("cell", CELLS)
def test_initial_parameters_are_torchs(cell: str) -> None:
    torch.manual_seed(3)
    theirs = TORCH[cell](INPUT, HIDDEN, 2, bidirectional=True)
    torch.manual_seed(3)
    ours = OURS[cell](INPUT, HIDDEN, 2, bidirectional=True, noise=rd.Variational(0.5, 0.5, 0.5))
    assert_same(ours.state_dict(), theirs.state_dict())
    theirs.reset_parameters()
    ours.reset_parameters()
    assert ours.all_weights[3][0].shape == theirs.all_weights[3][0].shape


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize(("cell", "values"), GRID_CASES)
def test_state_dict_both_ways(cell: str, values: dict[str, Any]) -> None:
    theirs, ours = TORCH[cell](**values), OURS[cell](**values, noise=_inverted(cell))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    for form in (FORMS[0], FORMS[-1]):
        assert_same(forward_backward(ours.eval(), form), forward_backward(theirs, form))
    again = TORCH[cell](**values)
    ours.load_state_dict(again.state_dict(), strict=True)
    assert_same(forward_backward(ours, FORMS[1]), forward_backward(again, FORMS[1]))
    with pytest.raises(RuntimeError, match="Missing key"):
        ours.load_state_dict({k: v for k, v in ours.state_dict().items() if k != "weight_hh_l0"})


# Errors

X = torch.zeros(TIME, BATCH, INPUT)
BAD_CALLS = {
    "width": (X[..., :1],),
    "one axis": (X[0, 0],),
    "four axes": (X[None],),
    "float64": (X.double(),),
    "integers": (X.long(),),
    "no steps": (X[:0],),
    "hx batch": (X, 1, (1, BATCH + 1, HIDDEN)),
    "hx layers": (X, 1, (2, BATCH, HIDDEN)),
    "hx width": (X, 1, (1, BATCH, HIDDEN + 1)),
    "hx without batch": (X, 1, (1, HIDDEN)),
    "hx with batch": (X[:, 0], 1, (1, 1, HIDDEN)),
    "packed width": (pack_padded_sequence(X[..., :1], torch.tensor([5, 4, 3])),),
}


@pytest.mark.parametrize("noise", [None, rd.Variational(0.3, 0.3, 0.3)], ids=["none", "variational"])
@pytest.mark.parametrize("bad", BAD_CALLS)
@pytest.mark.parametrize("cell", CELLS)
def test_bad_calls_raise_what_torch_raises(cell: str, bad: str, noise: rd.Method | None) -> None:
    theirs, ours = twins(cell, INPUT, HIDDEN, noise=noise)
    given, *state = BAD_CALLS[bad]
    hx = None
    if state:
        hx = torch.zeros(state[1])
        hx = (hx, hx) if cell == "LSTM" else hx
    with pytest.raises(Exception) as expected:  # noqa: PT011
        theirs(given, hx)
    with pytest.raises(expected.type):
        ours(given, hx)


@pytest.mark.parametrize("noise", [None, rd.Zoneout()], ids=["none", "zoneout"])
def test_c_0_of_a_wrong_size_is_refused(noise: rd.Method | None) -> None:
    layer = rd.LSTM(INPUT, HIDDEN, proj_size=PROJECTED, noise=noise)
    h, c = torch.zeros(1, BATCH, PROJECTED), torch.zeros(1, BATCH, HIDDEN)
    layer(X, (h, c))
    for bad in ((h, h), (c, c), (c, h)):
        with pytest.raises(RuntimeError, match="Expected"):
            layer(X, bad)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_layers": 0},
        {"hidden_size": 0},
        {"dropout": 1.5},
        {"dropout": True},
        {"proj_size": -1},
        {"proj_size": HIDDEN},
        {"nonlinearity": "gelu"},
        {"hidden_size": 1.5},
        {"unknown": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", CELLS)
def test_constructor_refuses_what_torch_refuses(cell: str, arguments: dict[str, Any]) -> None:
    values = {"input_size": INPUT, "hidden_size": HIDDEN} | arguments
    with pytest.raises(Exception) as expected:  # noqa: PT011
        TORCH[cell](**values)
    with pytest.raises(expected.type) as found:
        OURS[cell](**values)
    assert str(found.value) == str(expected.value)


def test_noise_and_backend_are_keywords_with_checked_values() -> None:
    with pytest.raises(TypeError):
        rd.LSTM(INPUT, HIDDEN, 1, True, False, 0.0, False, 0, None, None, rd.Zoneout())
    with pytest.raises(ValueError, match=r"backend must be 'auto' or one of .*; got 'cudnn'\. Choose one of them"):
        rd.LSTM(INPUT, HIDDEN, backend="cudnn")
    for noise in ("zoneout", rd.Zoneout, [rd.Zoneout], 0.5, ["zoneout"]):
        with pytest.raises(ValueError, match="noise must "):
            rd.LSTM(INPUT, HIDDEN, noise=noise)


def test_empty_batch_gives_empty_output() -> None:
    for noise in (None, rd.Zoneout(), rd.Locked(0.5, 0.5, 0.5)):
        layer = rd.LSTM(INPUT, HIDDEN, 2, noise=noise)
        y, (h, c) = layer(X[:, :0])
        assert (y.shape, h.shape, c.shape) == ((TIME, 0, HIDDEN), (2, 0, HIDDEN), (2, 0, HIDDEN))
