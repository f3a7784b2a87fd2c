"""What a model's noise does, layer by layer, and what has no effect and why."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import nn

from recurdrop.errors import BackendError
from recurdrop.methods.base import Method
from recurdrop.nn.base import Regularized
from recurdrop.nn.convert import why_left_alone
from recurdrop.ops.contract import Problem
from recurdrop.ops.dispatch import choose
from recurdrop.plan import LayerPlan, Noise, active
from recurdrop.sites import GATES, SITES

_LETTERS = {"time": "T", "batch": "B", "gate": "G", "unit": "H", "row": "G·H", "column": "H"}


@dataclass(frozen=True)
class SiteUse:
    """One source of noise at one site of one layer.

    Attributes:
        layer: the module's name in the model, "" for the model itself, and the number of the layer in it.
        method: the method's name, or "dropout=".
        site: the site's name.
        rate: probability, or standard deviation.
        shape: of the mask in letters, 1 where it is shared.
        evaluation: the constant that stands for it at evaluation, or "off".
        backend: what runs a padded batch now; for a layer without noise "torch", though "native" may run long ones.
        without_effect: why it does nothing now, or "".
    """

    layer: str
    method: str
    site: str
    rate: float
    shape: str
    evaluation: str
    backend: str
    without_effect: str


@dataclass(frozen=True)
class Description:
    """What `describe` returns; print it.

    Attributes:
        uses: every source of noise.
        notes: what has no effect, or was left alone, and why.
    """

    uses: tuple[SiteUse, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        head = ("layer", "method", "site", "rate", "mask", "at evaluation", "backend", "without effect")
        rows = [head, *((u.layer, u.method, u.site, f"{u.rate:g}", *dataclasses.astuple(u)[4:]) for u in self.uses)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        if not self.uses:
            lines = ["no noise"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def describe(model: nn.Module) -> Description:
    """Say what noise a model's recurrent layers have: site, rate, mask shape, backend, and what does nothing and why.

    Args:
        model: a layer or any module.

    Returns:
        A `Description`, whose text is a table. Letters in shapes: T steps, B examples, G gates, I, H, P widths of the
        layer's input, of the cell and of h; P only with `proj_size`.
    """
    uses: list[SiteUse] = []
    notes: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, Regularized):
            uses += _uses(name, module)
            notes += _notes(name, module)
        elif why := why_left_alone(name, module):
            notes.append(f"no noise: {why}")
    return Description(tuple(uses), tuple(notes))


def _uses(name: str, layer: Regularized) -> list[SiteUse]:
    found = []
    for index, plan in enumerate(layer.plans()):
        backend = _backend(layer, plan)
        for site, sources in plan.items():
            for noise in sources:
                evaluation = "off" if noise.evaluation is None else f"{noise.evaluation:g}"
                where = f"{name} l{index}".strip() + "+reverse" * layer.bidirectional
                found.append(
                    SiteUse(
                        where,
                        noise.method,
                        site,
                        noise.rate,
                        _shape(layer, noise),
                        evaluation,
                        backend,
                        _why_not(layer, noise),
                    )
                )
    return found


def _why_not(layer: Regularized, noise: Noise) -> str:
    if noise.rate == 0:
        return "its rate is 0"
    if not layer.training and noise.evaluation is None:
        return "evaluation mode"
    return ""


def _backend(layer: Regularized, plan: LayerPlan) -> str:
    if layer.backend == "auto" and layer.noiseless():
        return "torch"
    live = active(plan, training=layer.training)
    in_loop = tuple(site for site in live if SITES[site].in_loop)
    gated = layer.cell != "RNN" and any("gate" in noise.axes for noise in live.get("input", ()))
    per_example = any("batch" in n.axes for site in ("weight_ih", "weight_hh") for n in live.get(site, ()))
    weight = layer._any_weight
    problem = Problem(layer._mode, weight.dtype, weight.device.type, in_loop, gated, per_example, False, False)
    try:
        return choose(problem, layer.backend).name
    except BackendError:
        return f"none: {layer.backend} can't"


def _shape(layer: Regularized, noise: Noise) -> str:
    wide = "P" if layer.proj_size else "H"
    letters = _LETTERS | {"column": wide}
    if noise.site == "input":
        letters["unit"] = "I"
    elif noise.site == "weight_ih":
        letters["column"] = "I"
    elif noise.site in ("recurrent", "zone_h", "output"):
        letters["unit"] = wide
    optional = "gate" if SITES[noise.site].operation != "affine" else "batch"
    has_gates = GATES[layer.cell] > 1
    axes = [a for a in SITES[noise.site].axes if a != optional or (a in noise.axes and (a != "gate" or has_gates))]
    return "(" + ", ".join(letters[a] if a in noise.axes else "1" for a in axes) + ")"


def _notes(name: str, layer: Regularized) -> list[str]:
    where = name or type(layer).__name__
    notes = [f"{where}: {reason}" for reason in getattr(layer, "_left_out", ())]
    if layer.dropout and layer.num_layers == 1:
        notes.append(f"{where}: dropout={layer.dropout:g} has no effect, it acts between layers and there is one layer")
    for method in layer._methods:
        for field in _idle_fields(layer, method):
            value = getattr(method, field)
            notes.append(
                f"{where}: {field}={value} of {type(method).__name__} has no effect in a stack of "
                f"{layer.num_layers} layer{'s' * (layer.num_layers > 1)}"
            )
    if layer._methods and not layer.training:
        notes.append(f"{where}: in evaluation mode, only what has a value under 'at evaluation' acts")
    return notes


def _idle_fields(layer: Regularized, method: Method) -> list[str]:
    """Return the rates above 0 that change nothing in this layer's plan."""
    idle = []
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if "rate" not in field.metadata or value is None or value == 0:
            continue
        if _is_idle(layer, method, field.name):
            idle.append(field.name)
    return idle


def _is_idle(layer: Regularized, method: Method, field: str) -> bool:
    try:
        without = layer._make_plans((dataclasses.replace(method, **{field: 0.0}),))
    except ValueError:  # a method that depends on this rate, say for two to be equal
        return False
    return without == layer._make_plans((method,))
