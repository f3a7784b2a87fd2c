"""Philox4x32-10, the counter-based generator of Salmon et al. 2011, in PyTorch integers.

Element (t, b, g, u) of a stream is a function of the key and of its own indices alone, so that masks do not depend on
the device, the size of the batch, padding or the kernel that reads them:

    key      two 32-bit halves of one integer
    counter  (u // 4, b, t, stream | g << 20), and the four outputs serve u % 4 = 0, 1, 2, 3

`stream` has the site in bits 0-7, the layer in 8-15, the direction in 16 and the source at that site in 24-31.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from recurdrop.tracing import traced

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
# Blocks that stay in a core's cache, and below the size at which torch wakes a second thread.
_BLOCK = 16384


def philox(counter: Sequence[Tensor], key: Sequence[int] | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Run ten rounds on the counters, in place.

    Args:
        counter: four int64 tensors of one shape with values in [0, 2³²); they are overwritten.
        key: two values in [0, 2³²).

    Returns:
        The four tensors, holding independent uniform integers in [0, 2³²).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    high, low = torch.empty_like(c0), torch.empty_like(c0)
    for _ in range(10):
        torch.mul(c0, _MULTIPLIERS[0], out=high)
        torch.mul(c2, _MULTIPLIERS[1], out=low)
        # int64 products wrap, and the mask undoes the sign that the shift brings in.
        torch.bitwise_right_shift(low, 32, out=c0).bitwise_and_(_LOW).bitwise_xor_(c1).bitwise_xor_(k0)
        torch.bitwise_right_shift(high, 32, out=c2).bitwise_and_(_LOW).bitwise_xor_(c3).bitwise_xor_(k1)
        torch.bitwise_and(low, _LOW, out=c1)
        torch.bitwise_and(high, _LOW, out=c3)
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def _blocks(key: Tensor, stream: int, sizes: Sequence[int]) -> Iterator[tuple[slice, tuple[Tensor, ...]]]:
    """Yield (rows, the four outputs of shape (rows, ceil(U / 4))) over the rows t, b, g of a (T, B, G, U) stream."""
    time, batch, gates, units = sizes
    halves = (key & _LOW, (key >> 32) & _LOW)
    on_host = key.device.type == "cpu"
    keys: Sequence[int] | Sequence[Tensor] = [int(half) for half in halves] if on_host else halves
    total, quads = time * batch * gates, -(-units // 4)
    rows = max(1, _BLOCK // max(quads, 1) if on_host else total)
    column = torch.arange(quads, device=key.device)
    for start in range(0, total, rows):
        row = torch.arange(start, min(start + rows, total), device=key.device)[:, None]
        indices = (column, row // gates % batch, row // (gates * batch), stream | (row % gates) << 20)
        counter = [index.expand(len(row), quads).clone() for index in indices]
        yield slice(start, start + len(row)), philox(counter, keys)


@torch.library.custom_op("recurdrop::keep_bits", mutates_args=())
def keep_bits_operator(key: Tensor, stream: int, sizes: Sequence[int], threshold: int) -> Tensor:
    """Draw bits that are True where the stream's integer is at least `threshold`.

    Args:
        key: int64 tensor without axes, on the device of the result.
        stream: the number of the stream.
        sizes: T, B, G, U.
        threshold: round(p · 2³²) for bits that are False with probability p.

    Returns:
        bool tensor of shape (T, B, G, U).
    """
    time, batch, gates, units = sizes
    out = torch.empty(time * batch * gates, -(-units // 4), 4, dtype=torch.bool, device=key.device)
    for rows, outputs in _blocks(key, stream, sizes):
        for k, integers in enumerate(outputs):
            out[rows, :, k] = integers >= threshold
    return out.flatten(1)[:, :units].reshape(time, batch, gates, units).clone()


@keep_bits_operator.register_fake
def _(key: Tensor, stream: int, sizes: Sequence[int], threshold: int) -> Tensor:
    return torch.empty(tuple(sizes), dtype=torch.bool, device=key.device)


@torch.library.custom_op("recurdrop::keep_bits_at", mutates_args=())
def keep_bits_at(key: Tensor, stream: int, rows: Tensor, units: Tensor, threshold: int) -> Tensor:
    """Draw single bits of a stream whose grid is too large to draw whole: those of `keep_bits` at t = g = 0.

    Args:
        key: int64 tensor without axes, on the device of the others.
        stream: the number of the stream.
        rows: b of each bit, int64 in [0, 2³²).
        units: u of each bit, int64 in [0, 2³⁴), of the same shape.
        threshold: as for `keep_bits`.

    Returns:
        bool tensor of that shape.
    """
    counter = [units // 4, rows.clone(), torch.zeros_like(rows), torch.full_like(rows, stream)]
    outputs = torch.stack(philox(counter, (key & _LOW, (key >> 32) & _LOW)))
    return outputs.gather(0, (units % 4)[None])[0] >= threshold


@keep_bits_at.register_fake
def _(key: Tensor, stream: int, rows: Tensor, units: Tensor, threshold: int) -> Tensor:
    return torch.empty(units.shape, dtype=torch.bool, device=key.device)


@torch.library.custom_op("recurdrop::normals", mutates_args=())
def normals_operator(key: Tensor, stream: int, sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Draw standard normal numbers by the transform of Box and Muller, computed here in float64.

    The outputs w, w' of each pair of units give √(-2 ln u) cos 2πu' and √(-2 ln u) sin 2πu', where u = (w + ½) / 2³².

    Args:
        key: int64 tensor without axes, on the device of the result.
        stream: the number of the stream.
        sizes: T, B, G, U.
        dtype: of the result.

    Returns:
        tensor of shape (T, B, G, U).
    """
    time, batch, gates, units = sizes
    out = torch.empty(time * batch * gates, -(-units // 4), 4, dtype=dtype, device=key.device)
    for rows, outputs in _blocks(key, stream, sizes):
        uniform = [(integers + 0.5) * 2.0**-32 for integers in (o.double() for o in outputs)]
        for k in (0, 2):
            radius, angle = torch.sqrt(-2 * torch.log(uniform[k])), 2 * math.pi * uniform[k + 1]
            out[rows, :, k] = (radius * torch.cos(angle)).to(dtype)
            out[rows, :, k + 1] = (radius * torch.sin(angle)).to(dtype)
    return out.flatten(1)[:, :units].reshape(time, batch, gates, units).clone()


@normals_operator.register_fake
def _(key: Tensor, stream: int, sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(sizes), dtype=dtype, device=key.device)


COMPILED: dict[str, Callable[..., Tensor]] = {}
"""Compiled functions for the CPU, in place of those below; the dispatch of an operator costs more than a small mask."""


def _compiled(name: str, key: Tensor) -> Callable[..., Tensor] | None:
    # Tracers see operators, and no number that a schedule changes may be one of their arguments.
    return None if traced(key) or key.device.type != "cpu" else COMPILED.get(name)


def keep_bits(key: Tensor, stream: int, sizes: Sequence[int], threshold: int) -> Tensor:
    """Draw bits as `keep_bits_operator`, the shortest way."""
    found: Tensor = (_compiled("keep_bits", key) or keep_bits_operator)(key, stream, sizes, threshold)
    return found


def multipliers(
    key: Tensor, stream: int, sizes: Sequence[int], threshold: int, kept: float, dtype: torch.dtype
) -> Tensor:
    """Draw the bits of `keep_bits` as numbers.

    Args:
        key: as for `keep_bits_operator`.
        stream: likewise.
        sizes: likewise.
        threshold: likewise.
        kept: the number for True; that for False is 0.
        dtype: of the result.

    Returns:
        tensor of shape (T, B, G, U).
    """
    if compiled := _compiled("multipliers", key):
        return compiled(key, stream, sizes, threshold, kept, dtype)
    return keep_bits(key, stream, sizes, threshold).to(dtype).mul_(kept)


def normals(
    key: Tensor, stream: int, sizes: Sequence[int], mean: float, deviation: float, dtype: torch.dtype
) -> Tensor:
    """Draw normal numbers.

    Args:
        key: as for `normals_operator`.
        stream: likewise.
        sizes: likewise.
        mean: of the numbers.
        deviation: their standard deviation.
        dtype: of the result.

    Returns:
        tensor of shape (T, B, G, U).
    """
    if compiled := _compiled("normals", key):
        return compiled(key, stream, sizes, mean, deviation, dtype)
    standard: Tensor = normals_operator(key, stream, sizes, dtype)
    return standard.mul_(deviation).add_(mean)
