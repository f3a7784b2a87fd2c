"""The LSTM's time loop and its hand-written backward; the equations are those of `reference`."""

from __future__ import annotations

import torch
from torch import Tensor

from recurdrop.ops.loop import Gradients, Loop, Saved
from recurdrop.ops.product import RecurrentProduct, keep, previous, rows, weights_of


def forward(loop: Loop) -> Saved:
    """Run the loop. Saved gates are i, f, g, o after their nonlinearities, g before its mask."""
    x, c0 = loop.x, loop.cell_state
    time, batch, width = x.shape
    hidden = width // 4
    gates, h, c = torch.empty_like(x), x.new_empty(time, *loop.h0.shape), x.new_empty(time, batch, hidden)
    product = RecurrentProduct(loop.w_hh, loop.recurrent, 4, (time, batch))
    candidate, cell = rows(loop.candidate, time), rows(loop.cell, time)
    zone_c, zone_h = rows(loop.zone_c, time), rows(loop.zone_h, time)
    squashed, projected = torch.empty_like(c0), None if loop.w_hr is None else torch.empty_like(loop.h0)
    h_old, c_old = loop.h0, c0
    for t in loop.order():
        a = product.forward(t, h_old, x[t], gates[t])
        i, f, g, o = a.split(hidden, 1)
        a[:, : 2 * hidden].sigmoid_()
        g.tanh_()
        o.sigmoid_()
        c_new = torch.mul(f, c_old, out=c[t])
        mask = candidate[t]
        c_new.addcmul_(i, g if mask is None else g * mask)
        mask = cell[t]
        if mask is not None:
            c_new.mul_(mask)
        torch.tanh(c_new, out=squashed)
        if loop.w_hr is None:
            h_new = torch.mul(o, squashed, out=h[t])
        else:
            h_new = torch.mm(squashed.mul_(o), loop.w_hr.t(), out=projected)
        h_old = keep(zone_h[t], h_old, h_new, h[t])
        c_old = keep(zone_c[t], c_old, c_new, c_new)
    return Saved(h, c, gates)


def backward(loop: Loop, saved: Saved, d_h: Tensor | None, d_c: Tensor | None) -> Gradients:
    """Run the loop backward.

    What does not depend on the incoming gradient is computed for all steps at once: `da` starts as the derivative of
    each pre-activation with respect to c~ (for i, f, g) or h~ (for o), and becomes its gradient step by step.
    """
    h, c, gates = saved
    time, hidden = len(h), c.shape[2]
    product = RecurrentProduct(loop.w_hh, loop.recurrent, 4, (time, h.shape[1]), back=True, gradient=loop.detach)
    i, f, g, o = gates.split(hidden, 2)
    c_before, h_before = previous(c, loop.cell_state, loop.reverse), previous(h, loop.h0, loop.reverse)
    masked_g = g if loop.candidate is None else g * loop.candidate
    c_new = c
    if loop.zone_c is not None:
        c_new = torch.addcmul(f * c_before, i, masked_g)
        c_new = c_new if loop.cell is None else c_new * loop.cell
    squashed = torch.tanh(c_new)
    da = torch.empty_like(gates)
    di, df, dg, do = da.split(hidden, 2)
    torch.mul(masked_g, i - i * i, out=di)
    torch.mul(c_before, f - f * f, out=df)
    torch.mul(i, 1 - g * g, out=dg)
    torch.mul(squashed, o - o * o, out=do)
    if loop.candidate is not None:
        dg *= loop.candidate
    through_c = f
    if loop.cell is not None:
        da[..., : 3 * hidden].unflatten(2, (3, hidden)).mul_(loop.cell.unsqueeze(2))
        through_c = f * loop.cell
    through_h = o - o * squashed * squashed

    old_h, new_h = weights_of(loop.zone_h, h.dtype)
    old_c, new_c = weights_of(loop.zone_c, h.dtype)
    keep_h, take_h, keep_c, take_c = (rows(weight, time) for weight in (old_h, new_h, old_c, new_c))
    d_projected = torch.empty_like(h) if loop.w_hr is not None else None
    h_gradient, c_gradient = torch.zeros_like(loop.h0), torch.zeros_like(loop.cell_state)
    for t in reversed(loop.order()):
        if d_h is not None:
            h_gradient = h_gradient + d_h[t]
        if d_c is not None:
            c_gradient = c_gradient + d_c[t]
        d_new, carry_h = _split(h_gradient, keep_h[t], take_h[t])
        if d_projected is not None and loop.w_hr is not None:
            d_projected[t] = d_new
            d_new = d_new @ loop.w_hr
        d_cell, carry_c = _split(c_gradient, keep_c[t], take_c[t])
        d_cell = torch.addcmul(d_cell, d_new, through_h[t])
        step = da[t]
        step[:, : 3 * hidden].unflatten(1, (3, hidden)).mul_(d_cell[:, None])
        step[:, 3 * hidden :].mul_(d_new)
        h_gradient = product.backward(t, step)
        c_gradient = d_cell * through_c[t]
        if carry_h is not None:
            h_gradient = h_gradient + carry_h
        if carry_c is not None:
            c_gradient = c_gradient + carry_c
    d_w_hr = None
    if d_projected is not None:
        d_w_hr = d_projected.flatten(0, 1).t() @ (o * squashed).flatten(0, 1)
    return Gradients(da, h_gradient, c_gradient, product.weight_gradient(da, h_before), None, d_w_hr)


def _split(gradient: Tensor, old: Tensor | None, new: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Split a gradient at a zone into what goes to the new value and what goes to the old one."""
    if old is None or new is None:
        return gradient, None
    return gradient * new, gradient * old
