"""The compiled backend: the time loops of LSTM, GRU and RNN with every site, in C++ (`recurdrop.h`)."""

from __future__ import annotations

import torch

from recurdrop.ops import outside
from recurdrop.ops.contract import Call, Problem, Result
from recurdrop.ops.native import library, random
from recurdrop.ops.native.operators import apply

TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""What the compiled kernels are given: float16 always widened to float32, bfloat16 where `widens` says so."""

if library.CORE is not None:
    random.register()


def missing() -> str | None:
    """Say why this backend can't run anything here, or None if it can."""
    return library.MISSING


def about() -> dict[str, str]:
    """Say which vector width is in use, which others there are, and whose threads run it."""
    if library.CORE is None:
        return {}
    borrowed = "torch's OpenMP pool" if library.torch_openmp() else "one, for torch's OpenMP pool was not found"
    return {
        "vector width": f"{library.vector()} of {', '.join(library.vectors())} ({library.VECTOR} forces one)",
        "native bfloat16": "by its own kernels" if library.has_bfloat16() else "widened to float32",
        "native threads": borrowed,
    }


def widens(dtype: torch.dtype) -> bool:
    """Say whether a narrow type is to be computed in float32 and rounded at the end, for want of kernels of its own."""
    return dtype != torch.bfloat16 or not library.has_bfloat16()


def supports(problem: Problem) -> str | None:
    """Say why the compiled kernels can't run a problem, or None if they can."""
    if problem.device != "cpu":
        return f"the compiled kernels run on the CPU, and the input is on {problem.device}"
    if problem.dtype not in TYPES:
        return f"the compiled kernels have no {problem.dtype}"
    if problem.exported:
        return "the compiled kernels are operators of recurdrop, which an exported program does not have"
    if problem.transformed:
        return "the compiled kernels can't be seen into by torch.func and forward-mode differentiation"
    if problem.learned:
        return f"the compiled kernels give no gradient to masks, and those at {', '.join(problem.learned)} ask for one"
    if problem.per_example:
        return "the compiled kernels take one matrix for all examples"
    return missing()


def run(call: Call) -> Result:
    """Compute a call; where gradients may be asked for, its gates are kept for the backward."""
    return compute(call, save=torch.is_grad_enabled())


def compute(call: Call, *, save: bool) -> Result:
    """Compute a call: weight, state and output sites around the compiled layer.

    Args:
        call: what to compute.
        save: keep the gates, (T, B, 4·H) for LSTM and GRU; without them a backward computes them again.
    """
    masks, w = call.masks, call.weights
    h0 = call.h0 if masks.state is None else call.h0 * masks.state
    c0 = call.c0 if masks.state is None or call.c0 is None else call.c0 * masks.state
    h, c, h_n, c_n, _ = apply(
        call.mode,
        call.x,
        h0,
        c0,
        outside.effective(w.w_ih, masks.weight_ih),
        outside.effective(w.w_hh, masks.weight_hh),
        w.b_ih,
        w.b_hh,
        w.w_hr,
        masks.input,
        masks.recurrent,
        masks.candidate,
        masks.cell,
        masks.zone_c,
        masks.zone_h,
        masks.detach,
        call.lengths,
        call.reverse,
        save,
    )
    has_cell = c0 is not None
    y = h if masks.output is None else h * masks.output
    return Result(y, h, c if has_cell else None, h_n, c_n if has_cell else None)
