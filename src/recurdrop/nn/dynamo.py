"""Let `torch.compile` look inside our layers, and inside no others.

Dynamo stops at every instance of torch's recurrent layers, ours included, unless its switch `allow_rnn` is on, because
torch's own forward does not trace well: a graph of it has the same dropout masks at every call, and can't take the
gradient of oneDNN's LSTM. Ours does. So the switch is on only while Dynamo wraps one of our layers, by a function
around Dynamo's own. That is set when the first layer is made if Dynamo is loaded, and otherwise at the moment when it
is, since loading it takes over a second. A Dynamo without that function has the switch set for good.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_BUILDER = "torch._dynamo.variables.builder"
_CONFIG = "torch._dynamo.config"


class _ThenAdmit(Loader):
    """A module's own loader, then `_admit`."""

    def __init__(self, loader: Loader, layers: type) -> None:
        self.loader, self.layers = loader, layers

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _admit(module, self.layers)


class _OnImport(MetaPathFinder):
    """Find Dynamo's builder once, with a loader that admits our layers."""

    def __init__(self, layers: type) -> None:
        self.layers = layers

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _BUILDER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenAdmit(spec.loader, self.layers)
        return spec


def _admit(builder: ModuleType, layers: type) -> None:
    """Put a function around `VariableBuilder.wrap_module`, once, that turns the switch on for our layers."""
    config: Any = sys.modules.get(_CONFIG)
    kind = getattr(builder, "VariableBuilder", None)
    wrap = getattr(kind, "wrap_module", None)
    if not hasattr(config, "allow_rnn") or hasattr(wrap, "admits"):
        return
    if kind is None or wrap is None:
        config.allow_rnn = True
        return

    @functools.wraps(wrap)
    def wrap_module(self: Any, value: Any) -> Any:
        if not isinstance(value, layers):
            return wrap(self, value)
        with config.patch(allow_rnn=True):
            return wrap(self, value)

    wrap_module.admits = layers  # type: ignore[attr-defined]
    kind.wrap_module = wrap_module


def allow_tracing(layers: type) -> None:
    """Let Dynamo trace instances of these classes of ours, from now on or from when it is loaded."""
    builder = sys.modules.get(_BUILDER)
    if builder is not None:
        _admit(builder, layers)
    elif not any(isinstance(finder, _OnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OnImport(layers))
