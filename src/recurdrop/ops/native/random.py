"""The generator of `recurdrop.philox` in compiled code: the same bits, drawn by all threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from recurdrop import philox
from recurdrop.ops.native import library


def register() -> None:
    """Make it the kernel of `recurdrop::keep_bits` on the CPU."""
    philox.keep_bits.register_kernel("cpu")(keep_bits)


def keep_bits(key: Tensor, stream: int, sizes: Sequence[int], threshold: int) -> Tensor:
    """As `philox.keep_bits`."""
    out = torch.empty(tuple(sizes), dtype=torch.bool)
    core = library.CORE
    if core is not None and out.numel():
        shape = (ctypes.c_int64 * 4)(*sizes)
        threads = library.threads() if out.numel() >= _WORTH_A_THREAD else 1
        core.recurdrop_keep_bits(int(key) & _ALL, stream, shape, threshold, out.data_ptr(), threads)
    return out


_ALL = 2**64 - 1
_WORTH_A_THREAD = 100_000
"""Bits above which waking the other threads costs less than it saves."""
