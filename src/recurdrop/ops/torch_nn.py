"""torch's own fused kernels (oneDNN, cuDNN), for noise that stays outside the time loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from recurdrop.ops.contract import Call, Problem, Result
from recurdrop.ops.outside import enter, leave

_KERNELS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}


def supports(problem: Problem) -> str | None:
    """Say why torch's kernels can't run a problem, or None if they can."""
    if problem.in_loop:
        return f"torch's kernels have no place for noise at {', '.join(problem.in_loop)}, inside the time loop"
    if problem.gated_input:
        return "torch's kernels take one input for all gates"
    if problem.per_example:
        return "torch's kernels take one matrix for all examples"
    if problem.no_rules:
        return "torch's kernels have no rules for torch.vmap and forward-mode differentiation"
    if (
        problem.compiled
        and not problem.exported
        and problem.mode == "LSTM"
        and problem.device == "cpu"
        and problem.dtype != torch.float64
    ):
        return "oneDNN's LSTM can't be differentiated inside a compiled graph"
    if problem.steps:
        return "torch's kernels do not give c of every step"
    return None


def run(call: Call) -> Result:
    """Compute a call with torch's kernel."""
    inner = enter(call)
    if inner.lengths is not None:
        return _ragged(call, inner, inner.lengths)
    x = inner.x.flip(0) if call.reverse else inner.x
    y, h_n, c_n = _kernel(inner, (x,), inner.h0, inner.c0)
    return leave(call, y.flip(0) if call.reverse else y, None, h_n, c_n)


def _kernel(
    call: Call, data: tuple[Tensor, ...], h0: Tensor, c0: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Call the kernel on (x,), or on (packed data, batch sizes)."""
    w = call.weights
    flat = [p for p in (w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.w_hr) if p is not None]
    hx = (h0[None], c0[None]) if c0 is not None else h0[None]
    # cuDNN keeps what the backward needs only when told that it trains; without dropout the flag changes no number.
    train = torch.is_grad_enabled()
    options: tuple[object, ...] = (w.b_ih is not None, 1, 0.0, train, False)
    if len(data) == 1:
        out = getattr(torch, _KERNELS[call.mode])(data[0], hx, flat, *options, False)
    else:
        out = getattr(torch, _KERNELS[call.mode])(*data, hx, flat, *options)
    return out[0], out[1][0], out[2][0] if c0 is not None else None


def _ragged(call: Call, inner: Call, lengths: Tensor) -> Result:
    """Pack the examples that have any steps; the others hand their state through."""
    some = lengths > 0
    x, h0, c0, counts = inner.x, inner.h0, inner.c0, lengths
    everyone = bool(some.all())
    if not everyone:
        x, h0, counts = x[:, some], h0[some], lengths[some]
        c0 = None if c0 is None else c0[some]
        if not len(counts):
            h = inner.h0.new_zeros(len(inner.x), *inner.h0.shape)
            return leave(call, h, None, inner.h0, inner.c0)
    if call.reverse:
        x = _reverse(x, counts)
    packed = pack_padded_sequence(x, counts.cpu(), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    data, h_n, c_n = _kernel(inner, (packed.data, packed.batch_sizes), h0[order], None if c0 is None else c0[order])
    y, _ = pad_packed_sequence(PackedSequence(data, packed.batch_sizes, order, back), total_length=len(x))
    h_n, c_n = h_n[back], None if c_n is None else c_n[back]
    if call.reverse:
        y = _reverse(y, counts)
    if not everyone:
        y = inner.h0.new_zeros(len(y), len(some), y.shape[2]).index_copy(1, some.nonzero()[:, 0], y)
        h_n = inner.h0.masked_scatter(some[:, None], h_n)
        c_n = None if c_n is None or inner.c0 is None else inner.c0.masked_scatter(some[:, None], c_n)
    return leave(call, y, None, h_n, c_n)


def _reverse(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each example of x (T, B, F) within its own length."""
    t = torch.arange(len(x), device=x.device)[:, None]
    index = torch.where(t < lengths, lengths - 1 - t, t)
    return x.gather(0, index[..., None].expand(-1, -1, x.shape[2]))
