"""The native backend for long sequences: no gates are kept, the backward computes them again from x and the states.

A step then takes one more input and recurrent product, a third more arithmetic, and keeps two tensors of (T, B, H)
(one for GRU and RNN) instead of six (five, two). `backend="recompute"` asks for it; "auto" never takes it.
"""

from __future__ import annotations

from recurdrop.ops import native
from recurdrop.ops.contract import Call, Problem, Result


def supports(problem: Problem) -> str | None:
    """Say why the compiled kernels can't run a problem, or None if they can."""
    return native.supports(problem)


def run(call: Call) -> Result:
    """Compute a call as the native backend does."""
    return native.compute(call, save=False)
