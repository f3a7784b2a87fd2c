"""Which modules draw masks while a model predicts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from recurdrop.nn.base import Regularized
from recurdrop.nn.hold import is_noisy
from recurdrop.nn.noise_module import NoiseModule
from recurdrop.uncertainty.thread_modes import thread_modes


@contextmanager
def mc_dropout(model: nn.Module, *, also: Iterable[type[nn.Module]] = ()) -> Iterator[None]:
    """Switch the noise of a model on and all else to evaluation, for Monte-Carlo dropout.

    Noise is: the recurrent layers and modules of this library; torch's dropout modules, with their subclasses;
    `dropout=` of torch's recurrent layers. Everything else is in evaluation mode, BatchNorm among it. Noise stays on if
    the model is put into evaluation mode inside the context, as trainers do before they predict. All this holds in the
    thread that enters the context: others may run the same model meanwhile in the mode that it has, or with noise in
    contexts of their own. Contexts may be nested.

    Each pass then is one sample from the model's approximate posterior (Gal & Ghahramani 2016, arXiv:1512.05287,
    sec. 3; for layers with masks fixed over time). Average the probabilities of several, not their logarithms;
    `mc_predict` does.

    Args:
        model: any module.
        also: further classes of modules to switch on, such as a dropout module of your own. Only their own flag is
            set, not those of modules inside them.

    Warns:
        UserWarning: nothing in the model makes noise, so that all passes are equal.
    """
    kinds = (Regularized, NoiseModule, _DropoutNd, nn.RNNBase, *also)
    modules = list(model.modules())
    if not any(_makes_noise(module) or isinstance(module, tuple(also)) for module in modules):
        text = f"nothing in {type(model).__name__} makes noise: all its samples are equal. Give it some, e.g. with"
        warnings.warn(f"{text} rd.regularize(model, rd.Variational(recurrent=0.2)).", UserWarning, stacklevel=3)
    with thread_modes({module: isinstance(module, kinds) for module in modules}):
        yield


def _makes_noise(module: Any) -> bool:
    if isinstance(module, Regularized | NoiseModule):
        return is_noisy(module)
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, _DropoutNd) and module.p > 0
