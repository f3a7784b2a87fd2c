"""Weights that are no recurrent layer's, or not one stack's, are refused with rule, value and remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import recurdrop as rd
from recurdrop.bridges import from_allennlp, from_haste, from_keras, to_allennlp, to_haste, to_keras

I, H = 3, 5


def _keras(gates: int, *, inputs: int = I, hidden: int = H, bias: tuple[int, ...] | None = None) -> list[Any]:
    shapes = [(inputs, gates * hidden), (hidden, gates * hidden), bias or (gates * hidden,)]
    return [np.ones(shape, np.float32) for shape in shapes]


def _haste(gates: int, **extra: Any) -> dict[str, Any]:
    kernel, recurrent, bias = _keras(gates)
    return {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias} | extra


def _allennlp(gates: int, *, place: str = "", inputs: int = I, state_gates: int | None = None) -> dict[str, Any]:
    state_gates = state_gates or gates
    return {
        f"{place}cell.input_linearity.weight": torch.ones(gates * H, inputs),
        f"{place}cell.state_linearity.weight": torch.ones(state_gates * H, H),
        f"{place}cell.state_linearity.bias": torch.ones(state_gates * H),
    }


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda: from_keras(), r"at least one layer; got 0\. "),
        (lambda: from_keras(_keras(4)[:1]), r"a list of 2 arrays, .*; got 'list of 1'\. Give layer.get_weights\(\)"),
        (lambda: from_keras({"kernel": 1, "bias": 2}), "; got 'dict of 2'"),
        (lambda: from_keras(_keras(2)), r"G = 4 for LSTM.*; got \(10, 5\)\. "),
        (lambda: from_keras([*_keras(4)[:1], *_keras(3)[1:]]), r"\(15, 3\) beside .*\(15, 5\); got \(20, 3\)\. "),
        (lambda: from_keras([_keras(4)[0], _keras(4)[2], _keras(4)[1]]), r"\(G·H, H\).*; got \(20,\)\. "),
        (lambda: from_keras(_keras(4, bias=(4 * H + 1,))), r"input's bias.* shape \(20,\).*; got \(21,\)"),
        (lambda: from_keras(_keras(4, bias=(2, 4 * H))), r"input's bias.* shape \(20,\).*; got \(2, 20\)"),
        (lambda: from_keras(_keras(3)), r"reset_after=True, .*; got 'a bias of shape \(15,\)'\. Train the layer"),
        (lambda: from_keras(_keras(3, bias=(2, 15)), reset_after=False), "; got 'reset_after=False'"),
        (lambda: from_keras(_keras(3)[:2], reset_after=False), "; got 'reset_after=False'"),
        (lambda: from_keras(_keras(3, bias=(3, 15))), r"input's bias.*; got \(3, 15\)"),
        (lambda: from_keras(_keras(4), _keras(4)), r"layer 1 must have.*5 inputs; got \(1, \(20, 5\), 3\)\. Convert"),
        (lambda: from_keras(_keras(4), _keras(3, inputs=H, bias=(2, 15))), "layer 1 must have"),
        (lambda: from_keras(_keras(4) * 2, _keras(4, inputs=H)), r"layer 1 must have.* 2 direction\(s\)"),
        (lambda: from_keras([np.ones((I, H), int), *_keras(1)[1:]]), "the kernel must hold floating-point numbers"),
        (lambda: from_haste({}), r"must have bias, kernel, recurrent_kernel, and.*; got \[\]\. "),
        (lambda: from_haste(_haste(4, gamma=np.ones(2))), "layer-norm and IndRNN layers have no counterpart"),
        (lambda: from_haste(_haste(3)), "recurrent_bias must be there in a GRU, and in no LSTM"),
        (lambda: from_haste(_haste(4, recurrent_bias=np.ones(20))), "recurrent_bias must be there in a GRU"),
        (lambda: from_haste(_haste(1)), "recurrent_bias must be there in a GRU"),
        (lambda: from_allennlp({}), "; got "),
        (lambda: from_allennlp(_allennlp(6, state_gates=5)), r"has a highway; got \(25, 5\)\. Train it"),
        (lambda: from_allennlp(_allennlp(4, place="layer_0.")), r"; got 'layer_0.cell.*StackedAlternatingLstm each"),
        (lambda: from_allennlp(_allennlp(4, place="_module.")), "not its wrapper's"),
        (lambda: from_allennlp(_allennlp(4, place="forward_layers.1.")), "every layer from 0 on must be there"),
        (
            lambda: from_allennlp(
                _allennlp(4, place="forward_layer_0.")
                | _allennlp(4, place="backward_layer_0.")
                | _allennlp(4, place="forward_layer_1.", inputs=2 * H)
            ),
            "in the same directions",
        ),
        (
            lambda: from_allennlp({"cell.state_linearity.weight": torch.ones(4 * H, H)}),
            r"must have input_linearity.weight, .*; got \['state_linearity.weight'\]",
        ),
        (lambda: from_allennlp(_allennlp(3)), r"\(4·H, H\), as an LSTM has; .*; got \(15, 5\)"),
        (lambda: to_keras({}), "every layer must be there"),
        (lambda: to_keras(nn.Linear(2, 2).state_dict()), r"such as weight_ih_l0; got 'weight'\. Give the bare"),
        (lambda: to_keras(nn.LSTM(I, H, proj_size=2).state_dict()), "got 'weight_hr_l0'"),
        (lambda: to_keras(dict(list(nn.GRU(I, H).state_dict().items())[:3])), "with the same names"),
        (lambda: to_keras({k: v for k, v in nn.GRU(I, H, 2).state_dict().items() if "l1" in k}), "from 0 on"),
        (lambda: to_haste(nn.RNN(I, H).state_dict()), "haste has LSTM and GRU.*; got 'an RNN'"),
        (lambda: to_haste(nn.GRU(I, H, bidirectional=True).state_dict()), "; got 'a bidirectional layer'"),
        (lambda: to_allennlp(nn.GRU(I, H).state_dict()), "AllenNLP's augmented cell is an LSTM; got '3 gate"),
        (lambda: to_allennlp(nn.LSTM(I, H).state_dict(), "PyText"), "module must be one of 'AugmentedLstm', "),
        (lambda: to_allennlp(nn.LSTM(I, H, 2).state_dict(), "AugmentedLstm"), "AugmentedLstm has one layer"),
        (lambda: to_allennlp(nn.LSTM(I, H).state_dict(), "StackedBidirectionalLstm"), "has two directions"),
    ],
)
def test_what_is_refused(convert: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        convert()
    assert "; got " in str(raised.value)


def _back_and_forth(layer: nn.RNNBase, peer: str) -> dict[str, torch.Tensor]:
    state = layer.state_dict()
    if peer == "keras":
        return from_keras(*to_keras(state))
    if peer == "haste":
        return from_haste(*to_haste(state))
    return from_allennlp(to_allennlp(state))


@pytest.mark.parametrize(
    ("peer", "kind", "bidirectional"),
    [
        *(("keras", kind, two) for kind in (rd.LSTM, rd.GRU, rd.RNN) for two in (False, True)),
        *(("haste", kind, False) for kind in (rd.LSTM, rd.GRU)),
        *(("allennlp", rd.LSTM, two) for two in (False, True)),
    ],
)
def test_there_and_back_is_the_same_layer(peer: str, kind: Any, bidirectional: bool) -> None:
    layer = kind(I, H, 3, bidirectional=bidirectional, dtype=torch.float64)
    found = _back_and_forth(layer, peer)
    expected = layer.state_dict()
    assert list(found) == list(expected)
    one_bias = (peer, kind) in {("keras", rd.LSTM), ("keras", rd.RNN), ("haste", rd.LSTM)}
    for name, value in expected.items():
        if one_bias and name.startswith("bias"):
            total = value + expected[name.replace("bias_ih", "bias_hh")] if "_ih_" in name else torch.zeros(len(value))
            assert torch.equal(found[name], total.double())
        else:
            assert torch.equal(found[name], value)


def test_layers_without_bias_have_none_unless_another_has() -> None:
    layer = rd.GRU(I, H, 2, bias=False)
    assert _back_and_forth(layer, "keras").keys() == layer.state_dict().keys()
    mixed = from_keras(_keras(4)[:2], _keras(4, inputs=H))
    assert mixed.keys() == rd.LSTM(I, H, 2).state_dict().keys()
    assert not mixed["bias_ih_l0"].any()
    assert mixed["bias_ih_l1"].all()


def test_weights_are_copies() -> None:
    layer = rd.LSTM(I, H)
    for value in to_allennlp(layer.state_dict()).values():
        value.zero_()
    for array in to_keras(layer.state_dict())[0]:
        array[:] = 0
    assert all(p.all() for p in layer.parameters())
    arrays = {name: value.numpy() for name, value in to_allennlp(layer.state_dict()).items()}
    for value in from_allennlp(arrays).values():
        value.zero_()
    assert all(array.all() for array in arrays.values())
