"""The hand-written time loops as operators of torch: traceable, compilable, differentiable once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurdrop.errors import BackendError
from recurdrop.ops import gru_loop, lstm_loop, rnn_loop
from recurdrop.ops.loop import Loop, Saved

_LOOPS = {"LSTM": lstm_loop, "GRU": gru_loop, "RNN_TANH": rnn_loop, "RNN_RELU": rnn_loop}
_SAVED_PER_UNIT = {"LSTM": 4, "GRU": 4, "RNN_TANH": 1, "RNN_RELU": 1}
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


@torch.library.custom_op("recurdrop::recurrence", mutates_args=())
def recurrence(
    mode: str,
    x: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_hh: Tensor,
    b_hn: Tensor | None,
    w_hr: Tensor | None,
    recurrent: Tensor | None,
    candidate: Tensor | None,
    cell: Tensor | None,
    zone_c: Tensor | None,
    zone_h: Tensor | None,
    detach: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the loop of a `Loop` with these fields; returns h, c and what the backward needs, as `Saved`."""
    loop = Loop(mode, x, h0, c0, w_hh, b_hn, w_hr, recurrent, candidate, cell, zone_c, zone_h, detach, reverse)
    with torch.autocast(x.device.type, enabled=False):
        return tuple(_LOOPS[mode].forward(loop))


@recurrence.register_fake
def _(mode: str, x: Tensor, h0: Tensor, c0: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    time, batch, width = x.shape
    hidden = width // _GATES[mode]
    c = x.new_empty(0) if c0 is None else x.new_empty(time, batch, hidden)
    return x.new_empty(time, batch, h0.shape[1]), c, x.new_empty(time, batch, _SAVED_PER_UNIT[mode] * hidden)


@torch.library.custom_op("recurdrop::recurrence_backward", mutates_args=())
def recurrence_backward(
    d_h: Tensor | None,
    d_c: Tensor | None,
    h: Tensor,
    c: Tensor,
    gates: Tensor,
    mode: str,
    x: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_hh: Tensor,
    b_hn: Tensor | None,
    w_hr: Tensor | None,
    recurrent: Tensor | None,
    candidate: Tensor | None,
    cell: Tensor | None,
    zone_c: Tensor | None,
    zone_h: Tensor | None,
    detach: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, h0, c0, w_hh, b_hn, w_hr; those of absent arguments are empty."""
    loop = Loop(mode, x, h0, c0, w_hh, b_hn, w_hr, recurrent, candidate, cell, zone_c, zone_h, detach, reverse)
    with torch.autocast(x.device.type, enabled=False):
        found = _LOOPS[mode].backward(loop, Saved(h, c, gates), d_h, d_c)
    d_x, d_h0, d_c0, d_w_hh, d_b_hn, d_w_hr = (x.new_empty(0) if part is None else part for part in found)
    return d_x, d_h0, d_c0, d_w_hh, d_b_hn, d_w_hr


@recurrence_backward.register_fake
def _(
    d_h: Tensor | None,
    d_c: Tensor | None,
    h: Tensor,
    c: Tensor,
    gates: Tensor,
    mode: str,
    x: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_hh: Tensor,
    b_hn: Tensor | None,
    w_hr: Tensor | None,
    *rest: Any,
) -> tuple[Tensor, ...]:
    like = (x, h0, c0, w_hh, b_hn, w_hr)
    return tuple(x.new_empty(0) if part is None else torch.empty_like(part) for part in like)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mode, ctx.reverse = inputs[0], inputs[-1]
    ctx.save_for_backward(*output, *inputs[1:-1])


def _backward(ctx: Any, d_h: Tensor | None, d_c: Tensor | None, d_gates: Tensor | None) -> tuple[Tensor | None, ...]:
    del d_gates
    h, c, gates, *inputs = ctx.saved_tensors
    found = recurrence_backward(d_h, d_c, h, c, gates, ctx.mode, *inputs, ctx.reverse)
    present = (gradient if part is not None else None for gradient, part in zip(found, inputs[:6], strict=True))
    return (None, *present, *[None] * 7)


recurrence.register_autograd(_backward, setup_context=_setup)


def _no_second_derivative(ctx: Any, *gradients: Tensor) -> None:
    raise BackendError(
        "the eager backend is differentiable once; got a second derivative. "
        'Make the layer with backend="reference", which is differentiable as often as PyTorch.'
    )


recurrence_backward.register_autograd(_no_second_derivative)
