"""What must hold of a regularized model of another package; each check takes the model and a way to run it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import recurdrop as rd

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}
NOISE = rd.Variational(input=0.1, recurrent=0.25, output=0.25)
"""The noise, and above it what keeps Lightning's trainers silent."""


def check(model: nn.Module, run: Callable[[], Tensor], theirs: nn.Module) -> None:
    """Check noise in training, none in evaluation, gradients everywhere, spread, and the way back.

    Args:
        model: regularized.
        run: its output for a fixed input.
        theirs: a model made the same way that has not been regularized.
    """
    model.train()
    assert not torch.equal(run(), run())
    torch.manual_seed(1)
    first = run()
    torch.manual_seed(1)
    assert torch.equal(run(), first), "torch.manual_seed governs the noise"

    model.eval()
    state = torch.get_rng_state()
    still = run()
    assert torch.equal(run(), still)
    assert torch.equal(torch.get_rng_state(), state), "evaluation draws nothing"

    with rd.mc_dropout(model):
        samples = torch.stack([run() for _ in range(8)])
    assert float(samples.std(0).min()) > 0, "every output has a spread"
    assert torch.equal(run(), still), "and none is left"

    theirs.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(theirs.state_dict(), strict=True)
    assert torch.equal(run(), still)


def gradients_reach_all_weights(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    model.train()
    model.zero_grad()
    loss().backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not without
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def recurrent(model: nn.Module) -> list[nn.RNNBase]:
    """The model's recurrent layers; at least one, and all of them ours."""
    found = [layer for layer in model.modules() if isinstance(layer, nn.RNNBase)]
    assert found
    assert all(isinstance(layer, rd.LSTM | rd.GRU | rd.RNN) for layer in found)
    return found
