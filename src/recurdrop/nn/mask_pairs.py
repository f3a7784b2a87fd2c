"""The masks of two passes through a model, some of them shared."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from recurdrop.errors import invalid
from recurdrop.masks import seeded, seeds
from recurdrop.nn.base import Regularized
from recurdrop.nn.hold import is_noisy, refuse_compiled
from recurdrop.nn.mask_layout import side_by_side, sizes_of
from recurdrop.nn.noise_module import NoiseModule
from recurdrop.sites import SITES, Masks

Drawn = Tensor | tuple[Masks, ...] | None
"""What a module of ours takes as `mask=`, or a layer as `masks=`."""


class MaskPairs:
    """Masks of both passes, call by call of each layer and module, drawn in the order of the first pass.

    A layer's masks are shared as they are. A module's are drawn from one seed, since they may depend on its input,
    which need not be the same in both passes: a word's bit follows the word, not its place.

    Args:
        model: what is run twice.
        share: names of sites, and modules of the model.

    Raises:
        ValueError: what is neither, a site without noise, or a compiled model.
    """

    def __init__(self, model: nn.Module, share: Iterable[str | nn.Module]) -> None:
        refuse_compiled(model)
        named = tuple(share)
        self.sites = {name for name in named if isinstance(name, str)}
        for name in self.sites - set(SITES):
            raise invalid(f"share names a site, one of {', '.join(SITES)}", name, "Give a module itself, not its name.")
        inside = set(model.modules())
        noisy = {site for layer in inside if isinstance(layer, Regularized) for plan in layer.plans() for site in plan}
        for name in self.sites - noisy:
            rule = f"share names a site where layers of the model have noise: {', '.join(sorted(noisy)) or 'none'}"
            raise invalid(rule, name, "Give a layer noise there, or leave it out.")
        self.modules: set[nn.Module] = set()
        for module in (name for name in named if not isinstance(name, str)):
            ours = {m for m in module.modules() if isinstance(m, Regularized | NoiseModule)}
            if not ours or not ours <= inside:
                rule = "share holds modules of the model with masks of ours"
                raise invalid(rule, type(module).__name__, "For torch's dropout, take rd.nn.Dropout.")
            self.modules |= ours
        self._later: dict[nn.Module, deque[Any]] = defaultdict(deque)

    def first(self, module: nn.Module, input: Any) -> Drawn:
        """Return the masks of a call in the first pass; None where there is no noise."""
        if not is_noisy(module):
            self._later[module].append(None)
            return None
        if isinstance(module, NoiseModule):
            seed, seed_later = self._seeds(module)
            self._later[module].append(seed_later)
            return _from_seed(module, input, seed)
        mine, theirs = self._layer_pair(module, *sizes_of(module, input))
        self._later[module].append(theirs)
        return mine

    def second(self, module: nn.Module, input: Any) -> Drawn:
        """Return the masks of the same call in the second pass."""
        if not self._later[module]:
            raise _unequal(module)
        drawn: Any = self._later[module].popleft()
        return _from_seed(module, input, drawn) if isinstance(drawn, int) else drawn

    def finish(self) -> None:
        """Refuse a second pass that called a layer less often."""
        for module, left in self._later.items():
            if left:
                raise _unequal(module)

    def joined(self, module: nn.Module, input: Any, batch: int) -> Drawn:
        """Return the masks of a call on 2·batch examples, whose halves are those of the two passes."""
        axis = _batch_axis(module)
        if not is_noisy(module) or (axis is None and self._is_free(module)):
            return None
        if axis is None or not isinstance(input, Tensor) or input.dim() <= axis or input.shape[axis] != 2 * batch:
            raise invalid(
                f"{type(module).__name__} in one pass of both takes padded batches of {2 * batch} examples",
                tuple(input.shape) if isinstance(input, Tensor) else type(input).__name__,
                "See to its batch_first, or use two_passes.",
            )
        halves = input.chunk(2, axis)
        if isinstance(module, NoiseModule):
            both = [_from_seed(module, x, seed) for x, seed in zip(halves, self._seeds(module), strict=True)]
            return side_by_side(both, axis, batch)
        first, second = self._layer_pair(module, *sizes_of(module, halves[0]))
        return tuple(
            Masks(**{site: _join_site(site, fields, batch) for site, *fields in zip(Masks._fields, a, b, strict=True)})
            for a, b in zip(first, second, strict=True)
        )

    def _seeds(self, module: NoiseModule) -> tuple[int, int]:
        (first,) = seeds(1)
        return first, first if module in self.modules else seeds(1)[0]

    def _is_free(self, module: nn.Module) -> bool:
        """Whether each element has a bit of its own, in any layout, so that the module may draw as it is used to."""
        return module not in self.modules and getattr(module, "noise_shape", None) is None

    def _layer_pair(self, layer: Any, time: int, batch: int) -> tuple[tuple[Masks, ...], tuple[Masks, ...]]:
        first: tuple[Masks, ...] = layer.sample_masks(time, batch)
        if layer in self.modules:
            return first, first
        shared = [{site: getattr(masks, site) for site in self.sites} for masks in first]
        again = layer.sample_masks(time, batch)
        return first, tuple(masks._replace(**fields) for masks, fields in zip(again, shared, strict=True))


def _from_seed(module: Any, input: Any, seed: int) -> Tensor:
    mask: Tensor = module.sample_mask(input, generator=seeded(seed))
    return mask


def _batch_axis(module: Any) -> int | None:
    return module.batch_axis if isinstance(module, NoiseModule) else 1 - module.batch_first


def _join_site(site: str, fields: list[Any], batch: int) -> Any:
    first, second = fields
    if first is None:
        return None
    axes = SITES[site].axes
    of_examples = isinstance(first, Tensor) and first.dim() == 3 if "row" in axes else site != "detach"
    if of_examples:
        return side_by_side(fields, axes.index("batch"), batch)
    if first is not second:
        raise invalid(
            "one pass of both needs masks that each example has of its own, or that the passes share",
            f"noise at {site}",
            f"Add {site!r} to share, or use two_passes.",
        )
    return first


def _unequal(module: nn.Module) -> ValueError:
    rule = "both passes must call each layer equally often"
    return invalid(rule, type(module).__name__, "Take out of the model what depends on the pass.")
