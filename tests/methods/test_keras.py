"""Keras's two arguments; parity with Keras itself is tested in `tests/peers`."""

from __future__ import annotations

import torch

import recurdrop as rd
from recurdrop.testing import MethodConformance


class TestBoth(MethodConformance):
    method = rd.Keras(dropout=0.4, recurrent_dropout=0.3)
    shapes = {"input": "1 B G I", "recurrent": "1 B G H"}


class TestDropoutAlone(MethodConformance):
    method = rd.Keras(dropout=0.4)
    shapes = {"input": "1 B I"}


def test_it_is_untied_variational_dropout() -> None:
    keras, gal = rd.Keras(dropout=0.4, recurrent_dropout=0.3), rd.Variational(input=0.4, recurrent=0.3, tied=False)
    found = [
        rd.GRU(5, 6, noise=noise).sample_masks(4, 3, generator=torch.Generator().manual_seed(0))[0]
        for noise in (keras, gal)
    ]
    assert torch.equal(found[0].input, found[1].input)
    assert torch.equal(found[0].recurrent, found[1].recurrent)
