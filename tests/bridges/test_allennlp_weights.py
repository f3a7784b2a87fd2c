"""AllenNLP's augmented LSTM in plain float64 against a layer with the converted weights, and its variational masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import recurdrop as rd
from recurdrop.bridges import from_allennlp, to_allennlp
from recurdrop.bridges.allennlp import Module

T, B, I, H = 7, 4, 3, 5
# Two orders of the same sums in float64; measured 2.2e-16.
ROUNDING = 1e-15


def _module(place: str, inputs: int, seed: int, *, input_bias: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "input_linearity.weight": (4 * H, inputs),
        "input_linearity.bias": (4 * H,),
        "state_linearity.weight": (4 * H, H),
        "state_linearity.bias": (4 * H,),
    }
    found = {k: torch.randn(s, generator=generator, dtype=torch.float64) / 2 for k, s in shapes.items()}
    return {place + k: v for k, v in found.items() if input_bias or k != "input_linearity.bias"}


def _run(
    state: dict[str, Tensor], place: str, x: Tensor, *, forward: bool = True, mask: Tensor | float = 1.0
) -> Tensor:
    """One augmented LSTM without highway: input, forget, memory and output gate; `mask` on h on its way into them."""
    w = {k.removeprefix(place): v for k, v in state.items() if k.startswith(place)}
    h = c = x.new_zeros(B, H)
    outputs: list[Tensor] = []
    for t in range(T) if forward else reversed(range(T)):
        a = x[t] @ w["input_linearity.weight"].T + w.get("input_linearity.bias", 0.0)
        a = a + (h * mask) @ w["state_linearity.weight"].T + w["state_linearity.bias"]
        i, f, m, o = a.chunk(4, -1)
        c = torch.sigmoid(i) * torch.tanh(m) + torch.sigmoid(f) * c
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs if forward else outputs[::-1])


@pytest.fixture
def x() -> Tensor:
    return torch.randn(T, B, I, dtype=torch.float64)


@pytest.mark.parametrize("input_bias", [True, False])
@pytest.mark.parametrize("place", ["", "cell."])
def test_one_layer_of_any_version(place: str, input_bias: bool, x: Tensor) -> None:
    state = _module(place, I, 1, input_bias=input_bias)
    ours = rd.LSTM(I, H, dtype=torch.float64)
    ours.load_state_dict(from_allennlp(state), strict=True)
    torch.testing.assert_close(ours(x)[0].detach(), _run(state, place, x), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("names", "input_bias"), [("{}_layers.{}.cell.", True), ("{}_layer_{}.cell.", False), ("{}_layer_{}.", False)]
)
def test_two_directions_stacked(names: str, input_bias: bool, x: Tensor) -> None:
    state: dict[str, Tensor] = {}
    expected = x
    for layer in (0, 1):
        sides = []
        for seed, direction in enumerate(("forward", "backward")):
            place = names.format(direction, layer)
            state |= _module(place, expected.shape[-1], 2 * layer + seed, input_bias=input_bias)
            sides.append(_run(state, place, expected, forward=direction == "forward"))
        expected = torch.cat(sides, -1)
    ours = rd.LSTM(I, H, 2, bidirectional=True, dtype=torch.float64)
    ours.load_state_dict(from_allennlp(dict(reversed(state.items()))), strict=True)
    torch.testing.assert_close(ours(x)[0].detach(), expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("AugmentedLstm", ["cell."]),
        ("BiAugmentedLstm", ["forward_layers.0.cell."]),
        ("BiAugmentedLstm", ["forward_layers.0.cell.", "backward_layers.0.cell."]),
        ("StackedBidirectionalLstm", ["forward_layer_0.cell.", "backward_layer_0.cell."]),
    ],
)
def test_allennlp_computes_our_layer(module: Module, names: list[str], bias: bool, x: Tensor) -> None:
    ours = rd.LSTM(I, H, bidirectional=len(names) == 2, bias=bias, dtype=torch.float64)
    state = to_allennlp(ours.state_dict(), module)
    parameters = ["input_linearity.weight", "state_linearity.weight", "state_linearity.bias"]
    parameters += ["input_linearity.bias"] * (module != "StackedBidirectionalLstm")
    assert set(state) == {name + parameter for name in names for parameter in parameters}
    expected = torch.cat([_run(state, name, x, forward=k == 0) for k, name in enumerate(names)], -1)
    torch.testing.assert_close(ours(x)[0].detach(), expected, rtol=0, atol=ROUNDING)


def test_its_recurrent_dropout_is_ours(x: Tensor) -> None:
    state = _module("cell.", I, 1, input_bias=True)
    ours = rd.LSTM(I, H, noise=rd.AllenNLP(recurrent_dropout_probability=0.4), dtype=torch.float64)
    ours.load_state_dict(from_allennlp(state), strict=True)
    (masks,) = ours.sample_masks(T, B)
    assert masks.recurrent is not None
    assert masks.recurrent.shape == (1, B, H)
    expected = _run(state, "cell.", x, mask=masks.recurrent[0])
    torch.testing.assert_close(ours(x, masks=(masks,))[0].detach(), expected, rtol=0, atol=ROUNDING)
