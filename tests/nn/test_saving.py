"""Whole models with noise are saved by torch and loaded with weights_only=True; a file can't make it run code."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recurdrop as rd
from recurdrop import methods


class Sub(nn.LSTM):
    """A subclass of torch's layer."""


class Words(nn.Module):
    """As PyTorch's example of a word language model builds it."""

    def __init__(self, kind: Any = nn.LSTM) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(9, 4)
        self.rnn = kind(4, 8, 2, dropout=0.2)
        self.decoder = nn.Linear(8, 9)

    def forward(self, words: Tensor) -> Any:
        return self.decoder(self.drop(self.rnn(self.drop(self.encoder(words)))[0]))


THEIRS = [Words, Sub, nn.Dropout, nn.Embedding, nn.Linear, nn.LSTM, nn.GRU, nn.RNN, nn.Sequential]


def saved_and_loaded(model: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    with torch.serialization.safe_globals([*THEIRS, *rd.safe_globals()]):
        return torch.load(file, weights_only=True)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_word_language_model_goes_on_after_loading(kind: Any) -> None:
    model = rd.regularize(Words(kind), [rd.WeightDrop(0.3), rd.Locked(between=0.3)])
    loaded, words = saved_and_loaded(model), torch.randint(9, (5, 2))
    assert type(loaded.rnn) is type(model.rnn)
    assert loaded.rnn.noise == model.rnn.noise
    outputs = []
    for each in (model, loaded):
        torch.manual_seed(1)
        outputs.append(each(words))
    assert torch.equal(*outputs)
    assert type(rd.plain(loaded).rnn) is kind


@pytest.mark.parametrize("name", methods.names())
def test_every_method_is_in_the_list(name: str) -> None:
    method = methods.get(name)()
    loaded = saved_and_loaded(rd.LSTM(4, 8, noise=method))
    assert loaded.noise == method


@pytest.mark.parametrize(
    "module",
    [
        rd.nn.EmbeddingDropout(nn.Embedding(9, 4), 0.3),
        rd.nn.WordDropout(0.3, unk=0),
        rd.nn.LockedDropout(0.3),
        rd.nn.SpatialDropout1D(0.3, batch_first=True),
        rd.nn.Dropout(0.3, noise_shape=(None, 1, None)),
        rd.nn.FastDropoutGRU(4, 8),
        rd.nn.FastDropoutLSTM(4, 8),
        rd.nn.FastDropoutRNN(4, 8),
        rd.nn.FastDropoutLinear(4, 8),
    ],
    ids=lambda module: type(module).__name__,
)
def test_modules_are_in_the_list(module: nn.Module) -> None:
    assert repr(saved_and_loaded(module)) == repr(module)


def test_the_list_has_classes_only_each_once() -> None:
    listed = rd.safe_globals()
    assert all(isinstance(thing, type) for thing in listed)
    assert len(set(listed)) == len(listed)


def test_a_class_made_while_the_program_runs_is_refused_by_torch() -> None:
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        saved_and_loaded(rd.regularize(Words(Sub), rd.Zoneout()))


def test_a_function_in_a_file_is_refused() -> None:
    class Crafted:
        def __reduce__(self) -> Any:
            return print, ("run",)

    model = rd.LSTM(4, 8, noise=rd.Zoneout())
    model.extra = Crafted()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    with (
        torch.serialization.safe_globals([*THEIRS, *rd.safe_globals()]),
        pytest.raises(pickle.UnpicklingError, match=r"GLOBAL .*print was not an allowed global"),
    ):
        torch.load(file, weights_only=True)
