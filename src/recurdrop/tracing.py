"""Who else looks at a call: tracers, transforms of functions, tensors that are no plain memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def traced(x: Tensor) -> bool:
    """Say whether operators are recorded, counted or run without numbers: what is no operator would be missed."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._len_torch_dispatch_stack() > 0
        or type(x) not in (Tensor, nn.Parameter)
    )


def transformed() -> bool:
    """Say whether `torch.func` or forward-mode differentiation is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def batched(gradient: Tensor | None) -> bool:
    """Say whether a gradient stands for many, as with `is_grads_batched=True`."""
    if gradient is None:
        return False
    functorch = torch._C._functorch
    return functorch.is_legacy_batchedtensor(gradient) or functorch.is_functorch_wrapped_tensor(gradient)
