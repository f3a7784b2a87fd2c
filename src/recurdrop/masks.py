"""The only random numbers of the library: from a plan and one integer to masks.

One integer of 63 bits is taken from torch's generator per training forward. Every mask is derived from it by layer,
direction, site and source with a counter-based generator (`recurdrop.philox`), so noise at one site never reshuffles
another, and evaluation draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.philox import keep_bits, keep_bits_at, multipliers, normals
from recurdrop.plan import LayerPlan, Noise, Where, active, check_cell
from recurdrop.sites import SITES, Affine, Axis, Cell, Masks
from recurdrop.tracing import outside_transforms


class Sizes(NamedTuple):
    """The lengths of a layer's axes.

    Attributes:
        time: T, steps of the (padded) batch.
        batch: B, examples.
        gates: G.
        input: I, width of the layer's input.
        hidden: H.
        state: width of h: H, or `proj_size`.
    """

    time: int
    batch: int
    gates: int
    input: int
    hidden: int
    state: int

    def axis(self, site: str, axis: Axis) -> int:
        """Return the full length of an axis of a site's mask."""
        if axis == "time":
            return self.time
        if axis == "batch":
            return self.batch
        if axis == "gate":
            return self.gates
        if axis == "row":
            return self.gates * self.hidden
        if axis == "column":
            return self.input if site == "weight_ih" else self.state
        if site == "input":
            return self.input
        return self.state if site in ("recurrent", "zone_h", "output") else self.hidden

    def shape(self, noise: Noise) -> tuple[int, ...]:
        """Return the shape of a noise's mask: a shared axis has length 1, a shared gate or weight batch axis none."""
        site = SITES[noise.site]
        fresh = noise.axes
        optional = {"gate"} if site.operation != "affine" else {"batch"}
        return tuple(
            self.axis(noise.site, axis) if axis in fresh else 1
            for axis in site.axes
            if axis not in optional or (axis in fresh and self.axis(noise.site, axis) > 1)
        )


@torch.library.custom_op("recurdrop::fill_key", mutates_args={"key"}, tags=(torch.Tag.nondeterministic_seeded,))
def _fill_key(key: Tensor) -> None:
    """Take one integer from torch's default CPU generator.

    An operator, so that a compiled graph takes it anew at each call; and one that writes, so that the compiler does
    not merge two draws of one graph into one.
    """
    key.copy_(torch.randint(2**63 - 1, (), dtype=torch.int64, device="cpu"))


@_fill_key.register_fake
def _(key: Tensor) -> None:
    return None


@outside_transforms
def draw_key(generator: torch.Generator | None = None) -> Tensor:
    """Take the one integer that a training forward takes.

    Args:
        generator: torch's default CPU generator if None, so that one seed gives the same masks on every device.
            Activation checkpointing restores the default generators, not one of your own.

    Returns:
        int64 tensor without axes.
    """
    if generator is None and torch.compiler.is_compiling():
        key = torch.empty((), dtype=torch.int64, device="cpu")
        _fill_key(key)
        return key
    device = "cpu" if generator is None else generator.device
    return torch.randint(2**63 - 1, (), dtype=torch.int64, generator=generator, device=device)


def seeds(count: int, generator: torch.Generator | None = None) -> list[int]:
    """Take integers from which masks can be drawn again; a longer list begins with the shorter one.

    Args:
        count: how many.
        generator: as for `draw_key`.
    """
    return [int(draw_key(generator)) for _ in range(count)]


def seeded(seed: int) -> torch.Generator:
    """Return a generator for `sample_masks` that starts at one of `seeds`."""
    return torch.Generator().manual_seed(seed)


def _stream(noise: Noise, layer: int, direction: int, source: int) -> int:
    if noise.across_layers:
        layer = direction = 0
    if layer > 255 or source > 127:
        raise invalid(
            "masks are told apart for up to 256 layers and 128 methods at a site",
            f"layer {layer}, method {source}",
            "Use a smaller stack.",
        )
    return SITES[noise.stream or noise.site].code | layer << 8 | direction << 16 | source << 24


def _grid(noise: Noise, sizes: Sizes) -> tuple[int, int, int, int]:
    """Return T, B, G, U of the stream; for a matrix they stand for example, row, nothing and column."""
    fresh = noise.axes
    order: tuple[Axis | None, ...] = ("time", "batch", "gate", "unit")
    if SITES[noise.site].operation == "affine":
        order = ("batch", "row", None, "column")
    time, batch, gates, units = (sizes.axis(noise.site, a) if a is not None and a in fresh else 1 for a in order)
    return time, batch, gates, units


def _mixture(take: Tensor, p: float, reference: Tensor) -> Affine:
    if p == 1:
        return torch.zeros_like(reference), reference
    return (~take).to(reference) / (1 - p), reference * ((take.to(reference) - p) / (1 - p))


def _draw_one(
    noise: Noise, key: Tensor, stream: int, sizes: Sizes, dtype: torch.dtype, reference: Tensor | None
) -> Tensor | Affine:
    shape, grid, p = sizes.shape(noise), _grid(noise, sizes), noise.rate
    if noise.law == "additive":
        shift = normals(key, stream, grid, 0.0, p, dtype).reshape(shape)
        return torch.ones((), dtype=dtype, device=key.device), shift
    if noise.law == "gaussian":
        return normals(key, stream, grid, 1.0, math.sqrt(p / (1 - p)), dtype).reshape(shape)
    threshold = round(p * 2**32)
    if noise.law == "bernoulli" and SITES[noise.site].operation != "keep old":
        kept = 1 / (1 - p) if noise.scaled and p < 1 else 1.0
        return multipliers(key, stream, grid, threshold, kept, dtype).reshape(shape)
    keep = keep_bits(key, stream, grid, threshold).reshape(shape)
    if noise.law == "bernoulli":
        return ~keep
    if reference is None:
        raise invalid("mixout needs reference weights", None, "Call the layer, or give reference=.")
    return _mixture(~keep, p, reference.to(key.device, dtype))


_MODULE = 255
"""The stream of a module outside the recurrent layers; each takes a key of its own."""


@outside_transforms
def draw_keep(
    p: float, sizes: Sequence[int], *, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """Draw, for a module outside the recurrent layers, bits that are False with probability p.

    Args:
        p: the probability.
        sizes: of up to three axes; those of a sequence are T, B, F.
        device: of the bits.
        generator: as for `draw_key`.

    Returns:
        bool tensor of these sizes.
    """
    key = draw_key(generator).to(device)
    time, batch, units = (1,) * (3 - len(sizes)) + tuple(sizes)
    return keep_bits(key, _MODULE, (time, batch, 1, units), round(p * 2**32)).reshape(tuple(sizes))


@outside_transforms
def draw_keep_types(p: float, examples: Tensor, types: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw bits that are False with probability p, one for each pair of an example and a type.

    Only the bits of pairs that occur are computed, so the number of types costs nothing.

    Args:
        p: the probability.
        examples: int64, broadcasts to `types`; zeros for bits that all examples share.
        types: token numbers, of any integer type and shape.
        generator: as for `draw_key`.

    Returns:
        bool tensor of the shape of `types`; equal pairs have equal bits.
    """
    key = draw_key(generator).to(types.device)
    keep: Tensor = keep_bits_at(key, _MODULE, examples.expand_as(types), types.long(), round(p * 2**32))
    return keep


@outside_transforms
def inverted(keep: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """Return the multiplier of inverted dropout: bits / (1 - p), and zeros for p = 1."""
    bits = keep.to(dtype)
    return bits.mul_(1 / (1 - p)) if p < 1 else bits


def _product(values: list[Tensor]) -> Tensor:
    """Multiply masks of one site; one without a gate axis gets one beside one that has it."""
    axes = max(value.dim() for value in values)
    product = None
    for value in values:
        value = value.unsqueeze(2) if value.dim() < axes else value
        product = value if product is None else product * value
    if product is None:
        raise invalid("a site in a plan has at least one source", values, "Leave the site out.")
    return product


@outside_transforms
def draw(
    plan: LayerPlan,
    key: Tensor,
    layer: int,
    direction: int,
    sizes: Sizes,
    *,
    dtype: torch.dtype,
    device: torch.device,
    references: Mapping[str, Tensor] | None = None,
) -> Masks:
    """Draw the training masks of one layer in one direction.

    Args:
        plan: what acts where; rates of 0 draw nothing.
        key: from `draw_key`.
        layer: number of the layer.
        direction: 0 forward, 1 reverse.
        sizes: of the axes.
        dtype: of multipliers; zones are bool.
        device: of the masks.
        references: for `Mixout`, the matrices `weight_ih` and `weight_hh` of this layer and direction.

    Returns:
        One field for each site with noise.
    """
    key = key.to(device)
    fields: dict[str, Tensor | Affine] = {}
    for site, sources in plan.items():
        reference = (references or {}).get(site)
        drawn = [
            _draw_one(noise, key, _stream(noise, layer, direction, source), sizes, dtype, reference)
            for source, noise in enumerate(sources)
            if noise.rate > 0
        ]
        if drawn:
            fields[site] = drawn[0] if len(drawn) == 1 else _product([d for d in drawn if isinstance(d, Tensor)])
    return Masks(**fields)  # type: ignore[arg-type]


def constants(plan: LayerPlan, *, dtype: torch.dtype, device: torch.device) -> Masks:
    """Return what stands for the noise at evaluation: nothing, or a constant. No random number is drawn."""
    fields: dict[str, Tensor] = {}
    for site, sources in active(plan, training=False).items():
        value = 1.0
        for noise in sources:
            value *= noise.evaluation if noise.evaluation is not None else 1.0
        fields[site] = torch.full((1, 1, 1), value, dtype=dtype, device=device)
    return Masks(**fields)


def check_masks(masks: Masks, cell: Cell, sizes: Sizes) -> None:
    """Refuse masks that do not fit a layer.

    Raises:
        UndefinedSiteError: a site that the cell lacks.
        ValueError: a shape that does not broadcast to that of the site.
    """
    where = Where(cell)
    for name, value in zip(masks._fields, masks, strict=True):
        if value is None:
            continue
        check_cell("masks=", name, where)
        site = SITES[name]
        full = [sizes.axis(name, axis) for axis in site.axes]
        if name in ("state", "detach"):
            full = full[:1] + [1] * (len(full) - 1) if name == "detach" else [full[0], 1]
        short = [n for n, axis in zip(full, site.axes, strict=True) if axis != "gate" and site.operation != "affine"]
        allowed = [full[1:], full] if site.operation == "affine" else [short, full]
        for part in value if isinstance(value, tuple) else (value,):
            affine_scalar = site.operation == "affine" and part.dim() == 0
            fits = any(
                part.dim() == len(shape) and all(n in (1, m) for n, m in zip(part.shape, shape, strict=True))
                for shape in allowed
            )
            if not (fits or affine_scalar):
                raise invalid(
                    f"the mask at {name} must broadcast to {' or '.join(str(tuple(s)) for s in allowed)}",
                    tuple(part.shape),
                    "Take what sample_masks returns for these sizes.",
                )
