"""From methods to a plan: which noise acts at which site of which layer. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from recurdrop.errors import UndefinedSiteError
from recurdrop.sites import BLENDING, SITES, Axis, Cell

if TYPE_CHECKING:
    from torch import Tensor

DROPOUT_ARGUMENT = "dropout="
"""The method's name of noise that torch's own argument asks for."""

Law = Literal["bernoulli", "gaussian", "additive", "mixture"]


@dataclass(frozen=True)
class Noise:
    """One source of noise at one site.

    Attributes:
        site: a name in `sites.SITES`.
        rate: the probability to drop (or to keep the old value), or the standard deviation of `additive` noise.
        law: `bernoulli`, bits that keep with probability 1 - rate; `gaussian`, N(1, rate / (1 - rate));
            `additive`, N(0, rate²) added; `mixture`, elements replaced by a reference (`Mixout`).
        shared: the axes over which one value serves all.
        scaled: whether kept values are divided by 1 - rate (inverted scaling).
        evaluation: the constant that stands for the noise at evaluation, `None` for identity.
        stream: the site whose random bits are used; two noises with one stream share their mask.
        across_layers: one draw serves every layer and direction.
        method: the name of the method, for messages.
        reference: the weights a `mixture` replaces elements by, as a `state_dict`; `None` means the initial ones.
    """

    site: str
    rate: float
    law: Law = "bernoulli"
    shared: frozenset[Axis] = frozenset()
    scaled: bool = True
    evaluation: float | None = None
    stream: str = ""
    across_layers: bool = False
    method: str = ""
    reference: Mapping[str, Tensor] | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes along which the mask varies."""
        return tuple(axis for axis in SITES[self.site].axes if axis not in self.shared)


@dataclass(frozen=True)
class Where:
    """The layer that a method is asked about.

    Attributes:
        cell: the kind of cell.
        layer: its number from 0.
        num_layers: layers in the stack.
        projected: whether `proj_size` narrows h.
    """

    cell: Cell
    layer: int = 0
    num_layers: int = 1
    projected: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the bottom layer."""
        return self.layer == 0

    @property
    def last(self) -> bool:
        """Whether this is the top layer."""
        return self.layer == self.num_layers - 1

    @property
    def blends_state(self) -> bool:
        """Whether h_t also takes h_{t-1} beside the gate products."""
        return self.cell in BLENDING

    def has(self, site: str) -> bool:
        """Whether the cell has the site."""
        return self.cell in SITES[site].cells


class Planner(Protocol):
    """What `plan_layers` needs of a method."""

    @property
    def name(self) -> str: ...  # noqa: D102

    def plan(self, where: Where) -> tuple[Noise, ...]: ...  # noqa: D102


LayerPlan = dict[str, tuple[Noise, ...]]


def _merge(site: str, sources: tuple[Noise, ...], more: Noise) -> tuple[Noise, ...]:
    if not sources or (SITES[site].operation == "multiply" and site != "state"):
        return (*sources, more)
    first = sources[0].method
    raise ValueError(
        f"only one method may act at the {site} site; got {first} and {more.method}. Take one of the two out of noise=."
    )


def check_cell(method: str, site: str, where: Where) -> None:
    """Refuse a site that the cell lacks.

    Raises:
        UndefinedSiteError: naming the method, the site and the reason.
    """
    if where.has(site):
        return
    cells = " or ".join(SITES[site].cells)
    raise UndefinedSiteError(
        f"{method} acts at the {site} site; got a cell of kind {where.cell}, and {SITES[site].missing}. "
        f"Use {method} with {cells}, or another method here."
    )


def plan_layers(
    methods: Iterable[Planner], cell: Cell, num_layers: int, *, dropout: float = 0.0, projected: bool = False
) -> list[LayerPlan]:
    """Join methods into one plan per layer, both directions of a layer sharing it.

    Args:
        methods: what to apply, in order; at multiplying sites their masks multiply.
        cell: the kind of cell.
        num_layers: layers in the stack.
        dropout: torch's argument of this name: fresh masks at each step at the output of every layer but the last.
        projected: whether `proj_size` narrows h.

    Returns:
        For each layer, the sources of noise at each site that has any; rates of 0 are kept, so that a plan shows
        what was asked for.

    Raises:
        UndefinedSiteError: a method needs a site that the cell lacks.
        ValueError: two methods at a site where noise does not combine, or a wrong number of per-layer rates.
    """
    methods = tuple(methods)
    plans: list[LayerPlan] = []
    for layer in range(num_layers):
        where = Where(cell, layer, num_layers, projected)
        sources = [noise for method in methods for noise in method.plan(where)]
        if dropout and not where.last:
            sources.append(Noise("output", dropout, method=DROPOUT_ARGUMENT))
        plan: LayerPlan = {}
        for noise in sources:
            check_cell(noise.method, noise.site, where)
            plan[noise.site] = _merge(noise.site, plan.get(noise.site, ()), noise)
        plans.append(plan)
    return plans


def active(plan: LayerPlan, *, training: bool) -> LayerPlan:
    """Keep what changes the numbers: rates above 0, and at evaluation only what has a constant."""
    kept = {
        site: tuple(noise for noise in sources if noise.rate > 0 and (training or noise.evaluation is not None))
        for site, sources in plan.items()
    }
    return {site: sources for site, sources in kept.items() if sources}
