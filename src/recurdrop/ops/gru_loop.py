"""The GRU's time loop and its hand-written backward; the equations are those of `reference`."""

from __future__ import annotations

import torch
from torch import Tensor

from recurdrop.ops.loop import Gradients, Loop, Saved
from recurdrop.ops.product import RecurrentProduct, keep, previous, rows, weights_of


def forward(loop: Loop) -> Saved:
    """Run the loop. Saved gates are r, z, n after their nonlinearities, n before its mask, and u = U_n h' + b'_n."""
    x = loop.x
    time, batch, width = x.shape
    hidden = width // 3
    gates, h = x.new_empty(time, batch, 4 * hidden), x.new_empty(time, batch, hidden)
    product = RecurrentProduct(loop.w_hh, loop.recurrent, 3, (time, batch))
    candidate, zone_h = rows(loop.candidate, time), rows(loop.zone_h, time)
    from_h = x.new_empty(batch, width)
    h_old = loop.h0
    for t in loop.order():
        product.forward(t, h_old, None, from_h)
        r_z, n, u = gates[t].split((2 * hidden, hidden, hidden), 1)
        torch.add(x[t, :, : 2 * hidden], from_h[:, : 2 * hidden], out=r_z).sigmoid_()
        if loop.b_hn is None:
            u.copy_(from_h[:, 2 * hidden :])
        else:
            torch.add(from_h[:, 2 * hidden :], loop.b_hn, out=u)
        torch.addcmul(x[t, :, 2 * hidden :], r_z[:, :hidden], u, out=n).tanh_()
        mask = candidate[t]
        h_new = torch.lerp(n if mask is None else n * mask, h_old, r_z[:, hidden:], out=h[t])
        h_old = keep(zone_h[t], h_old, h_new, h_new)
    return Saved(h, x.new_empty(0), gates)


def backward(loop: Loop, saved: Saved, d_h: Tensor | None, d_c: Tensor | None) -> Gradients:
    """Run the loop backward.

    `da` starts as the derivatives of h~ with respect to the pre-activations of r and z and to u, which the recurrent
    product gives, for all steps at once; the input's share of n differs and is finished after the loop.
    """
    del d_c
    h, _, gates = saved
    time, hidden = len(h), h.shape[2]
    product = RecurrentProduct(loop.w_hh, loop.recurrent, 3, (time, h.shape[1]), back=True, gradient=loop.detach)
    r, z, n, u = gates.split(hidden, 2)
    h_before = previous(h, loop.h0, loop.reverse)
    masked_n = n if loop.candidate is None else n * loop.candidate
    d_n = (1 - z) * (1 - n * n)
    if loop.candidate is not None:
        d_n *= loop.candidate
    da = torch.empty_like(loop.x)
    d_r, d_z, d_u = da.split(hidden, 2)
    torch.mul(d_n * u, r - r * r, out=d_r)
    torch.mul(h_before - masked_n, z - z * z, out=d_z)
    torch.mul(d_n, r, out=d_u)

    old, new = weights_of(loop.zone_h, h.dtype)
    keep_h, take_h = rows(old, time), rows(new, time)
    gradient = torch.zeros_like(loop.h0)
    for t in reversed(loop.order()):
        if d_h is not None:
            gradient = gradient + d_h[t]
        zone, take = keep_h[t], take_h[t]
        d_new = gradient if take is None else gradient * take
        step = da[t]
        step.unflatten(1, (3, hidden)).mul_(d_new[:, None])
        d_n[t].mul_(d_new)
        before = product.backward(t, step).addcmul_(d_new, z[t])
        gradient = before if zone is None else before.addcmul_(gradient, zone)
    d_x = torch.cat((da[..., : 2 * hidden], d_n), 2)
    d_b = None if loop.b_hn is None else d_u.sum((0, 1))
    return Gradients(d_x, gradient, None, product.weight_gradient(da, h_before), d_b, None)
