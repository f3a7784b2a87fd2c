"""Weights behind `torch.nn.utils.parametrize`: each is evaluated once a forward, however often it is read.

Reading such a weight computes it, and may change it too: spectral norm moves its power iteration on. The values are
kept in a context variable, so that other threads that run the same layer have values of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    _Base = nn.RNNBase
else:
    _Base = object

_EVALUATED: ContextVar[tuple[nn.Module, Mapping[str, Tensor | None]] | None] = ContextVar("evaluated", default=None)


def weights_evaluated_once(layer: nn.RNNBase) -> AbstractContextManager[None]:
    """Evaluate a layer's weights now, and let `evaluated_weights` give these until the context ends.

    Nothing happens for a layer without parametrizations, nor in a graph that `torch.compile` makes.
    """
    if "parametrizations" not in layer._modules or torch.compiler.is_compiling():
        return nullcontext()
    return _kept(layer, {name: getattr(layer, name, None) for name in layer._flat_weights_names})


@contextmanager
def _kept(layer: nn.Module, weights: Mapping[str, Tensor | None]) -> Iterator[None]:
    token = _EVALUATED.set((layer, weights))
    try:
        yield
    finally:
        _EVALUATED.reset(token)


def evaluated_weights(layer: nn.Module) -> Mapping[str, Tensor | None] | None:
    """Return a layer's weights as `weights_evaluated_once` has them; None outside of its context."""
    if "parametrizations" not in layer._modules or torch.compiler.is_compiling():
        return None
    kept = _EVALUATED.get()
    return kept[1] if kept is not None and kept[0] is layer else None


class WeightsReadOnce(_Base):
    """The part of our layers that reads weights, each once a forward."""

    def _weight(self, name: str) -> Tensor | None:
        evaluated = evaluated_weights(self)
        return getattr(self, name, None) if evaluated is None else evaluated.get(name)

    @property
    def _any_weight(self) -> Tensor:
        """A tensor with dtype and device of the weights, had without evaluating one behind `parametrize`."""
        weight = self._parameters.get("weight_hh_l0")
        if weight is None:
            weight = next(self.parameters(), None)
        return cast(Tensor, self.weight_hh_l0 if weight is None else weight)

    def _update_flat_weights(self) -> None:
        """Do nothing: torch brings its list of weights up to date here, and reads each weight for it."""

    @property
    def _flat_weights(self) -> list[Tensor | None]:
        # torch keeps a list beside the parameters, which goes stale when a weight is reparametrized; this one can't.
        return [self._weight(name) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor | None]) -> None:
        del weights

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.__dict__.pop("_flat_weights", None)
