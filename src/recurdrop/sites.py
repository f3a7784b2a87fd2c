"""The places in a recurrent layer where noise may enter, as data, and the masks that sit there.

The list is closed: a method chooses among these sites, and a kernel implements all of them or refuses some by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:  # `recurdrop methods` lists the sites without torch
    from typing import TypeAlias

    from torch import Tensor

Cell = Literal["LSTM", "GRU", "RNN"]
CELLS: tuple[Cell, ...] = ("LSTM", "GRU", "RNN")
GATES: dict[Cell, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}
BLENDING: tuple[Cell, ...] = ("GRU",)
"""The cells whose h_t also takes h_{t-1} beside the gate products."""

Operation = Literal["multiply", "affine", "keep old", "multiply gradient"]
Axis = Literal["time", "batch", "gate", "unit", "row", "column"]


@dataclass(frozen=True)
class Site:
    """A place where noise may enter.

    Attributes:
        name: the field of `Masks` that holds its noise.
        code: its number in the counter of the random generator; never reused, so that seeds keep their meaning.
        operation: what the noise does there.
        axes: the axes of a mask; each has its full size or 1 (shared).
        tensor: what it acts on, for people.
        in_loop: whether the operation happens inside the time loop.
        cells: the cells that have it.
        missing: why the other cells lack it.
    """

    name: str
    code: int
    operation: Operation
    axes: tuple[Axis, ...]
    tensor: str
    in_loop: bool
    cells: tuple[Cell, ...] = CELLS
    missing: str = ""


_ACTIVATION: tuple[Axis, ...] = ("time", "batch", "unit")
_GATED: tuple[Axis, ...] = ("time", "batch", "gate", "unit")
_MATRIX: tuple[Axis, ...] = ("batch", "row", "column")

SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site("input", 0, "multiply", _GATED, "x_t of a layer, (T, B, [G,] I)", False),
        Site("weight_ih", 1, "affine", _MATRIX, "W, once per forward, (G·H, I)", False),
        Site("weight_hh", 2, "affine", _MATRIX, "U, once per forward, (G·H, H)", False),
        Site("recurrent", 3, "multiply", _GATED, "h_{t-1} into the gate products only, (T, B, [G,] H)", True),
        Site(
            "candidate",
            4,
            "multiply",
            _ACTIVATION,
            "g_t (LSTM) or n_t (GRU), (T, B, H)",
            True,
            ("LSTM", "GRU"),
            "it has no additive update whose candidate could be masked",
        ),
        Site("cell", 5, "multiply", _ACTIVATION, "c_t, (T, B, H)", True, ("LSTM",), "it has no cell state beside h"),
        Site(
            "zone_c",
            6,
            "keep old",
            _ACTIVATION,
            "c_{t-1} against c_t, (T, B, H)",
            True,
            ("LSTM",),
            "it has no cell state beside h",
        ),
        Site("zone_h", 7, "keep old", _ACTIVATION, "h_{t-1} against h_t, (T, B, H)", True),
        Site("output", 8, "multiply", _ACTIVATION, "h_t of a layer on its way up, (T, B, H)", False),
        Site("state", 9, "multiply", ("batch", "unit"), "the state carried into a window, (B, 1)", False),
        Site(
            "detach",
            10,
            "multiply gradient",
            _ACTIVATION,
            "the gradient through h_{t-1} into the gates, (T, 1, 1)",
            True,
        ),
    )
}

Affine: TypeAlias = "tuple[Tensor, Tensor]"


class Masks(NamedTuple):
    """The noise of one layer in one direction, one field per site; `None` means no noise there.

    Every field broadcasts to the shape in its line; each axis has its full size or 1. T: steps, B: examples,
    G: gates in torch's order (i, f, g, o or r, z, n), I: width of the layer's input, H: `hidden_size`. With
    `proj_size`, `recurrent`, `zone_h` and `output` have that width. Multiplying fields hold the multiplier, scale
    included; `zone_c` and `zone_h` the weight of the old value: bool in training (True keeps old), a probability at
    evaluation.

    Attributes:
        input: (T, B, I) or, one mask a gate, (T, B, G, I).
        weight_ih: (G·H, I), or (B, G·H, I) for one matrix an example; a multiplier, or a pair (scale, shift) with
            w_eff = w ⊙ scale + shift.
        weight_hh: as `weight_ih`, for the recurrent matrix.
        recurrent: (T, B, H) or (T, B, G, H).
        candidate: (T, B, H).
        cell: (T, B, H).
        zone_c: (T, B, H).
        zone_h: (T, B, H).
        output: (T, B, H).
        state: (B, 1), for h_0 and c_0.
        detach: (T, 1, 1); 0 stops the gradient, 1 lets it pass.
    """

    input: Tensor | None = None
    weight_ih: Tensor | Affine | None = None
    weight_hh: Tensor | Affine | None = None
    recurrent: Tensor | None = None
    candidate: Tensor | None = None
    cell: Tensor | None = None
    zone_c: Tensor | None = None
    zone_h: Tensor | None = None
    output: Tensor | None = None
    state: Tensor | None = None
    detach: Tensor | None = None


NO_MASKS = Masks()
