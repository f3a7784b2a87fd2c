"""Keras on its torch backend; importing this skips the module where it is not to be had."""

from __future__ import annotations

import os
import warnings

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", minversion="3.8", reason='Keras is in the extra "test" alone')
if keras.backend.backend() != "torch":
    pytest.skip("KERAS_BACKEND is set to another backend than torch", allow_module_level=True)

quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras", "ignore::FutureWarning:keras")
