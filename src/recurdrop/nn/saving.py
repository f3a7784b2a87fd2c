"""What a whole model that `torch.save` wrote names of this library, for loading it with `weights_only=True`."""

from __future__ import annotations

import inspect

from torch import nn as torch_nn

from recurdrop import methods, nn
from recurdrop.nn.gru import GRU
from recurdrop.nn.lstm import LSTM
from recurdrop.nn.rnn import RNN
from recurdrop.plan import Noise


def safe_globals() -> list[type]:
    """Return what of this library a saved model may name, for `torch.serialization.safe_globals`.

    PyTorch loads a whole model with `weights_only=True` if each class in the file is in a list of yours. Add these to
    your own classes and to those of torch that your model has:

        torch.save(model, path)
        with torch.serialization.safe_globals([MyModel, nn.Linear, *rd.safe_globals()]):
            model = torch.load(path, weights_only=True)

    Nothing in the list runs code from the file: it has classes only, the layers, the modules of `rd.nn`, the methods,
    the plan's data class and Python's `frozenset`. Torch loads no layer this way whose class is made while a program
    runs: a subclass of its layers that `rd.regularize` gave noise, or a layer with parametrizations. Save the
    `state_dict` of such a model.

    Returns:
        The classes, each once.
    """
    modules = [kind for _, kind in inspect.getmembers(nn, inspect.isclass) if issubclass(kind, torch_nn.Module)]
    chosen = [methods.get(name) for name in methods.names()]
    return [LSTM, GRU, RNN, *modules, *chosen, Noise, frozenset]
