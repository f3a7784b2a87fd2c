"""What torch's own tools ask of a recurrent layer: which layer of torch it stands for, scripting, quantization."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.fx import Proxy
from torch.nn.utils.parametrize import is_parametrized


def own_class(layer: nn.Module) -> type[nn.Module]:
    """Return a layer's class, without what `torch.nn.utils.parametrize` puts before it."""
    return type(layer).__bases__[0] if is_parametrized(layer) else type(layer)


def torch_class(layer: nn.Module) -> type[nn.RNNBase] | None:
    """Return the class of torch that a layer of ours stands for; None for other modules, and subclasses of ours."""
    return vars(own_class(layer)).get("torch_layer")


def symbolic_call(layer: nn.Module, input: Proxy, **options: Any) -> Proxy:
    """Record one call of a layer while `torch.fx` traces, as it does for torch's layers by itself.

    Args:
        layer: inside the module that is traced.
        input: what stands for the input.
        **options: other arguments; those that are None or False are left out.
    """
    tracer = input.tracer
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    return tracer.create_proxy("call_module", tracer.path_of_module(layer), (input,), given)  # type: ignore[attr-defined]


if TYPE_CHECKING:
    _Base = nn.RNNBase
else:
    _Base = object


class TorchTools(_Base):
    """The part of our layers that answers to torch's tools, which know torch's layers only."""

    _methods: tuple[Any, ...]

    def __prepare_scriptable__(self) -> nn.Module:
        """Give `torch.jit.script` the layer of torch over the same parameters, for it can't compile ours.

        It puts that layer into the model too.

        Raises:
            RuntimeError: the layer has noise, which would be gone.
        """
        theirs = torch_class(self)
        if theirs is None:
            return self
        if self._methods:
            raise RuntimeError(f"torch.jit can't compile noise; got {self}. Script what rd.plain(model) makes of it.")
        plain = theirs.__new__(theirs)
        plain.__dict__.update(self.__dict__)
        plain._init_flat_weights()
        return plain

    @property
    def qconfig(self) -> Any:
        """What `torch.ao.quantization` notes on every module of a model that it works on."""
        return self.__dict__["_qconfig"] if "_qconfig" in self.__dict__ else super().__getattr__("qconfig")

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        self.__dict__["_qconfig"] = value
        text = f"torch's quantization knows torch's own layers, and leaves {type(self).__name__} of recurdrop as it is."
        warnings.warn(f"{text} Call rd.plain(model) first.", UserWarning, stacklevel=2)

    @qconfig.deleter
    def qconfig(self) -> None:
        self.__dict__.pop("_qconfig", None)
