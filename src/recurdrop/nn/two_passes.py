"""A model run twice with chosen masks shared: what fraternal dropout, R-Drop and their relatives need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid
from recurdrop.nn.given_masks import giving
from recurdrop.nn.mask_pairs import MaskPairs

Share = str | nn.Module | Iterable[str | nn.Module]
Dims = int | None | tuple[int | None, ...]


def two_passes(
    model: nn.Module,
    *args: Any,
    share: Share = (),
    second: Literal["training", "evaluation"] = "training",
    **kwargs: Any,
) -> tuple[Any, Any]:
    """Run a model twice on the same arguments, the carried state among them.

    Args:
        model: any module; its layers of ours and modules of `rd.nn` in training mode have masks to share.
        *args: of the model, in both passes.
        share: which masks of the first pass the second has too: names of sites (`"weight_hh"`: of all layers), and
            modules of the model with all that is in them (`model.encoder`). All others are drawn anew.
        second: "evaluation" runs the second pass in evaluation mode, for `expectation_linear`; every module has its
            own mode again afterwards.
        **kwargs: of the model, in both passes.

    Returns:
        What the model returned in the first and in the second pass. Carry on the first one's state.

    Raises:
        ValueError: `share` with what is no module with masks and no site where a layer has noise (at a rate of 0 will
            do), with an evaluation pass, or with a compiled model, into whose graphs masks can't be given; passes that
            don't call a layer equally often.

    Without `share`, this is the same as calling the model twice. The options `same_mask_e`, `_i`, `_w` and `_o` of the
    code of Zolna et al. 2018 are here the model's `EmbeddingDropout`, what drops its input (a module, or the site
    "input"), "weight_hh", and what drops its output.
    """
    share = _tuple(share)
    if second == "evaluation":
        if share:
            raise invalid("share needs two passes in training mode", share, "Leave share or second out.")
        first = model(*args, **kwargs)
        with _evaluating(model):
            return first, model(*args, **kwargs)
    if second != "training":
        raise invalid("second must be 'training' or 'evaluation'", second, "Choose one of them.")
    if not share:
        return model(*args, **kwargs), model(*args, **kwargs)
    pairs = MaskPairs(model, share)
    with giving(pairs.first):
        first = model(*args, **kwargs)
    with giving(pairs.second):
        again = model(*args, **kwargs)
    pairs.finish()
    return first, again


def two_passes_at_once(
    model: nn.Module, *args: Any, share: Share = (), in_dims: Dims = 1, out_dims: Dims = 1, **kwargs: Any
) -> tuple[Any, Any]:
    """Run a model once on 2B examples, with the noise of `two_passes` with the same `share`.

    The batch is given twice, and each half has the masks of one pass; with something in `share`, those of `two_passes`
    after the same seed (but for `nn.Dropout` of torch or of ours). One pass has one weight matrix for all examples, so
    that with weight dropout `share` must have "weight_hh".

    Args:
        model: any module, in which examples do not meet.
        *args: of the model; tensors in them are given twice, one after the other.
        share: as in `two_passes`.
        in_dims: the axis of examples in every tensor of the arguments; or one for each argument, None for one that has
            no examples. As in `torch.vmap`.
        out_dims: the same for what the model returns; a tuple for the parts of a tuple.
        **kwargs: of the model, as they are.

    Returns:
        What `two_passes` returns, up to rounding.

    Raises:
        ValueError: noise that all examples share and `share` lacks; BatchNorm in training mode, in which examples do
            meet; a `PackedSequence`; an output without 2B examples on its axis; what `two_passes` refuses.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise invalid("examples must not meet in the model", type(module).__name__, "Use two_passes.")
    pairs, sizes = MaskPairs(model, _tuple(share)), set[int]()

    def doubled(x: Tensor, dim: int) -> Tensor:
        sizes.add(x.shape[dim])
        return torch.cat([x, x], dim)

    given = _each(args, in_dims, doubled)
    if len(sizes) != 1:
        raise invalid("the arguments must have one number of examples", sorted(sizes), "Give their axes in in_dims.")
    (batch,) = sizes
    with giving(lambda module, input: pairs.joined(module, input, batch)):
        output = model(*given, **kwargs)

    def half(y: Tensor, dim: int, start: int) -> Tensor:
        if not -y.dim() <= dim < y.dim() or y.shape[dim] != 2 * batch:
            rule = f"what the model returns must have {2 * batch} examples on axis {dim}"
            raise invalid(rule, tuple(y.shape), "Give their axes in out_dims, None for what has no examples.")
        return y.narrow(dim, start, batch)

    first: Any = _each(output, out_dims, lambda y, dim: half(y, dim, 0))
    return first, _each(output, out_dims, lambda y, dim: half(y, dim, batch))


def _tuple(share: Share) -> tuple[str | nn.Module, ...]:
    return (share,) if isinstance(share, str | nn.Module) else tuple(share)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _each(value: Any, dims: Dims, act: Callable[[Tensor, int], Tensor]) -> Any:
    """Act on every tensor in a value, along its axis; a tuple of axes has one for each part of a tuple."""
    if dims is None:
        return value
    if isinstance(dims, tuple):
        if not isinstance(value, tuple) or len(value) != len(dims):
            size = len(value) if isinstance(value, tuple) else 1
            raise invalid(f"dims must have one entry for each of {size} values", dims, "Or give one number for all.")
        return tuple(_each(part, dim, act) for part, dim in zip(value, dims, strict=True))
    if isinstance(value, PackedSequence):
        raise invalid("one pass of both takes padded batches", "a PackedSequence", "Use two_passes.")
    if isinstance(value, Tensor):
        return act(value, dims)
    if isinstance(value, tuple | list):
        parts = [_each(part, dims, act) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {name: _each(part, dims, act) for name, part in value.items()}
    return value
