"""Which backend runs a call, and why."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurdrop.errors import BackendError, invalid
from recurdrop.ops import eager, native, reference, torch_nn
from recurdrop.ops.contract import Call, Problem, Result
from recurdrop.ops.native import recompute

# In order of preference: "auto" takes the first that supports a problem, so none after the reference.
BACKENDS: dict[str, ModuleType] = {
    "native": native,
    "torch": torch_nn,
    "eager": eager,
    "reference": reference,
    "recompute": recompute,
}


class Choice(NamedTuple):
    """The backend that was chosen, and why those before it were not.

    Attributes:
        name: of the backend.
        refused: (name, reason) of each backend that was asked first and can't.
    """

    name: str
    refused: tuple[tuple[str, str], ...]


def check_backend(name: str) -> str:
    """Return the name of a backend, or "auto".

    Raises:
        ValueError: there is none of that name.
    """
    if name != "auto" and name not in BACKENDS:
        raise invalid(f"backend must be 'auto' or one of {', '.join(map(repr, BACKENDS))}", name, "Choose one of them.")
    return name


def choose(problem: Problem, wanted: str = "auto") -> Choice:
    """Choose the backend for a problem.

    Raises:
        BackendError: the one that was asked for can't run it; the message says why.
    """
    if check_backend(wanted) != "auto":
        reason = BACKENDS[wanted].supports(problem)
        if reason is not None:
            raise BackendError(f'backend="{wanted}" can\'t run this: {reason}. Use backend="auto".')
        return Choice(wanted, ())
    refused: list[tuple[str, str]] = []
    for name, backend in BACKENDS.items():
        reason = backend.supports(problem) or _left_to_torch(name, problem)
        if reason is None:
            return Choice(name, tuple(refused))
        refused.append((name, reason))
    raise BackendError(f"no backend can run this: {refused}. Please report it.")


def _left_to_torch(name: str, problem: Problem) -> str | None:
    """Say why "auto" passes over a backend that could run a problem, or None."""
    narrow = problem.dtype in (torch.float16, torch.bfloat16)
    if name == "native" and narrow and torch_nn.supports(problem) is None:
        return f"torch's own kernels run {problem.dtype} where no noise is inside the time loop"
    return None


def run(call: Call, wanted: str = "auto", *, steps: bool = False, autocast: torch.dtype | None = None) -> Result:
    """Compute one layer in one direction.

    float16 and bfloat16 are computed in float32 and rounded at the end, except by torch's own kernels and, on
    processors that multiply bfloat16, by the compiled ones.

    Args:
        call: what to compute.
        wanted: name of a backend, or "auto".
        steps: whether c of every step is needed.
        autocast: the dtype to compute in under `torch.autocast`, or None.
    """
    if autocast is not None:
        with torch.autocast(call.x.device.type, enabled=False):
            return run(_to(call, autocast), wanted, steps=steps)
    choice = choose(Problem.of(call, steps=steps), wanted)
    backend = BACKENDS[choice.name]
    if _widens(choice.name, call.x.dtype):
        narrow: Result = _to(backend.run(_to(call, torch.float32)), call.x.dtype)
        return narrow
    result: Result = backend.run(call)
    return result


def _widens(name: str, dtype: torch.dtype) -> bool:
    """Say whether a backend is to be given a call in float32 instead."""
    if dtype not in (torch.float16, torch.bfloat16) or name == "torch":
        return False
    return name not in ("native", "recompute") or native.widens(dtype)


def backends() -> list[tuple[str, str | None]]:
    """Return every backend with the reason why it is missing on this machine, or None where it is there."""
    return [(name, native.missing() if backend in (native, recompute) else None) for name, backend in BACKENDS.items()]


def _to(value: Any, dtype: torch.dtype) -> Any:
    """Convert every floating tensor in a nest of tuples."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, tuple):
        parts = [_to(part, dtype) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
