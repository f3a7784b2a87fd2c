"""Products with a matrix that oneDNN packs once: for a large matrix at every step, faster than a plain product.

It rests on operators of torch that are not public, so it is used only where they are there and where it was measured to
gain: float32 on a CPU, from about 150,000 elements and four rows, over enough steps to pay for the packing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_LEAST_ELEMENTS = 150_000
_LEAST_ROWS = 4
_LEAST_STEPS = 6


def pack(weight: Tensor, rows: int, steps: int) -> Callable[[Tensor], Tensor] | None:
    """Return v ↦ v weightᵀ for v (rows, columns of weight), or None where a plain product is as good.

    Args:
        weight: (M, N).
        rows: of v.
        steps: how often it will be called.
    """
    worth = weight.numel() >= _LEAST_ELEMENTS and rows >= _LEAST_ROWS and steps >= _LEAST_STEPS
    if not worth or weight.device.type != "cpu" or weight.dtype != torch.float32 or not _there():
        return None
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)

    def product(v: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(v, packed, None, "none", [], "")
        return result

    return product


def _there() -> bool:
    operators = torch.ops.mkldnn
    return (
        torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(operators, "_reorder_linear_weight")
        and hasattr(operators, "_linear_pointwise")
    )
