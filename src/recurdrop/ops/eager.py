"""The fast path in PyTorch: one product for all input projections, then a time loop with a hand-written backward.

It needs no compiler and is the specification for authors of kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from recurdrop.ops.contract import Call, Problem, Result
from recurdrop.ops.outside import enter, leave, past_end
from recurdrop.ops.recurrence import recurrence


def supports(problem: Problem) -> str | None:
    """Say why this path can't run a problem, or None if it can."""
    if problem.per_example:
        return "the eager loop takes one matrix for all examples"
    if problem.exported:
        return "the eager loop is an operator of recurdrop, which an exported program does not have"
    if problem.transformed:
        return "the eager loop can't be seen into by torch.func and forward-mode differentiation"
    if learned := [site for site in problem.learned if site in problem.in_loop]:
        return f"the eager loop gives no gradient to masks, and those at {', '.join(learned)} ask for one"
    return None


def run(call: Call) -> Result:
    """Compute a call: sites outside the loop, input products, the loop, output site."""
    inner = enter(call)
    x, b_hn = _project(inner)
    zone_c, zone_h = inner.masks.zone_c, inner.masks.zone_h
    if call.lengths is not None:
        past = past_end(call.lengths, len(x))
        zone_h = _hold(zone_h, past)
        zone_c = _hold(zone_c, past) if inner.c0 is not None else None
    m = inner.masks
    h, c, _ = recurrence(
        call.mode,
        x,
        inner.h0,
        inner.c0,
        inner.weights.w_hh,
        b_hn,
        inner.weights.w_hr,
        m.recurrent,
        m.candidate,
        m.cell,
        zone_c,
        zone_h,
        m.detach,
        call.reverse,
    )
    last = 0 if call.reverse else -1
    has_cell = inner.c0 is not None
    return leave(call, h, c if has_cell else None, h[last], c[last] if has_cell else None)


def _project(call: Call) -> tuple[Tensor, Tensor | None]:
    """Return W x + b of every step, with b' where it adds up, and the bias that does not: the GRU's b'_n."""
    w, mask = call.weights, call.masks.input
    bias, b_hn = w.b_ih, None
    if w.b_ih is not None and w.b_hh is not None:
        if call.mode == "GRU":
            hidden = len(w.b_hh) // 3
            b_hn = w.b_hh[2 * hidden :]
            bias = w.b_ih + torch.cat((w.b_hh[: 2 * hidden], torch.zeros_like(b_hn)))
        else:
            bias = w.b_ih + w.b_hh
    if mask is None:
        return linear(call.x, w.w_ih, bias), b_hn
    blocks = w.w_ih.chunk(mask.shape[2])
    parts = [linear(call.x * mask[:, :, k], block) for k, block in enumerate(blocks)]
    x = torch.cat(parts, 2)
    return x if bias is None else x + bias, b_hn


def _hold(zone: Tensor | None, past: Tensor) -> Tensor:
    """Keep the old state past an example's end, and by the zone before it."""
    if zone is None:
        return past
    return zone | past if zone.dtype == torch.bool else torch.where(past, 1.0, zone)
