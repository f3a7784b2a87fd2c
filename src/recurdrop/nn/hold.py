"""The same masks over several calls: streams, truncated windows, replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid
from recurdrop.masks import seeded, seeds
from recurdrop.nn.base import Regularized
from recurdrop.nn.given_masks import giving
from recurdrop.nn.mask_layout import side_by_side, sizes_of
from recurdrop.nn.noise_module import NoiseModule
from recurdrop.plan import active
from recurdrop.sites import SITES, Masks


@dataclass
class Record:
    """What one layer or module holds: a seed is all, since masks are functions of it and of their own indices.

    Attributes:
        seed: of its masks.
        examples: B of the first call; later calls must have the same.
        samples: while `mc_predict` runs, the seeds of the samples that lie side by side in the batch.
    """

    seed: int
    examples: int | None = None
    samples: Sequence[int] | None = None

    def masks(self, module: Any, input: Tensor | PackedSequence) -> Any:
        """Return what the module takes as `masks=` or `mask=` for this input."""
        given = self.samples or (self.seed,)
        if isinstance(module, NoiseModule):
            return self._mask(module, input, given)
        time, rows = sizes_of(module, input)
        batch = self._examples(module, rows, len(given))
        drawn = [module.sample_masks(time, batch, generator=seeded(seed)) for seed in given]
        if len(drawn) == 1:
            return drawn[0]
        return tuple(
            Masks(*(_join_site(site, fields, batch) for site, *fields in zip(SITES, *masks, strict=True)))
            for masks in zip(*drawn, strict=True)
        )

    def _mask(self, module: NoiseModule, input: Tensor | PackedSequence, given: Sequence[int]) -> Tensor | None:
        axis, rows = module.batch_axis, examples_in(module, input)
        batch = None if rows is None else self._examples(module, rows, len(given))
        if len(given) == 1 or batch is None or axis is None:
            return module.sample_mask(input, generator=seeded(given[0]))
        if isinstance(input, PackedSequence):
            name = type(module).__name__
            raise invalid(f"{name} takes padded batches in a pass of several samples", "packed", "Give chunk=1.")
        parts = input.split(batch, axis) if batch else (input,) * len(given)
        drawn = [module.sample_mask(x, generator=seeded(s)) for x, s in zip(parts, given, strict=True)]
        return side_by_side([mask for mask in drawn if mask is not None], axis, batch)

    def _examples(self, module: nn.Module, rows: int, samples: int) -> int:
        """Return B of one sample.

        Raises:
            ValueError: it is another than before.
        """
        batch, rest = divmod(rows, samples)
        if self.examples is None:
            self.examples = batch
        if rest or batch != self.examples:
            raise invalid(
                f"{type(module).__name__} holds the masks of {self.examples} examples",
                f"a batch of {rows}" + f" for {samples} samples" * (samples > 1),
                "Keep the batch size while masks are held, or call redraw() before it changes. See to its batch_first.",
            )
        return batch


_HELD: ContextVar[Mapping[nn.Module, Record]] = ContextVar("held")
_NOTHING: Mapping[nn.Module, Record] = {}


class HeldMasks:
    """What `hold_masks` gives: `redraw()` takes new masks, for the next episode or stream."""

    def __init__(self, modules: Sequence[nn.Module], generator: torch.Generator | None = None) -> None:
        self.records: dict[nn.Module, Record] = {}
        self._modules, self._generator = modules, generator
        self.redraw()

    def redraw(self) -> None:
        """Take new masks; the batch size may change with it. One integer is taken from the generator."""
        fresh = seeds(len(self._modules), seeded(*seeds(1, self._generator))) if self._modules else []
        for module, seed in zip(self._modules, fresh, strict=True):
            record = self.records.setdefault(module, Record(seed))
            record.seed, record.examples = seed, None


def masked_modules(model: nn.Module) -> list[nn.Module]:
    """Return the layers and modules of ours inside a model, each once."""
    return [module for module in model.modules() if isinstance(module, Regularized | NoiseModule)]


def is_noisy(module: nn.Module) -> bool:
    """Say whether a layer or module of ours draws masks in training."""
    if isinstance(module, NoiseModule):
        return module.p > 0
    return isinstance(module, Regularized) and any(active(plan, training=True) for plan in module.plans())


def is_shared_by_batch(module: nn.Module) -> bool:
    """Say whether all examples of a batch have one mask, or may have, so that a batch can't hold several samples."""
    if isinstance(module, NoiseModule):
        return module.batch_axis is None and getattr(module, "noise_shape", None) is not None
    return isinstance(module, Regularized) and any(
        SITES[site].operation == "affine" and "batch" in noise.shared
        for plan in module.plans()
        for site, sources in active(plan, training=True).items()
        for noise in sources
    )


@contextmanager
def hold_masks(model: nn.Module) -> Iterator[HeldMasks]:
    """Keep the masks of all layers and modules of ours the same over calls, in training or under `mc_dropout`.

    Each layer is one fixed function inside the context, also if it is called several times in one forward: one sample
    of the weights, as Gal & Ghahramani 2016 read their masks.

    Masks fixed over time are those of one long pass, however the stream is cut into windows. Masks fresh at each step
    belong to step t of a call: the same window gives the same noise again, and the next window has, at its step t,
    that of step t of the window before. Row b of the batch keeps its masks, so the batch must not change in size or
    order. Masks given with `masks=` go before those that are held.

    Torch's own dropout, `nn.Dropout` and `dropout=` of layers that are not ours, stays fresh at each call: take
    `rd.nn.LockedDropout`, and `rd.regularize`.

    Args:
        model: any module.

    Yields:
        `HeldMasks`, whose `redraw()` takes new masks. Entering and `redraw()` take one integer each from torch's
        generator, calls none. Contexts may be nested; the inner one has masks of its own.

    Raises:
        ValueError: a compiled model, into whose graphs masks can't be given; at a call, another batch size.
    """
    modules = masked_modules(model)
    refuse_compiled(model)
    held = HeldMasks(modules)
    with holding(held.records):
        yield held


def refuse_compiled(model: nn.Module) -> None:
    """Refuse a model with compiled parts.

    Raises:
        ValueError: it has some.
    """
    if any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in model.modules()):
        raise invalid("masks can't be given into compiled graphs", type(model).__name__, "Pass the plain model.")


@contextmanager
def holding(records: dict[nn.Module, Record]) -> Iterator[None]:
    """Let modules hold these records in this thread, and afterwards what they held before."""
    token = _HELD.set({**_HELD.get(_NOTHING), **records})
    try:
        with giving(_held_masks):
            yield
    finally:
        _HELD.reset(token)


def held_by(module: nn.Module) -> Record | None:
    """Return what a module holds now."""
    return _HELD.get(_NOTHING).get(module)


def _held_masks(module: nn.Module, input: Any) -> Any:
    record = held_by(module)
    return None if record is None or not is_noisy(module) else record.masks(module, input)


def examples_in(module: Any, input: Tensor | PackedSequence) -> int | None:
    """Return the batch size of an input of a recurrent layer or module of ours; None where the module can't tell."""
    if not isinstance(module, NoiseModule):
        return sizes_of(module, input)[1]
    if isinstance(input, PackedSequence):
        return int(input.batch_sizes[0])
    axis = module.batch_axis
    return None if axis is None or input.dim() <= axis else input.shape[axis]


def _join_site(site: str, fields: Sequence[Any], batch: int) -> Any:
    if fields[0] is None or site == "detach":
        return fields[0]
    return side_by_side(fields, SITES[site].axes.index("batch"), batch)
