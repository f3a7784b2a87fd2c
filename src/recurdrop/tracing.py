"""Who else looks at a call: tracers, transforms of functions, tensors that are no plain memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only

from recurdrop.errors import invalid

P = ParamSpec("P")
R = TypeVar("R")


def traced(x: Tensor) -> bool:
    """Say whether operators are recorded, counted or run without numbers: what is no operator would be missed."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._len_torch_dispatch_stack() > 0
        or type(x) not in (Tensor, nn.Parameter)
    )


def exporting() -> bool:
    """Say whether a program is being made that runs where there is no recurdrop: `torch.export`, `torch.jit.trace`."""
    # The flag in place of torch.compiler.is_exporting(), which Dynamo of torch 2.8 takes for True in every graph.
    return torch.compiler._is_exporting_flag or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def transformed() -> bool:
    """Say whether `torch.func` or forward-mode differentiation is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def vmap_randomness() -> str | None:
    """Return the `randomness` of a `torch.vmap` that is at work: "error", "different" or "same"; None without one."""
    if not torch._C._are_functorch_transforms_active():
        return None
    from torch._functorch.pyfunctorch import VmapInterpreter, retrieve_all_functorch_interpreters

    levels = retrieve_all_functorch_interpreters()
    said = {level.randomness() for level in levels if isinstance(level, VmapInterpreter)}
    return next((one for one in ("error", "different", "same") if one in said), None)


def lacks_rules() -> bool:
    """Say whether `torch.vmap` or forward-mode differentiation runs, for which torch's fused kernels have no rules."""
    return forward_ad._current_level >= 0 or vmap_randomness() is not None


@contextmanager
def no_transforms() -> Iterator[None]:
    """Compute on plain tensors inside, whatever `torch.func` does with the function around."""
    if not torch._C._are_functorch_transforms_active():
        yield
        return
    from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

    with temporarily_clear_interpreter_stack():
        yield


@contextmanager
def no_modes() -> Iterator[None]:
    """Compute on plain tensors inside, whatever transforms or modes such as fake tensors are on."""
    if torch.compiler.is_compiling():
        yield
        return
    with no_transforms(), _disable_current_modes():
        yield


def unwrapped(x: Tensor) -> Tensor:
    """Return the plain tensor inside those that `torch.func` wraps around it."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        if torch._is_functional_tensor(x):
            torch._sync(x)  # type: ignore[attr-defined, no-untyped-call]
        x = torch._C._functorch.get_unwrapped(x)
    return x


def outside_transforms(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw random numbers on plain tensors, for they depend on nothing that is transformed.

    The function refuses `torch.vmap`, where each example would need numbers of its own, unless its `randomness` is
    "same".
    """

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch._C._are_functorch_transforms_active():
            return draw(*args, **kwargs)
        if vmap_randomness() not in (None, "same"):
            rule = "masks can't be drawn inside torch.vmap, where each example would need masks of its own"
            remedy = (
                "Draw them outside, with sample_masks, and give them as masks=; or let vmap have randomness='same'."
            )
            raise invalid(rule, f"randomness={vmap_randomness()!r}", remedy)
        plain: Any = tree_map_only(Tensor, unwrapped, (args, kwargs))
        with no_transforms():
            return draw(*plain[0], **plain[1])

    return drawn


def batched(gradient: Tensor | None) -> bool:
    """Say whether a gradient stands for many, as with `is_grads_batched=True`."""
    if gradient is None:
        return False
    functorch = torch._C._functorch
    return functorch.is_legacy_batchedtensor(gradient) or functorch.is_functorch_wrapped_tensor(gradient)
