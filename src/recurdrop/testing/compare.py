"""Run a layer with random gradients at its outputs, and compare two runs tensor by tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

LAYERS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
FORMS: dict[str, dict[str, Any]] = {
    "padded": {},
    "packed": {},
    "bidirectional": {"bidirectional": True},
    "two layers": {"num_layers": 2},
}
"""The forms in which every method is checked, with the arguments of the layer that make them."""


def batch(form: str, width: int, *, time: int = 5, examples: int = 4, seed: int = 0) -> Tensor | PackedSequence:
    """Make a float64 input (T, B, width) for a form; packed input has unsorted lengths from 1 to T."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(time, examples, width, generator=generator, dtype=torch.float64)
    if form != "packed":
        return x
    lengths = torch.randint(1, time + 1, (examples,), generator=generator)
    lengths[examples // 2] = time
    return pack_padded_sequence(x, lengths, enforce_sorted=False)


def outcome(
    layer: Any, x: Tensor | PackedSequence, *, seed: int = 0, state: bool = True, **options: Any
) -> dict[str, Tensor]:
    """Run a layer forward and backward from one seed.

    Args:
        layer: a recurrent layer.
        x: its input, of the layer's dtype.
        seed: of torch's default generator before the forward; another, fixed one makes the initial state and the
            gradients at the outputs.
        state: whether to give an initial state.
        **options: passed to the layer.

    Returns:
        Outputs, final states and the gradient of every parameter, the input and the initial state, by name.
    """
    generator = torch.Generator().manual_seed(1234)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)

    packed = isinstance(x, PackedSequence)
    data = (x.data if isinstance(x, PackedSequence) else x).detach().clone().requires_grad_()
    given: Any = x._replace(data=data) if isinstance(x, PackedSequence) else data
    hx: Any = None
    inputs = {"input": data}
    if state:
        batch_axis = 0 if getattr(layer, "batch_first", False) else 1
        examples = int(x.batch_sizes[0]) if isinstance(x, PackedSequence) else x.shape[batch_axis]
        count = layer.num_layers * (2 if layer.bidirectional else 1)
        widths = [layer.proj_size or layer.hidden_size, layer.hidden_size]
        parts = [normal(data.new_empty(count, examples, int(w))).requires_grad_() for w in widths]
        inputs["h_0"] = parts[0]
        hx = parts[0]
        if isinstance(layer, nn.LSTM):
            inputs["c_0"] = parts[1]
            hx = tuple(parts)
    torch.manual_seed(seed)
    output, final = layer(given, hx, **options)[:2]
    y = output.data if packed else output
    named = {"output": y}
    named |= dict(zip(("h_n", "c_n"), final if isinstance(final, tuple) else (final,), strict=False))
    total = torch.stack([(normal(value) * value).sum() for value in named.values()]).sum()
    inputs |= dict(layer.named_parameters())
    leaves = {name: value for name, value in inputs.items() if value.requires_grad}
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    found = {name: value.detach() for name, value in named.items()}
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        found[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return found


def error(found: Tensor, expected: Tensor) -> float:
    """Return ‖found - expected‖ / ‖expected‖, absolute where expected is 0, infinite for NaN or another shape."""
    if found.shape != expected.shape or not bool(torch.isfinite(found).all()):
        return float("inf")
    scale = float(torch.linalg.vector_norm(expected.double()))
    return float(torch.linalg.vector_norm(found.double() - expected.double())) / (scale or 1.0)


def agree(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Compare two outcomes.

    Raises:
        AssertionError: a tensor is missing or its relative error is above the tolerance; 0 asks for equal bits.
    """
    if found.keys() != expected.keys() or not found:
        raise AssertionError(f"one outcome has {sorted(found)}, the other {sorted(expected)}")
    wrong = {name: error(found[name], expected[name]) for name in expected}
    wrong = {name: e for name, e in wrong.items() if not e <= tolerance}
    if wrong:
        raise AssertionError(f"relative error above {tolerance:g}: {wrong}")
