"""The sites outside the time loop, for backends whose loop does not know them."""

from __future__ import annotations

import torch
from torch import Tensor

from recurdrop.ops.contract import Call, Result
from recurdrop.sites import Affine
from recurdrop.tracing import traced


def effective(weight: Tensor, mask: Tensor | Affine | None) -> Tensor:
    """Return w ⊙ scale + shift as a value; the parameter stays as it is."""
    if mask is None:
        return weight
    if not isinstance(mask, tuple):
        return weight * mask
    scale, shift = mask
    # Weight noise only adds: two passes over a large matrix less, where asking for the scale costs nothing.
    known = scale.dim() == 0 and scale.device.type == "cpu" and not traced(scale)
    return weight + shift if known and scale.item() == 1 else torch.addcmul(shift, weight, scale)


def enter(call: Call) -> Call:
    """Apply the weight and state sites, and the input site where it has no gate axis; take those masks out."""
    masks, weights = call.masks, call.weights
    tied = masks.input is not None and masks.input.dim() == 3
    state = masks.state
    return call._replace(
        x=call.x * masks.input if tied and masks.input is not None else call.x,
        h0=call.h0 if state is None else call.h0 * state,
        c0=call.c0 if state is None or call.c0 is None else call.c0 * state,
        weights=weights._replace(
            w_ih=effective(weights.w_ih, masks.weight_ih), w_hh=effective(weights.w_hh, masks.weight_hh)
        ),
        masks=masks._replace(
            input=None if tied else masks.input, weight_ih=None, weight_hh=None, state=None, output=None
        ),
    )


def leave(call: Call, h: Tensor, c: Tensor | None, h_n: Tensor, c_n: Tensor | None) -> Result:
    """Zero what lies past the lengths and apply the output site."""
    if call.lengths is not None:
        past = past_end(call.lengths, len(h))
        h = h.masked_fill(past, 0)
        c = None if c is None else c.masked_fill(past, 0)
    output = call.masks.output
    return Result(h if output is None else h * output, h, c, h_n, c_n)


def past_end(lengths: Tensor, time: int) -> Tensor:
    """Return (T, B, 1) bools that are True at steps past an example's length."""
    return (torch.arange(time, device=lengths.device)[:, None] >= lengths)[..., None]
