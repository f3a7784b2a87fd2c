"""Tracers and transforms of functions, which know only torch's own operators."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad


def transformed() -> bool:
    """Say whether one of them is at work: `torch.compile`, `torch.jit.trace`, `torch.func`, forward differentiation."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )
