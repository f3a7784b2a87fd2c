"""The compiled layer as operators of torch: traceable, compilable, differentiable; again by way of the reference."""

from __future__ import annotations

import ctypes
from typing import Any, cast

import torch
from torch import Tensor

from recurdrop.errors import BackendError
from recurdrop.ops import reference
from recurdrop.ops.contract import CELL, Call, Mode, Weights
from recurdrop.ops.native import library
from recurdrop.ops.native.library import IN_LOOP, CoreCall, Mask
from recurdrop.sites import GATES, Masks
from recurdrop.tracing import batched, traced

_CELLS = ("LSTM", "GRU", "RNN_TANH", "RNN_RELU")
_TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}
_SLOTS = {"LSTM": 4, "GRU": 4, "RNN_TANH": 1, "RNN_RELU": 1}
_MASKS = tuple(f"mask_{site}" for site in ("input", *IN_LOOP))


def _mask(mask: Tensor, dtype: torch.dtype) -> tuple[Mask, Tensor]:
    """Describe a mask by strides; also return the tensor that must outlive the call."""
    if not mask.is_cpu or mask.dim() not in (3, 4):
        raise RuntimeError(
            f"a mask must be on the CPU, as the input is, and have 3 or 4 axes; got {tuple(mask.shape)} on "
            f"{mask.device}. Take what sample_masks returns."
        )
    if mask.dtype not in (dtype, torch.bool):
        mask = mask.to(dtype)
    if mask.shape[-1] > 1 and mask.stride(-1) != 1:
        mask = mask.contiguous()
    strides = [stride if size > 1 else 0 for size, stride in zip(mask.shape, mask.stride(), strict=True)]
    if mask.dim() == 3:
        strides.insert(2, 0)
    gated = mask.dim() == 4 and mask.shape[2] > 1
    return Mask(_address(mask), *strides, mask.dtype == torch.bool, gated), mask


def _address(tensor: Tensor) -> int:
    address = tensor.data_ptr()
    if not address and tensor.numel():
        raise RuntimeError(f"a tensor must have memory; got {type(tensor).__name__} without. Use backend='reference'.")
    return address


def _total(dtype: torch.dtype) -> torch.dtype:
    """In which dtype the core adds up the gradients of weights and biases."""
    return torch.float32 if dtype == torch.bfloat16 else dtype


class _Arguments:
    """A `CoreCall` under construction, and the tensors whose memory it points at."""

    def __init__(self, mode: Mode, x: Tensor, h0: Tensor, hidden: int, reverse: bool) -> None:
        if x.dtype == torch.bfloat16 and not library.has_bfloat16():
            raise BackendError(
                f"the vector width in use must have kernels of bfloat16; got {library.vector()}. "
                "Call the layer, which widens to float32 where there are none."
            )
        time, batch, width = x.shape
        sizes = (time, batch, width, hidden, h0.shape[1])
        self.core = CoreCall(_CELLS.index(mode), _TYPES[x.dtype], reverse, library.threads(), *sizes)
        self.dtype = x.dtype
        self.held: list[Tensor] = []

    def give(self, **tensors: Tensor | None) -> None:
        """Point at tensors."""
        for name, tensor in tensors.items():
            if tensor is not None:
                # The core reads raw memory: what torch's kernels refuse, it would misread.
                wanted = _total(self.dtype) if name.startswith(("d_w", "d_b")) else self.dtype
                wanted = torch.int64 if name == "lengths" else wanted
                if not tensor.is_cpu or tensor.dtype != wanted:
                    raise RuntimeError(
                        f"{name} must be {wanted} on the CPU, as the input is; got {tensor.dtype} on {tensor.device}. "
                        "Convert it."
                    )
                tensor = tensor.contiguous()
                self.held.append(tensor)
                setattr(self.core, name, _address(tensor))

    def give_masks(self, *masks: Tensor | None) -> None:
        """Point at masks, in the order of the operators' arguments."""
        for name, mask in zip(_MASKS, masks, strict=True):
            if mask is not None:
                described, held = _mask(mask, self.dtype)
                self.held.append(held)
                setattr(self.core, name, described)

    def run(self, *, backward: bool) -> None:
        """Call the core with scratch memory of its own."""
        core = library.CORE
        if core is None:
            raise BackendError(f'backend="native" can\'t run this: {library.MISSING}.')
        pointer = ctypes.byref(self.core)
        size = core.recurdrop_work_size(pointer, backward)
        work = torch.empty(size + 64, dtype=torch.uint8, device="cpu")
        self.core.work = work.data_ptr() + -work.data_ptr() % 64
        (core.recurdrop_backward if backward else core.recurdrop_forward)(pointer)


def _inputs(
    mode: Mode,
    x: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    weights: Weights,
    masks: tuple[Tensor | None, ...],
    lengths: Tensor | None,
    reverse: bool,
) -> _Arguments:
    """What forward and backward are both given; shapes that do not fit are refused, for the core trusts them.

    Those of masks are checked by the layers (`masks.check_masks`).
    """
    time, batch, width = x.shape
    rows, state = weights.w_hh.shape
    hidden = rows // GATES[CELL[mode]]
    bias = (rows,)
    if time < 1 or time * batch >= 2**31:
        raise RuntimeError(f"steps × examples must be 1 or more and below 2**31; got {time} × {batch}. Cut the batch.")
    whole = (weights.b_ih is None) == (weights.b_hh is None) and (weights.w_hr is not None or state == hidden)
    if not whole or (c0 is None) == (mode == "LSTM"):
        raise RuntimeError(
            "an LSTM has c0 and others have none, biases come in pairs, and a state of another width than the layer "
            f"comes with w_hr; got {mode} with {[name for name, part in weights._asdict().items() if part is None]} "
            f"missing and c0 {'missing' if c0 is None else 'given'}. See ops.contract.Call."
        )
    wanted = {"h0": (batch, state), "c0": (batch, hidden), "w_ih": (rows, width), "b_ih": bias, "b_hh": bias}
    wanted |= {"w_hr": (state, hidden), "lengths": (batch,)}
    given = {"h0": h0, "c0": c0, **weights._asdict(), "lengths": lengths}
    for name, shape in wanted.items():
        tensor = given[name]
        if tensor is not None and tuple(tensor.shape) != shape:
            raise RuntimeError(f"{name} must have shape {shape}; got {tuple(tensor.shape)}. See ops.contract.Call.")
    arguments = _Arguments(mode, x, h0, hidden, reverse)
    given["lengths"] = None if lengths is None else lengths.clamp(0, time)
    arguments.give(x=x, **given)
    arguments.give_masks(*masks)
    return arguments


@torch.library.custom_op("recurdrop::layer", mutates_args=())
def layer(
    mode: str,
    x: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    input: Tensor | None,
    recurrent: Tensor | None,
    candidate: Tensor | None,
    cell: Tensor | None,
    zone_c: Tensor | None,
    zone_h: Tensor | None,
    detach: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run one layer in one direction.

    Args as in `contract.Call`, weights as they act; `save`: keep the gates for the backward, which otherwise computes
    them again.

    Returns:
        h (T, B, P), c (T, B, H), h_n, c_n and the gates; what a cell lacks, and gates not saved, are empty.
    """
    h, c, h_n, c_n, gates = _outputs(mode, x, h0, c0, w_hh, save)
    if x.shape[1]:
        masks = (input, recurrent, candidate, cell, zone_c, zone_h, detach)
        weights = Weights(w_ih, w_hh, b_ih, b_hh, w_hr)
        arguments = _inputs(cast(Mode, mode), x, h0, c0, weights, masks, lengths, reverse)
        arguments.give(h=h, h_n=h_n, gates=gates if save else None)
        if c0 is not None:
            arguments.give(c=c, c_n=c_n)
        arguments.run(backward=False)
    return h, c, h_n, c_n, gates


def _outputs(
    mode: str, x: Tensor, h0: Tensor, c0: Tensor | None, w_hh: Tensor, save: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    time, batch, _ = x.shape
    hidden = w_hh.shape[0] // GATES[CELL[cast(Mode, mode)]]
    nothing = x.new_empty(0)
    return (
        x.new_empty(time, batch, h0.shape[1]),
        nothing if c0 is None else x.new_empty(time, batch, hidden),
        torch.empty_like(h0, memory_format=torch.contiguous_format),
        nothing.clone() if c0 is None else torch.empty_like(c0, memory_format=torch.contiguous_format),
        x.new_empty(time, batch, _SLOTS[mode] * hidden) if save else nothing.clone(),
    )


@layer.register_fake
def _(
    mode: str, x: Tensor, h0: Tensor, c0: Tensor | None, w_ih: Tensor, w_hh: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _outputs(mode, x, h0, c0, w_hh, rest[-1])


@torch.library.custom_op("recurdrop::layer_backward", mutates_args=())
def layer_backward(
    d_h: Tensor | None,
    d_c: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    h: Tensor,
    c: Tensor,
    gates: Tensor,
    needs_x: bool,
    needs_weights: bool,
    mode: str,
    x: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    input: Tensor | None,
    recurrent: Tensor | None,
    candidate: Tensor | None,
    cell: Tensor | None,
    zone_c: Tensor | None,
    zone_h: Tensor | None,
    detach: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr; absent or unneeded ones are empty."""
    found = _gradients((x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr), needs_x, needs_weights)
    if not x.shape[1]:
        for gradient in found:
            gradient.zero_()
        return found
    masks = (input, recurrent, candidate, cell, zone_c, zone_h, detach)
    weights = Weights(w_ih, w_hh, b_ih, b_hh, w_hr)
    arguments = _inputs(cast(Mode, mode), x, h0, c0, weights, masks, lengths, reverse)
    arguments.give(h=h, c=c if c0 is not None else None, gates=gates if gates.numel() else None)
    arguments.give(d_h=d_h, d_c=d_c, d_h_n=d_h_n, d_c_n=d_c_n)
    names = ("d_x", "d_h0", "d_c0", "d_w_ih", "d_w_hh", "d_b_ih", "d_b_hh", "d_w_hr")
    totals = [part.to(_total(part.dtype)) for part in found[3:]]
    made = zip(names, (*found[:3], *totals), strict=True)
    arguments.give(**{name: part if part.numel() else None for name, part in made})
    arguments.run(backward=True)
    rounded = (total.to(part.dtype) for part, total in zip(found[3:], totals, strict=True))
    return cast(_Eight, (*found[:3], *rounded))


_Eight = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _gradients(leaves: tuple[Tensor | None, ...], needs_x: bool, needs_weights: bool) -> _Eight:
    needed = (needs_x, True, True, *[needs_weights] * 5)

    def like(leaf: Tensor | None, need: bool) -> Tensor:
        if leaf is None or not need:
            return torch.empty(0, device="cpu")
        return torch.empty_like(leaf, memory_format=torch.contiguous_format)

    x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr = (like(*pair) for pair in zip(leaves, needed, strict=True))
    return x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr


@layer_backward.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    return _gradients(tuple(arguments[10:18]), arguments[7], arguments[8])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mode, ctx.reverse = inputs[0], inputs[-2]
    h, c, _, _, gates = output
    ctx.save_for_backward(h, c, gates, *inputs[1:-2])


def _backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    d_h, d_c, d_h_n, d_c_n, _ = gradients
    h, c, gates, *inputs = ctx.saved_tensors
    needs = ctx.needs_input_grad
    as_operator = traced(inputs[0])
    if any(map(batched, gradients)) or (torch.is_grad_enabled() and not as_operator):
        return (None, *_graph(ctx.mode, inputs, ctx.reverse, (d_h, d_c, d_h_n, d_c_n), needs[1:9]), *[None] * 10)
    # The operator is for tracers; its dispatch costs more than a small layer.
    found = (layer_backward if as_operator else layer_backward._init_fn)(
        d_h, d_c, d_h_n, d_c_n, h, c, gates, needs[1], any(needs[4:9]), ctx.mode, *inputs, ctx.reverse
    )
    present = (
        gradient if part is not None and need else None
        for gradient, part, need in zip(found, inputs[:8], needs[1:9], strict=True)
    )
    return (None, *present, *[None] * 10)


def _graph(
    mode: Mode,
    inputs: list[Tensor | None],
    reverse: bool,
    gradients: tuple[Tensor | None, ...],
    needs: tuple[bool, ...],
) -> list[Tensor | None]:
    """Return the gradients that are asked for by way of the reference: as a graph if asked for, or many at once."""
    create = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        # Views: a gradient of x must not come by way of an h0 that was made from it.
        leaves = [None if part is None else part.view_as(part) for part in inputs[:8]]
        x, h0, c0, *weights = map(_wide, leaves)
        *sites, lengths = inputs[8:]
        masks = Masks(**dict(zip(("input", *IN_LOOP), map(_wide, sites), strict=True)))
        call = Call(
            mode, cast(Tensor, x), cast(Tensor, h0), c0, Weights(*cast(list[Tensor], weights)), masks, lengths, reverse
        )
        made = reference.run(call)
        pairs = zip((made.h, made.c, made.h_n, made.c_n), map(_wide, gradients), strict=True)
        given = [(y, d) for y, d in pairs if y is not None and d is not None and y.requires_grad]
        wanted = [leaf for leaf, need in zip(leaves, needs, strict=True) if need and leaf is not None]
        found = iter(
            torch.autograd.grad(
                [y for y, _ in given], wanted, [d for _, d in given], create_graph=create, allow_unused=True
            )
            if given
            else [None] * len(wanted)
        )
        return [next(found) if need and leaf is not None else None for leaf, need in zip(leaves, needs, strict=True)]


def _wide(part: Tensor | None) -> Tensor | None:
    return part.float() if part is not None and part.dtype == torch.bfloat16 else part


layer.register_autograd(_backward, setup_context=_setup)


class _Layer(torch.autograd.Function):
    """`layer` without the dispatch of an operator."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = layer._init_fn(*arguments)
        _setup(ctx, arguments, found)
        return found

    backward = staticmethod(_backward)


def apply(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Call `layer`, by the shorter way where nobody traces operators."""
    found: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    found = layer(*arguments) if traced(arguments[1]) else _Layer.apply(*arguments)  # type: ignore[no-untyped-call]
    return found


def _no_second_derivative(ctx: Any, *gradients: Tensor) -> None:
    raise BackendError(
        "the native backend is differentiable once in a compiled graph; got a second derivative. "
        'Make the layer with backend="reference", which is differentiable as often as PyTorch.'
    )


layer_backward.register_autograd(_no_second_derivative)
