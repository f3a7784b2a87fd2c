"""Training or evaluation mode of modules, as one thread sees it.

A model that is served runs in several threads at once, and its `training` flags are shared by all of them. While a
thread wants other modes, each module has a subclass of its class, whose `training` asks for the thread's own modes and
falls back on the flag. The flag itself is never touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

Watcher = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]
"""Called with a module, and the arguments of its call."""

_MODES: ContextVar[Mapping[nn.Module, bool]] = ContextVar("modes")
_WATCHERS: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())
_MADE: WeakKeyDictionary[type[nn.Module], type[nn.Module]] = WeakKeyDictionary()
_USERS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_LOCK = threading.Lock()
_NO_MODES: Mapping[nn.Module, bool] = {}


@contextmanager
def thread_modes(modes: Mapping[nn.Module, bool]) -> Iterator[None]:
    """Give modules these modes, in this thread and until the context ends, whatever `train` and `eval` say meanwhile.

    Compiled modules are an exception: their graphs read the flag, so that it is set, and set back at the end. Such a
    model must not be run by other threads meanwhile.

    Args:
        modes: whether each module is in training mode.
    """
    flagged = {module: module.training for module in modes if _reads_its_flag(module)}
    if any(_is_compiled(module) for module in modes):
        flagged = {module: module.training for module in modes}
    lent = [module for module in modes if module not in flagged]
    _lend(lent)
    token = _MODES.set({**_MODES.get(_NO_MODES), **{module: modes[module] for module in lent}})
    try:
        for module in flagged:
            module.training = modes[module]
        yield
    finally:
        for module, training in flagged.items():
            module.training = training
        _MODES.reset(token)
        _take_back(lent)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Show every call of a module with thread modes to a function, in this thread."""
    token = _WATCHERS.set((*_WATCHERS.get(), watcher))
    try:
        yield
    finally:
        _WATCHERS.reset(token)


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or module._compiled_call_impl is not None


def _reads_its_flag(module: nn.Module) -> bool:
    """Say whether a module's class can't be changed: `torch.jit` has compiled it."""
    return isinstance(module, torch.jit.ScriptModule)


def _lend(modules: list[nn.Module]) -> None:
    with _LOCK:
        for module in modules:
            if module not in _USERS:
                module.__class__ = _made(type(module))
            _USERS[module] = _USERS.get(module, 0) + 1


def _take_back(modules: list[nn.Module]) -> None:
    with _LOCK:
        for module in modules:
            _USERS[module] -= 1
            if not _USERS[module]:
                del _USERS[module]
                module.__class__ = type(module).__bases__[0]


def _empty(kind: type[nn.Module]) -> nn.Module:
    return kind.__new__(kind)


def _made(kind: type[nn.Module]) -> type[nn.Module]:
    """Return the subclass of a module's class that asks for the thread's modes."""
    if kind in _MADE:
        return _MADE[kind]

    def get_training(self: nn.Module) -> bool:
        own: bool = self.__dict__["training"]
        return _MODES.get(_NO_MODES).get(self, own)

    def set_training(self: nn.Module, training: bool) -> None:
        if self not in _MODES.get(_NO_MODES):
            self.__dict__["training"] = training

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        for watcher in _WATCHERS.get():
            watcher(self, args, kwargs)
        return kind.__call__(self, *args, **kwargs)

    def reduce(self: nn.Module, protocol: Any) -> Any:
        # A copy or a pickle is of the module as it is outside of this context.
        function, arguments, *rest = kind.__reduce_ex__(self, protocol)  # type: ignore[str-unpack]
        return (function, arguments, *rest) if arguments[:1] != (made,) else (_empty, (kind,), *rest)

    body = {
        "training": property(get_training, set_training),
        "__call__": call,
        "__reduce_ex__": reduce,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    metaclass: Any = type(kind)
    made: type[nn.Module] = metaclass(kind.__name__, (kind,), body)
    _MADE[kind] = made
    return made
