"""Run a layer forward and backward on every input form, and compare two such runs by value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import recurdrop as rd

OURS = {"LSTM": rd.LSTM, "GRU": rd.GRU, "RNN": rd.RNN}
TORCH = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}

# Odd sizes, all different, so that no two axes can be taken for each other.
TIME, BATCH, INPUT, HIDDEN, PROJECTED = 5, 3, 2, 7, 4
SORTED, UNSORTED = (5, 4, 2), (2, 5, 1)
# Measured over the whole grid in float64: at most 1.4e-15 of the largest value of each tensor.
ROUNDING = 1e-14

UNTIED = rd.Variational(0.3, 0.3, 0.3, tied=False)
IN_LOOP = {
    "LSTM": [rd.Zoneout(0.4, 0.3), UNTIED, rd.RecurrentDropout(0.3), rd.RNNDrop(0.2)],
    "GRU": [rd.Zoneout(h=0.3), UNTIED, rd.RecurrentDropout(0.3)],
    "RNN": [rd.Zoneout(h=0.3), rd.Keras(0.3, 0.3)],
}
OUTSIDE = [rd.Locked(0.3, 0.3, 0.3), rd.WeightDrop(0.3), rd.Gaussian(0.2, site="output")]


class Form(NamedTuple):
    """How a caller lays out the input: packed with these lengths or not, batched, and with a state or without."""

    name: str
    lengths: tuple[int, ...] | None = None
    batched: bool = True
    state: bool = False

    def __str__(self) -> str:
        return self.name


FORMS = tuple(
    Form(f"{name}-{'hx' if state else 'zeros'}", lengths, batched, state)
    for name, lengths, batched in (
        ("batched", None, True),
        ("unbatched", None, False),
        ("packed", SORTED, True),
        ("packed_unsorted", UNSORTED, True),
    )
    for state in (False, True)
)


def twins(cell: str, *args: Any, noise: Any = None, backend: str = "auto", **kwargs: Any) -> tuple[Any, Any]:
    """Return torch's layer and ours with equal parameters and different values in each of them."""
    theirs, ours = TORCH[cell](*args, **kwargs), OURS[cell](*args, noise=noise, backend=backend, **kwargs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def numbers(*shape: int, seed: int = 0, like: Tensor | None = None) -> Tensor:
    """Return normal numbers that depend on the seed and the shape alone."""
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn if like is None else drawn.to(like.dtype)


def make_input(layer: nn.RNNBase, form: Form) -> tuple[Any, Any, list[Tensor]]:
    """Return the input, the state or None, and the leaves that want a gradient."""
    weight = next(layer.parameters())
    x = numbers(TIME, BATCH, layer.input_size, seed=1, like=weight)
    if not form.batched:
        x = x[:, 0]
    elif layer.batch_first:
        x = x.transpose(0, 1).contiguous()
    leaves = [x.requires_grad_()]
    given: Any = x
    if form.lengths is not None:
        in_order = form.lengths == tuple(sorted(form.lengths, reverse=True))
        given = pack_padded_sequence(x, torch.tensor(form.lengths), layer.batch_first, enforce_sorted=in_order)
        assert (given.sorted_indices is None) == in_order
    if not form.state:
        return given, None, leaves
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    batch = (BATCH,) if form.batched else ()
    states = [numbers(count, *batch, layer.proj_size or layer.hidden_size, seed=2, like=weight).requires_grad_()]
    if isinstance(layer, nn.LSTM):
        states.append(numbers(count, *batch, layer.hidden_size, seed=3, like=weight).requires_grad_())
    leaves += states
    return given, tuple(states) if len(states) > 1 else states[0], leaves


def forward_backward(layer: nn.RNNBase, form: Form, **call: Any) -> dict[str, Tensor]:
    """Return outputs, final states and, for random gradients of all of them, the gradient of every leaf."""
    given, hx, leaves = make_input(layer, form)
    y, state = layer(given, hx, **call)
    found: dict[str, Tensor] = {}
    if isinstance(given, PackedSequence):
        assert isinstance(y, PackedSequence)
        assert torch.equal(y.batch_sizes, given.batch_sizes)
        assert y.sorted_indices is given.sorted_indices
        assert y.unsorted_indices is given.unsorted_indices
        found["packed y"], (y, _) = y.data, pad_packed_sequence(y, layer.batch_first)
    found["y"] = y
    found |= dict(zip(("h_n", "c_n"), state if isinstance(state, tuple) else (state,), strict=False))
    return found | gradients(layer, found, leaves)


def gradients(layer: nn.Module, outputs: Mapping[str, Tensor], leaves: list[Tensor]) -> dict[str, Tensor]:
    """Return the gradient of every leaf and parameter, for random gradients of the outputs."""
    layer.zero_grad()
    loss = sum((y * numbers(*y.shape, seed=10 + i, like=y)).sum() for i, y in enumerate(outputs.values()))
    assert isinstance(loss, Tensor)
    loss.backward()
    found = {f"d_{name}": leaf.grad for name, leaf in zip(("x", "h_0", "c_0"), leaves, strict=False)}
    found |= {f"d_{name}": p.grad for name, p in layer.named_parameters()}
    absent = [name for name, gradient in found.items() if gradient is None]
    assert not absent, f"no gradient: {absent}"
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def step(layer: nn.Module, x: Tensor, seed: int = 1, **call: Any) -> dict[str, Tensor]:
    """Return outputs, states and every gradient of one training step after this seed."""
    x = x.detach().requires_grad_()
    torch.manual_seed(seed)
    y, state = layer(x, **call)
    found = {"y": y} | dict(zip(("h_n", "c_n"), state if isinstance(state, tuple) else (state,), strict=False))
    return found | {name.replace("_orig_mod.", ""): g for name, g in gradients(layer, found, [x]).items()}


def worst(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[float, str]:
    """Return the largest difference, relative to the largest value of its tensor, and the name of that tensor."""
    assert found.keys() == expected.keys()
    errors = []
    for name, value in expected.items():
        assert found[name].shape == value.shape, (name, found[name].shape, value.shape)
        assert found[name].dtype == value.dtype, (name, found[name].dtype, value.dtype)
        scale = max(float(value.detach().abs().max()), 1e-30) if value.numel() else 1.0
        difference = (found[name].detach().double() - value.detach().double()).abs()
        errors.append((float(difference.max()) / scale if value.numel() else 0.0, name))
    return max(errors, key=lambda error: (error[0] != error[0], error[0]))


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 0.0) -> None:
    """Refuse a difference above the tolerance, NaN included; 0 means bit-equal."""
    error, name = worst(found, expected)
    assert error <= tolerance, f"{name} differs by {error:.3g} of its largest value, more than {tolerance:g}"
