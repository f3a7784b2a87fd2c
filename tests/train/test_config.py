from __future__ import annotations

import math

import pytest

from recurdrop.train.config import Config


@pytest.mark.parametrize(
    "setting",
    [
        {"cell": "LSTM"},
        {"hidden": 0},
        {"layers": -1},
        {"vocabulary": 1},
        {"tokens": 0},
        {"epochs": 0},
        {"batch": 0},
        {"window": 0},
        {"lr": 0.0},
        {"lr": math.nan},
        {"clip": math.inf},
        {"clip": -1.0},
    ],
    ids=str,
)
def test_a_bad_setting_is_named(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"--{next(iter(setting))} must be .*; got "):
        Config(**setting)  # type: ignore[arg-type]
