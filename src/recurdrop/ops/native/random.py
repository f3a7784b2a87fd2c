"""The generator of `recurdrop.philox` in compiled code: the same bits and normal numbers, drawn by all threads.

Registered only where there is a compiled core.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from recurdrop import philox
from recurdrop.ops.native import library


def register() -> None:
    """Make them what `philox` draws with on the CPU."""
    philox.COMPILED.update(keep_bits=keep_bits, multipliers=multipliers, normals=normals)
    philox.keep_bits_operator.register_kernel("cpu")(keep_bits)
    philox.normals_operator.register_kernel("cpu")(_standard_normals)


def keep_bits(key: Tensor, stream: int, sizes: Sequence[int], threshold: int) -> Tensor:
    """As `philox.keep_bits`."""
    out = torch.empty(tuple(sizes), dtype=torch.bool, device="cpu")
    if out.numel():
        shape = (ctypes.c_int64 * 4)(*sizes)
        cast(ctypes.CDLL, library.CORE).recurdrop_keep_bits(
            int(key) & _ALL, stream, shape, threshold, out.data_ptr(), _threads(out)
        )
    return out


def multipliers(
    key: Tensor, stream: int, sizes: Sequence[int], threshold: int, kept: float, dtype: torch.dtype
) -> Tensor:
    """As `philox.multipliers`."""
    return _numbers("multipliers", key, stream, sizes, threshold, kept, dtype)


def normals(
    key: Tensor, stream: int, sizes: Sequence[int], mean: float, deviation: float, dtype: torch.dtype
) -> Tensor:
    """As `philox.normals`, up to rounding; computed in float64 for float64, else in float32."""
    return _numbers("normals", key, stream, sizes, mean, deviation, dtype)


def _standard_normals(key: Tensor, stream: int, sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    return normals(key, stream, sizes, 0.0, 1.0, dtype)


def _numbers(name: str, key: Tensor, stream: int, sizes: Sequence[int], *rest: Any) -> Tensor:
    *parameters, dtype = rest
    double = dtype == torch.float64
    out = torch.empty(tuple(sizes), dtype=torch.float64 if double else torch.float32, device="cpu")
    if out.numel():
        shape, draw = (ctypes.c_int64 * 4)(*sizes), getattr(library.CORE, f"recurdrop_{name}")
        draw(int(key) & _ALL, stream, shape, *parameters, double, out.data_ptr(), _threads(out))
    return out.to(dtype)


def _threads(out: Tensor) -> int:
    return library.threads() if out.numel() >= _WORTH_A_THREAD else 1


_ALL = 2**64 - 1
_WORTH_A_THREAD = 100_000
"""Numbers above which waking the other threads costs less than it saves."""
