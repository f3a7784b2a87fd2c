"""Regularize the recurrent layers inside an existing model, and take the noise out again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

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


def regularize(model: nn.Module, noise: NoiseLike, *, backend: str = "auto") -> nn.Module:
    """Put noise into every LSTM, GRU and RNN of a model, in place.

    Parameters keep their identity, so optimizers, weight sharing and hooks go on as before. Layers of ours get the new
    noise. Subclasses of torch's layers with a forward of their own are left alone. A method that a layer's cell can't
    have is left out there, with one warning and a line in `describe`.

    Args:
        model: any module.
        noise: a method or a list of methods; None for none.
        backend: as for the layers.

    Returns:
        The model; a bare layer's replacement.

    Raises:
        ValueError: what the layers refuse.
    """
    methods = as_methods(noise)
    left_out: list[str] = []

    def replace(layer: nn.RNNBase) -> nn.Module:
        new = layer if isinstance(layer, Regularized) else _ours(layer)
        if new is None:
            return layer
        fitting, skipped = _fitting(new, methods)
        left_out.extend(skipped)
        new._attach(noise if not skipped else fitting, backend)
        new._left_out = skipped
        return new

    model = _walk(model, replace)
    if left_out:
        warnings.warn("left out: " + "; ".join(dict.fromkeys(left_out)), UserWarning, stacklevel=2)
    return model


def plain(model: nn.Module) -> nn.Module:
    """Turn every layer of ours back into torch's, in place; parameters keep their identity.

    Returns:
        The model; a bare layer's replacement.
    """

    def replace(layer: nn.RNNBase) -> nn.Module:
        if type(layer) not in _OURS.values():
            return layer
        torchs = next(theirs for theirs, ours in _OURS.items() if ours is type(layer))
        state = {k: v for k, v in layer.__dict__.items() if k not in _ADDED}
        return _same_parameters(torchs, state)

    return _walk(model, replace)


_ADDED = (
    "backend",
    "_noise",
    "_methods",
    "_plans",
    "_planned_dropout",
    "_initial",
    "_left_out",
)


def _ours(layer: nn.RNNBase) -> Any:
    """Return our layer over the same parameters, or None for a subclass with a forward of its own."""
    for theirs, ours in _OURS.items():
        if isinstance(layer, theirs) and type(layer).forward is theirs.forward:
            state = {k: v for k, v in layer.__dict__.items() if k != "_flat_weights"}
            return _same_parameters(ours, state)
    return None


def _same_parameters(kind: type[nn.RNNBase], state: dict[str, Any]) -> nn.RNNBase:
    new = kind.__new__(kind)
    copied = {k: v.copy() if k in _COPIED else v for k, v in state.items()}
    new.__dict__.update(copied)
    if kind in _OURS:
        new._init_flat_weights()
    return new


def _fitting(layer: Regularized, methods: tuple[Method, ...]) -> tuple[list[Method], list[str]]:
    """Return the methods that the layer's cell can have, and why it can't have the others."""
    fitting, skipped = [], []
    for method in methods:
        try:
            layer._make_plans((method,))
        except UndefinedSiteError as error:
            skipped.append(str(error))
        else:
            fitting.append(method)
    return fitting, skipped


def _walk(model: nn.Module, replace: Callable[[nn.RNNBase], nn.Module]) -> nn.Module:
    """Replace every recurrent layer below, one that is used twice by one replacement."""
    new = {id(m): replace(m) for m in model.modules() if isinstance(m, nn.RNNBase)}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in new:
                parent._modules[name] = new[id(child)]
    return new.get(id(model), model)
