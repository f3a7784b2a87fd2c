"""The three places of a stack outside its recurrences, shared by the methods that use them."""

from __future__ import annotations

from recurdrop.methods.base import Method, Rate, at
from recurdrop.plan import Noise, Where
from recurdrop.sites import Axis


def in_places(
    method: Method, where: Where, shared: frozenset[Axis], *, input: Rate = 0.0, between: Rate = 0.0, output: Rate = 0.0
) -> tuple[Noise, ...]:
    """Put noise on the first layer's input, on the connections between layers and on the last output.

    The connection between two layers is one tensor; it is dropped once, at the output site of the lower layer.
    """
    name = type(method).__name__
    if isinstance(between, tuple) and where.num_layers == 1:
        at(f"between of {name}", between, 0, 0)
    noises = []
    if where.first:
        noises.append(method.noise("input", at(f"input of {name}", input, 0, 1), shared=shared | {"gate"}))
    if where.last:
        noises.append(method.noise("output", at(f"output of {name}", output, 0, 1), shared=shared))
    else:
        p = at(f"between of {name}", between, where.layer, where.num_layers - 1)
        noises.append(method.noise("output", p, shared=shared))
    return tuple(noises)
