"""Let `torch.compile` look inside our layers.

Dynamo stops at every instance of torch's recurrent layers, ours included, unless its switch `allow_rnn` is on, because
torch's own forward does not trace. Ours does. The switch is set when the first layer is made if Dynamo is loaded, and
otherwise at the moment when it is, since loading it takes over a second.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_CONFIG = "torch._dynamo.config"


class _SwitchOn(Loader):
    """A module's own loader, then the switch."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _switch_on(module)


class _OnImport(MetaPathFinder):
    """Find Dynamo's configuration once, with a loader that sets the switch."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _CONFIG:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _SwitchOn(spec.loader)
        return spec


def _switch_on(config: ModuleType) -> None:
    if hasattr(config, "allow_rnn"):
        setattr(config, "allow_rnn", True)  # noqa: B010 - only some versions of torch have it


def allow_tracing() -> None:
    """Set Dynamo's `allow_rnn`, now or when Dynamo is loaded."""
    config = sys.modules.get(_CONFIG)
    if config is not None:
        _switch_on(config)
    elif not any(isinstance(finder, _OnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OnImport())
