"""Drop-in LSTM, GRU and RNN layers for PyTorch with every published way of regularizing a recurrence.

A public name is imported when it is first used, so that the command line can answer before torch is loaded.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; a test holds that these are the names that there are
    from recurdrop import bridges as bridges
    from recurdrop import models as models
    from recurdrop import nn as nn
    from recurdrop.errors import BackendError as BackendError
    from recurdrop.errors import UndefinedSiteError as UndefinedSiteError
    from recurdrop.losses import activation_regularization as activation_regularization
    from recurdrop.losses import expectation_linear as expectation_linear
    from recurdrop.losses import fraternal as fraternal
    from recurdrop.losses import norm_stabilizer as norm_stabilizer
    from recurdrop.losses import pi_model as pi_model
    from recurdrop.losses import r_drop as r_drop
    from recurdrop.losses import temporal_activation_regularization as temporal_activation_regularization
    from recurdrop.methods.allennlp import AllenNLP as AllenNLP
    from recurdrop.methods.awd import AWD as AWD
    from recurdrop.methods.base import Method as Method
    from recurdrop.methods.dropconnect import DropConnect as DropConnect
    from recurdrop.methods.dropout import Dropout as Dropout
    from recurdrop.methods.gaussian import Gaussian as Gaussian
    from recurdrop.methods.haste import Haste as Haste
    from recurdrop.methods.hdetach import HDetach as HDetach
    from recurdrop.methods.keras import Keras as Keras
    from recurdrop.methods.locked import Locked as Locked
    from recurdrop.methods.mixout import Mixout as Mixout
    from recurdrop.methods.recurrent_dropout import RecurrentDropout as RecurrentDropout
    from recurdrop.methods.rnndrop import RNNDrop as RNNDrop
    from recurdrop.methods.state_reset import StateReset as StateReset
    from recurdrop.methods.tf1_variational import TF1Variational as TF1Variational
    from recurdrop.methods.variational import Variational as Variational
    from recurdrop.methods.weight_noise import WeightNoise as WeightNoise
    from recurdrop.methods.weightdrop import WeightDrop as WeightDrop
    from recurdrop.methods.zaremba import Zaremba as Zaremba
    from recurdrop.methods.zoneout import Zoneout as Zoneout
    from recurdrop.nn.base import Details as Details
    from recurdrop.nn.convert import plain as plain
    from recurdrop.nn.convert import regularize as regularize
    from recurdrop.nn.describe import Description as Description
    from recurdrop.nn.describe import describe as describe
    from recurdrop.nn.gru import GRU as GRU
    from recurdrop.nn.hold import HeldMasks as HeldMasks
    from recurdrop.nn.hold import hold_masks as hold_masks
    from recurdrop.nn.lstm import LSTM as LSTM
    from recurdrop.nn.rnn import RNN as RNN
    from recurdrop.nn.saving import safe_globals as safe_globals
    from recurdrop.nn.two_passes import two_passes as two_passes
    from recurdrop.nn.two_passes import two_passes_at_once as two_passes_at_once
    from recurdrop.optim.decay import ZarembaLR as ZarembaLR
    from recurdrop.optim.decay import decoupled_decay_ as decoupled_decay_
    from recurdrop.optim.ntasgd import NTASGD as NTASGD
    from recurdrop.optim.settings import SGDSettings as SGDSettings
    from recurdrop.optim.windows import VariableBPTT as VariableBPTT
    from recurdrop.schedules import AntiCurriculum as AntiCurriculum
    from recurdrop.schedules import Curriculum as Curriculum
    from recurdrop.schedules import LinearSchedule as LinearSchedule
    from recurdrop.schedules import PiecewiseSchedule as PiecewiseSchedule
    from recurdrop.schedules import Schedule as Schedule
    from recurdrop.schedules import StepSchedule as StepSchedule
    from recurdrop.sites import Masks as Masks
    from recurdrop.uncertainty.mode import mc_dropout as mc_dropout
    from recurdrop.uncertainty.predict import mc_predict as mc_predict
    from recurdrop.uncertainty.prediction import Prediction as Prediction

__version__ = "0.2.0"

_HOME: dict[str, tuple[str, ...]] = {
    "errors": ("BackendError", "UndefinedSiteError"),
    "losses": (
        "activation_regularization",
        "expectation_linear",
        "fraternal",
        "norm_stabilizer",
        "pi_model",
        "r_drop",
        "temporal_activation_regularization",
    ),
    "methods.base": ("Method",),
    "nn.base": ("Details",),
    "nn.convert": ("plain", "regularize"),
    "nn.describe": ("Description", "describe"),
    "nn.gru": ("GRU",),
    "nn.hold": ("HeldMasks", "hold_masks"),
    "nn.lstm": ("LSTM",),
    "nn.rnn": ("RNN",),
    "nn.saving": ("safe_globals",),
    "nn.two_passes": ("two_passes", "two_passes_at_once"),
    "optim.decay": ("ZarembaLR", "decoupled_decay_"),
    "optim.ntasgd": ("NTASGD",),
    "optim.settings": ("SGDSettings",),
    "optim.windows": ("VariableBPTT",),
    "schedules": ("AntiCurriculum", "Curriculum", "LinearSchedule", "PiecewiseSchedule", "Schedule", "StepSchedule"),
    "sites": ("Masks",),
    "uncertainty.mode": ("mc_dropout",),
    "uncertainty.predict": ("mc_predict",),
    "uncertainty.prediction": ("Prediction",),
}
"""The public names by the module that they live in; a method lives where `recurdrop.methods` finds it."""


def _methods() -> dict[str, Any]:
    from recurdrop import methods

    return {cls.__name__: cls for cls in map(methods.get, methods.names())}


def _import(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    if name[:1].isupper() and name in (methods := _methods()):
        return methods[name]
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __getattr__(name: str) -> Any:
    if name == "__all__":  # what `from recurdrop import *` asks for
        return sorted([*(name for names in _HOME.values() for name in names), *_methods()])
    value = _import(name)
    globals()[name] = value  # so that the next use finds it at once
    return value


def __dir__() -> list[str]:
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted({*globals(), *modules, *__getattr__("__all__")})
