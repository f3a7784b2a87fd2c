"""The plain RNN's time loop and its hand-written backward; the equations are those of `reference`."""

from __future__ import annotations

import torch
from torch import Tensor

from recurdrop.ops.loop import Gradients, Loop, Saved
from recurdrop.ops.product import RecurrentProduct, keep, previous, rows, weights_of


def forward(loop: Loop) -> Saved:
    """Run the loop. Saved gates are h~, before zoneout."""
    x = loop.x
    time, batch, _ = x.shape
    gates, h = torch.empty_like(x), torch.empty_like(x)
    product = RecurrentProduct(loop.w_hh, loop.recurrent, 1, (time, batch))
    zone_h = rows(loop.zone_h, time)
    h_old = loop.h0
    for t in loop.order():
        a = product.forward(t, h_old, x[t], gates[t])
        h_new = a.relu_() if loop.mode == "RNN_RELU" else a.tanh_()
        h_old = keep(zone_h[t], h_old, h_new, h[t])
    return Saved(h, x.new_empty(0), gates)


def backward(loop: Loop, saved: Saved, d_h: Tensor | None, d_c: Tensor | None) -> Gradients:
    """Run the loop backward; `da` starts as φ' for all steps at once."""
    del d_c
    h, _, gates = saved
    time = len(h)
    product = RecurrentProduct(loop.w_hh, loop.recurrent, 1, (time, h.shape[1]), back=True, gradient=loop.detach)
    da = (gates > 0).to(gates.dtype) if loop.mode == "RNN_RELU" else 1 - gates * gates
    old, new = weights_of(loop.zone_h, h.dtype)
    keep_h, take_h = rows(old, time), rows(new, time)
    gradient = torch.zeros_like(loop.h0)
    for t in reversed(loop.order()):
        if d_h is not None:
            gradient = gradient + d_h[t]
        zone, take = keep_h[t], take_h[t]
        step = da[t].mul_(gradient if take is None else gradient * take)
        before = product.backward(t, step)
        gradient = before if zone is None else before.addcmul_(gradient, zone)
    before = previous(h, loop.h0, loop.reverse)
    return Gradients(da, gradient, None, product.weight_gradient(da, before), None, None)
