"""Regularize the recurrent layers inside an existing model, and take the noise out again.

A layer changes its class and stays the object that it was, as `torch.nn.utils.parametrize` does it. So every reference
to it stays good: attributes, plain lists, hooks and their handles, optimizers, graphs compiled before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from recurdrop.errors import UndefinedSiteError
from recurdrop.methods.base import Method
from recurdrop.nn.base import NoiseLike, Regularized, as_methods
from recurdrop.nn.gru import GRU
from recurdrop.nn.lstm import LSTM
from recurdrop.nn.rnn import RNN
from recurdrop.nn.torch_tools import own_class, torch_class

_OURS: dict[type[nn.RNNBase], type[Any]] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
_ADDED = (
    "backend",
    "_noise",
    "_methods",
    "_plans",
    "_planned_dropout",
    "_initial",
    "_left_out",
)
"""Attributes of our layers that torch's don't have."""


def regularize(
    model: nn.Module, noise: NoiseLike, *, backend: str = "auto", subclasses: Iterable[type[nn.RNNBase]] = ()
) -> nn.Module:
    """Put noise into every LSTM, GRU and RNN of a model, in place.

    A layer of torch becomes ours by a change of its class: it stays the same object with the same parameters, so that
    optimizers, weight sharing, hooks, lists that hold it and graphs that were compiled before go on as they were.
    Layers of ours get the new noise. Subclasses of torch's layers keep their methods and attributes. A method that a
    layer's cell can't have is left out there. One warning and `describe` tell what is left out or left alone.

    Args:
        model: any module, a recurrent layer itself among them.
        noise: a method or a list of methods; None for none.
        backend: as for the layers.
        subclasses: classes of layers with a forward of their own, which are left alone unless they are named here.
            Their forward must come to torch's by `super().forward(…)`, as that of `pytorch_forecasting.models.nn.LSTM`
            does; our forward takes torch's place there. A forward that calls torch's in another way gets no noise.

    Returns:
        The model.

    Raises:
        ValueError: what the layers refuse; then every layer is as before.

    Warns:
        UserWarning: a method left out of a layer; a recurrent layer or cell left alone, and why.
    """
    methods = as_methods(noise)
    given = noise if noise is None or isinstance(noise, Method) else methods
    named = {layer: _our_class(layer, tuple(subclasses)) for layer in model.modules()}
    with _restored_on_error(layer for layer, ours in named.items() if ours is not None):
        for layer, ours in named.items():
            if ours is not None and not isinstance(layer, Regularized):
                _change_class(layer, ours)
        layers = [layer for layer in named if isinstance(layer, Regularized)]
        chosen = [(layer, *_fitting(layer, methods)) for layer in layers]
        for layer, fitting, skipped in chosen:
            layer._attach(fitting if skipped else given, backend)
            layer._left_out = skipped
    _rebind_forwards(model)
    told = [f"left out: {reason}" for _, _, skipped in chosen for reason in skipped]
    if methods:
        told += [f"left alone: {why}" for name, layer in model.named_modules() if (why := why_left_alone(name, layer))]
    if told:
        warnings.warn("; ".join(dict.fromkeys(told)), UserWarning, stacklevel=2)
    return model


def plain(model: nn.Module) -> nn.Module:
    """Turn every layer of ours back into torch's, in place, as `regularize` made it ours.

    Returns:
        The model.

    Warns:
        UserWarning: a layer stays ours, without noise, since its forward was replaced on the object and calls ours.
    """
    for name, layer in list(model.named_modules()):
        theirs = torch_class(layer)
        if theirs is None:
            continue
        if _has_wrapped_forward(layer):
            layer.noise = None
            where = name or "the model"
            text = f"{where} stays a layer of recurdrop, without noise: its forward was replaced on the object. Delete"
            warnings.warn(f"{text} that, call rd.plain, and wrap it again.", UserWarning, stacklevel=2)
            continue
        for added in _ADDED:
            layer.__dict__.pop(added, None)
        _change_class(layer, theirs)
    _rebind_forwards(model)
    return model


def why_left_alone(name: str, layer: nn.Module) -> str:
    """Say why a recurrent layer or cell of a model has no noise of ours; "" where it has, or is none.

    Args:
        name: of the module in its model.
        layer: the module.
    """
    where = name or "the model"
    if isinstance(layer, Regularized):
        return ""
    if isinstance(layer, nn.RNNBase) and _has_wrapped_forward(layer):
        return f"{where} has a forward of its own, set on the object; delete it, regularize, and wrap it again"
    if isinstance(layer, nn.RNNBase) and any(type(layer).forward is theirs.forward for theirs in _OURS):
        return f"{where} is {type(layer).__qualname__} of torch; give it noise with rd.regularize"
    if isinstance(layer, nn.RNNBase):
        return f"{where} is {type(layer).__qualname__}, whose forward is its own; name the class in subclasses="
    if isinstance(layer, nn.RNNCellBase):
        return f"{where} is {type(layer).__qualname__}, a cell for loops in Python; take rd.LSTM, rd.GRU or rd.RNN"
    if isinstance(layer, torch.jit.ScriptModule) and layer.original_name in _SCRIPTED:
        return f"{where} is compiled by torch.jit, which no change in Python reaches; regularize the model before that"
    return ""


def _our_class(layer: nn.Module, subclasses: tuple[type[nn.RNNBase], ...]) -> type[Any] | None:
    """Return the class of ours that a layer is to have; None where it is no layer, or has a forward of its own."""
    if isinstance(layer, Regularized):
        return type(layer)
    if _has_wrapped_forward(layer):
        return None
    for theirs, ours in _OURS.items():
        if isinstance(layer, theirs) and (type(layer).forward is theirs.forward or isinstance(layer, subclasses)):
            return _between(own_class(layer), ours)
    return None


def _has_wrapped_forward(layer: nn.Module) -> bool:
    """Say whether a layer's forward was replaced on the object, by something that is not its class's method.

    Such a function has caught the old forward, and no change of the class reaches it.
    """
    own = vars(layer).get("forward")
    if own is None:
        return False
    return not (isinstance(own, MethodType) and own.__self__ is layer and own.__name__ == "forward")


_SCRIPTED = {kind.__name__ for kind in (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell)}
_MADE: dict[type[nn.Module], type[nn.RNNBase]] = {}
_KEPT = ("__getstate__", "__deepcopy__")


def _between(subclass: type[nn.Module], ours: type[nn.RNNBase]) -> type[nn.RNNBase]:
    """Return the subclass with our layer before torch's among its bases, where its `super()` finds ours."""
    if subclass in _OURS or subclass in _MADE:
        return _MADE.get(subclass, ours)

    def reduce(self: nn.RNNBase) -> tuple[Any, ...]:
        return _empty, (subclass, ours), self.__getstate__()

    body = {
        "torch_layer": subclass,
        "__reduce__": reduce,
        "__module__": subclass.__module__,
        "__doc__": subclass.__doc__,
    }
    return _MADE.setdefault(subclass, type(subclass.__name__, (subclass, ours), body))


def _empty(subclass: type[nn.Module], ours: type[nn.RNNBase]) -> nn.RNNBase:
    made = _between(subclass, ours)
    return made.__new__(made)


def _change_class(layer: nn.Module, kind: type[nn.RNNBase]) -> None:
    """Make a layer an object of this class, with the parametrizations that it has."""
    made = kind
    if is_parametrized(layer):
        added = {k: v for k, v in vars(type(layer)).items() if k in _KEPT or isinstance(v, property)}
        made = type(f"Parametrized{kind.__name__}", (kind,), added)
    layer.__class__ = made
    if issubclass(kind, Regularized):
        layer.__dict__.pop("_flat_weights", None)  # torch's list of weights; ours is made anew at each call
    else:
        layer._init_flat_weights()  # type: ignore[operator]


@contextmanager
def _restored_on_error(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Give layers the class and the attributes back that they had, if an error follows."""
    before = [(layer, type(layer), dict(vars(layer))) for layer in layers]
    try:
        yield
    except BaseException:
        for layer, kind, state in before:
            layer.__class__ = kind
            layer.__dict__.clear()
            layer.__dict__.update(state)
        raise


def _rebind_forwards(model: nn.Module) -> None:
    """Let bound methods that a model keeps, such as `self.run = self.rnn.forward`, be those of the layers' classes."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if not name.startswith("__") and (new := _rebound(value)) is not value:
                vars(module)[name] = new


def _rebound(value: Any) -> Any:
    """Return what a module keeps, with `forward` of recurrent layers bound anew, also in plain lists, dicts, tuples."""
    if isinstance(value, MethodType) and value.__name__ == "forward" and isinstance(value.__self__, nn.RNNBase):
        new = MethodType(type(value.__self__).forward, value.__self__)
        return value if new == value else new
    if type(value) is list:
        value[:] = map(_rebound, value)
    elif type(value) is dict:
        value.update({key: _rebound(part) for key, part in value.items()})
    elif type(value) is tuple:
        parts = tuple(map(_rebound, value))
        return parts if any(new is not old for new, old in zip(parts, value, strict=True)) else value
    return value


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
