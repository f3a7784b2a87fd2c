"""Regularize the recurrent layers inside an existing model, and take the noise out again."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from recurdrop.errors import UndefinedSiteError
from recurdrop.methods.base import Method
from recurdrop.nn.base import NoiseLike, Regularized, as_methods
from recurdrop.nn.gru import GRU
from recurdrop.nn.lstm import LSTM
from recurdrop.nn.rnn import RNN

_OURS: dict[type[nn.RNNBase], type[Any]] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
_COPIED = (
    "_parameters",
    "_buffers",
    "_non_persistent_buffers_set",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
    "_modules",
)


def regularize(
    model: nn.Module, noise: NoiseLike, *, backend: str = "auto", subclasses: Iterable[type[nn.RNNBase]] = ()
) -> nn.Module:
    """Put noise into every LSTM, GRU and RNN of a model, in place.

    Parameters keep their identity, so optimizers, weight sharing and hooks go on as before. Layers of ours get the new
    noise. Subclasses of torch's layers keep their methods and attributes; those with a forward of their own are left
    alone unless they are among `subclasses`. A method that a layer's cell can't have is left out there, with one
    warning and a line in `describe`.

    Args:
        model: any module.
        noise: a method or a list of methods; None for none.
        backend: as for the layers.
        subclasses: classes of layers whose own forward comes to torch's by `super().forward(…)`, as that of
            `pytorch_forecasting.models.nn.LSTM`; our forward takes torch's place there. A forward that calls torch's in
            another way gets no noise.

    Returns:
        The model; a bare layer's replacement.

    Raises:
        ValueError: what the layers refuse.
    """
    methods = as_methods(noise)
    given = noise if noise is None or isinstance(noise, Method) else methods
    chosen = {}
    through = tuple(subclasses)
    for layer in model.modules():
        new = _ours(layer, through)
        if new is not None:
            chosen[layer] = (new, *_fitting(new, methods))
    left_out: list[str] = []
    for new, fitting, skipped in chosen.values():
        new._attach(fitting if skipped else given, backend)
        new._left_out = skipped
        left_out.extend(skipped)
    if left_out:
        warnings.warn("left out: " + "; ".join(dict.fromkeys(left_out)), UserWarning, stacklevel=2)
    return _swap(model, {layer: new for layer, (new, _, _) in chosen.items()})


def plain(model: nn.Module) -> nn.Module:
    """Turn every layer of ours back into torch's, in place; parameters keep their identity.

    Returns:
        The model; a bare layer's replacement.
    """
    found: dict[nn.Module, nn.Module] = {}
    for layer in model.modules():
        theirs = vars(_class(layer)).get("_theirs") or _THEIRS.get(_class(layer))
        if theirs is not None:
            state = {k: v for k, v in layer.__dict__.items() if k not in _ADDED}
            found[layer] = _same_parameters(theirs, layer, state)
    return _swap(model, found)


_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}
_MADE: dict[type[nn.Module], type[nn.RNNBase]] = {}
_KEPT = ("__getstate__", "__deepcopy__")
_ADDED = (
    "backend",
    "_noise",
    "_methods",
    "_plans",
    "_planned_dropout",
    "_initial",
    "_left_out",
)


def _class(layer: nn.Module) -> type[nn.Module]:
    """Return the layer's class, without what `torch.nn.utils.parametrize` puts before it."""
    return type(layer).__bases__[0] if is_parametrized(layer) else type(layer)


def _ours(layer: nn.Module, subclasses: tuple[type[nn.RNNBase], ...]) -> Any:
    """Return our layer over the same parameters, or None for what is no layer of torch's or has its own forward."""
    if isinstance(layer, Regularized):
        return layer
    for theirs, ours in _OURS.items():
        if isinstance(layer, theirs) and (type(layer).forward is theirs.forward or isinstance(layer, subclasses)):
            state = {k: v for k, v in layer.__dict__.items() if k != "_flat_weights"}
            return _same_parameters(_between(_class(layer), ours), layer, state)
    return None


def _between(subclass: type[nn.Module], ours: type[nn.RNNBase]) -> type[nn.RNNBase]:
    """Return the subclass with our layer before torch's among its bases, where its `super()` finds ours."""
    if subclass in _OURS or subclass in _MADE:
        return _MADE.get(subclass, ours)

    def reduce(self: nn.RNNBase) -> tuple[Any, ...]:
        return _empty, (subclass, ours), self.__getstate__()

    body = {"_theirs": subclass, "__reduce__": reduce, "__module__": subclass.__module__, "__doc__": subclass.__doc__}
    return _MADE.setdefault(subclass, type(subclass.__name__, (subclass, ours), body))


def _empty(subclass: type[nn.Module], ours: type[nn.RNNBase]) -> nn.RNNBase:
    made = _between(subclass, ours)
    return made.__new__(made)


def _same_parameters(kind: type[nn.RNNBase], layer: nn.Module, state: dict[str, Any]) -> nn.RNNBase:
    """Return a layer of this kind with that state, and with the parametrizations of `layer`."""
    made = kind
    if is_parametrized(layer):
        added = {k: v for k, v in vars(type(layer)).items() if k in _KEPT or isinstance(v, property)}
        made = type(f"Parametrized{kind.__name__}", (kind,), added)
    new = made.__new__(made)
    new.__dict__.update({k: v.copy() if k in _COPIED else v for k, v in state.items()})
    if not issubclass(kind, Regularized):
        new._init_flat_weights()
    return new


def _fitting(layer: Regularized, methods: tuple[Method, ...]) -> tuple[tuple[Method, ...], tuple[str, ...]]:
    """Return the methods that the layer's cell can have, and why it can't have the others.

    Raises:
        ValueError: those that it can have do not go together, or with this stack.
    """
    reasons = {method: _undefined(layer, method) for method in methods}
    fitting = tuple(method for method in methods if not reasons[method])
    layer._check_references(layer._make_plans(fitting))
    return fitting, tuple(reason for reason in reasons.values() if reason)


def _undefined(layer: Regularized, method: Method) -> str:
    try:
        layer._make_plans((method,))
    except UndefinedSiteError as error:
        return str(error)
    return ""


def _swap(model: nn.Module, new: dict[nn.Module, nn.Module]) -> nn.Module:
    """Put the new layers in the places of the old, one that is used twice in both."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in new:
                parent._modules[name] = new[child]
    return new.get(model, model)
