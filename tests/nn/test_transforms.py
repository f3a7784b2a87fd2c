"""`torch.func` and forward-mode differentiation of layers with noise: as the reference, or one line with the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, functionalize, grad, jacrev, jvp, vjp, vmap

import recurdrop as rd
from recurdrop import methods

# Forward-mode differentiation loads rules that torch itself still compiles by torch.jit.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

LAYERS: dict[str, Any] = {"LSTM": rd.LSTM, "GRU": rd.GRU, "RNN": rd.RNN}
X = torch.linspace(-1, 1, 4 * 2 * 3, dtype=torch.float64).view(4, 2, 3)
AROUND = torch.linspace(1, 2, 4 * 2 * 3, dtype=torch.float64).view(4, 2, 3)

Run = Callable[[Tensor], Tensor]
TRANSFORMS: dict[str, Callable[[Run], Any]] = {
    "functionalize": lambda run: functionalize(run)(X),
    "grad": lambda run: grad(lambda x: run(x).square().sum())(X),
    "vjp": lambda run: vjp(run, X)[1](torch.ones(4, 2, 5, dtype=torch.float64)),
    "jvp": lambda run: jvp(run, (X,), (AROUND,)),
    "jacrev": lambda run: jacrev(lambda x: run(x).sum((1, 2)))(X),
    "vmap": lambda run: vmap(run, randomness="same")(torch.stack([X, AROUND])),
    "gradients of examples": lambda run: vmap(grad(lambda x: run(x).square().sum()), randomness="same")(
        torch.stack([X, AROUND])
    ),
}


def made(cell: str, method: str | None, backend: str) -> Any:
    torch.manual_seed(3)
    noise = None if method is None else methods.get(method).published()
    return LAYERS[cell](3, 5, 2, noise=noise, backend=backend).double()


CASES = [(cell, None) for cell in LAYERS]
CASES += [(cell, name) for name in methods.names() for cell in methods.get(name).cells()]  # type: ignore[misc]


def flat(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [tensor for part in value for tensor in flat(part)]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(("cell", "method"), CASES)
def test_transforms_give_what_they_give_of_the_reference(cell: str, method: str | None, transform: str) -> None:
    found = []
    for backend in ("auto", "reference"):
        layer = made(cell, method, backend)
        parameters = dict(layer.named_parameters())
        torch.manual_seed(1)

        def run(x: Tensor, layer: Any = layer, parameters: Any = parameters) -> Tensor:
            return functional_call(layer, parameters, (x,))[0]

        found.append(flat(TRANSFORMS[transform](run)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", LAYERS)
def test_masks_are_those_that_are_drawn_without_a_transform(cell: str) -> None:
    layer = made(cell, "zoneout", "auto")
    torch.manual_seed(1)
    expected = layer(X)[0]
    torch.manual_seed(1)
    torch.testing.assert_close(functionalize(lambda x: layer(x)[0])(X), expected)
    torch.manual_seed(1)
    torch.testing.assert_close(jvp(lambda x: layer(x)[0], (X,), (AROUND,))[0], expected)


@pytest.mark.parametrize("randomness", ["error", "different"])
def test_examples_of_vmap_need_masks_of_their_own(randomness: str) -> None:
    layer = made("GRU", "zoneout", "auto")
    with pytest.raises(ValueError, match=r"inside torch\.vmap.*Draw them outside, with sample_masks, and give them"):
        vmap(lambda x: layer(x)[0], randomness=randomness)(torch.stack([X, X]))
    dropout = rd.nn.LockedDropout(0.5)
    with pytest.raises(ValueError, match=r"inside torch\.vmap"):
        vmap(dropout, randomness=randomness)(torch.stack([X, X]))
    masks = layer.sample_masks(4, 2)
    found = vmap(lambda x: layer(x, masks=masks)[0], randomness=randomness)(torch.stack([X, AROUND]))
    torch.testing.assert_close(found, torch.stack([layer(x, masks=masks)[0] for x in (X, AROUND)]))


def test_a_reference_of_mixout_that_is_taken_inside_a_transform_is_a_plain_tensor() -> None:
    layer = made("GRU", "mixout", "auto")
    parameters = {name: 2 * value for name, value in layer.named_parameters()}
    grad(lambda p: functional_call(layer, p, (X,))[0].sum())(parameters)
    layer(X)[0].sum().backward()  # a tensor of the transform would be dead by now
    assert layer.weight_hh_l0.grad is not None


@pytest.mark.parametrize(("cell", "method"), CASES)
def test_shapes_come_out_on_the_meta_device(cell: str, method: str | None) -> None:
    layer = made(cell, method, "auto").to("meta")
    y, _ = layer(X.to("meta"))
    assert (y.shape, y.device.type) == ((4, 2, 5), "meta")


@pytest.mark.parametrize(
    ("cell", "state"), [("LSTM", torch.zeros(1, 2, 5)), ("GRU", (torch.zeros(1, 2, 5),) * 2)], ids=["LSTM", "GRU"]
)
def test_a_state_of_another_cell_is_a_runtime_error_as_in_torch(cell: str, state: Any) -> None:
    layer = LAYERS[cell](3, 5, noise=rd.Zoneout(h=0.1))
    with pytest.raises(RuntimeError, match=f"hx of {cell} must be"):
        layer(X.float(), state)


def test_fx_takes_a_layer_as_a_leaf() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = rd.GRU(3, 5, noise=rd.Zoneout(h=0.1))

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            y, _ = self.rnn(x, h)
            return y + 1

    model, h = Model().eval(), torch.zeros(1, 2, 5)
    traced = torch.fx.symbolic_trace(model)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["rnn"]
    assert torch.equal(traced(X.float(), h), model(X.float(), h))
