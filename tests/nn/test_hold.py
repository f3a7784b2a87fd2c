"""Masks held over calls."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import recurdrop as rd
from recurdrop.nn.hold import held_by

T, B, F, H = 6, 3, 4, 5
PER_SEQUENCE = [
    pytest.param(rd.LSTM, rd.Variational(input=0.3, recurrent=0.3, output=0.3, tied=False), id="variational"),
    pytest.param(rd.LSTM, rd.RNNDrop(0.3), id="rnndrop"),
    pytest.param(rd.GRU, rd.Keras(dropout=0.3, recurrent_dropout=0.3), id="keras"),
    pytest.param(rd.RNN, rd.WeightDrop(0.5), id="weightdrop"),
]


def made(kind: Any, noise: Any, **extra: Any) -> Any:
    return kind(F, H, 2, noise=noise, dtype=torch.float64, **extra)


def numbers(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64)


@pytest.mark.parametrize("noise", [rd.Dropout(0.5, site="output"), rd.Zoneout(c=0.5, h=0.5), rd.AWD()], ids=repr)
def test_calls_have_the_same_masks_and_take_no_random_number(noise: rd.Method) -> None:
    layer, x = made(rd.LSTM, noise), numbers(T, B, F)
    with rd.hold_masks(layer):
        before = torch.get_rng_state()
        first, again = layer(x)[0], layer(x)[0]
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(layer(x)[0], first)
    assert held_by(layer) is None


@pytest.mark.parametrize(("kind", "noise"), PER_SEQUENCE)
def test_windows_are_one_long_pass(kind: Any, noise: rd.Method) -> None:
    layer, x = made(kind, noise), numbers(T, B, F)
    with rd.hold_masks(layer):
        whole, state = layer(x)
        parts, carried = [], None
        for window in x.split((1, 3, 2)):
            part, carried = layer(window, carried)
            parts.append(part)
    assert not torch.equal(whole, layer.eval()(x)[0])
    # Measured 2e-16: products of other numbers of rows are summed in another order.
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-15)
    torch.testing.assert_close(carried, state, rtol=0, atol=1e-15)


def test_fresh_masks_belong_to_the_step_of_a_call() -> None:
    layer, x = made(rd.RNN, rd.Dropout(0.5, site="output")), numbers(T, B, F)
    with rd.hold_masks(layer):
        whole, short = layer(x)[0], layer(x[:4])[0]
    assert torch.equal(whole[:4], short)
    assert len({tuple((row == 0).flatten().tolist()) for row in whole}) == T


def test_torchs_dropout_argument_is_held() -> None:
    layer, x = made(rd.GRU, None, dropout=0.5), numbers(T, B, F)
    with rd.hold_masks(layer):
        assert torch.equal(layer(x)[0], layer(x)[0])
    assert not torch.equal(layer(x)[0], layer(x)[0])


def test_rows_keep_their_masks_in_packed_batches() -> None:
    layer, x = made(rd.LSTM, rd.Variational(recurrent=0.5)), numbers(T, B, F)
    with rd.hold_masks(layer):
        packed = layer(pack_padded_sequence(x, [4, 6, 2], enforce_sorted=False))[1][0]
        padded = layer(x, lengths=[4, 6, 2])[1][0]
    torch.testing.assert_close(packed, padded, rtol=0, atol=1e-15)


def test_modules_around_the_layers_are_held() -> None:
    model = nn.Sequential(
        rd.nn.EmbeddingDropout(nn.Embedding(9, F), 0.5, per_example=True), rd.nn.LockedDropout(0.5), rd.nn.Dropout(0.5)
    )
    words = torch.randint(9, (T, B))
    with rd.hold_masks(model):
        first = model(words)
        assert torch.equal(model(words), first)
        assert (first == 0).any()
        with pytest.raises(ValueError, match="EmbeddingDropout holds the masks of 3 examples; got 'a batch of 2'"):
            model(words[:, :2])
    assert not torch.equal(model(words), first)


def test_redraw_and_another_batch_size() -> None:
    layer, x = made(rd.LSTM, rd.Zoneout()), numbers(T, B, F)
    with rd.hold_masks(layer) as held:
        first = layer(x)[0]
        with pytest.raises(ValueError, match=r"LSTM holds the masks of 3 examples; got 'a batch of 2'. Keep the batch"):
            layer(x[:, :2])
        held.redraw()
        assert not torch.equal(layer(x[:, :2])[0], first[:, :2])
        with pytest.raises(ValueError, match="holds the masks of 2 examples"):
            layer(x)


def test_the_seed_governs() -> None:
    layer, x = made(rd.LSTM, rd.Zoneout()), numbers(T, B, F)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        with rd.hold_masks(layer):
            found.append(layer(x)[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_layers_have_masks_of_their_own() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = rd.RNN(F, F, noise=rd.Dropout(0.5, site="output"))
            self.two = rd.RNN(F, F, noise=rd.Dropout(0.5, site="output"))

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([layer(x)[0] == 0 for layer in (self.one, self.one, self.two)])

    model, x = Twice(), torch.randn(T, B, F)
    with rd.hold_masks(model):
        first, again, other = model(x)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_given_masks_go_first_and_evaluation_has_none() -> None:
    layer, x = made(rd.LSTM, rd.Zoneout(c=0.5, h=0.5)), numbers(T, B, F)
    masks = layer.sample_masks(T, B)
    expected, plain = layer(x, masks=masks)[0], layer.eval()(x)[0]
    layer.train()
    with rd.hold_masks(layer):
        assert torch.equal(layer(x, masks=masks)[0], expected)
        assert not torch.equal(layer(x)[0], expected)
        layer.eval()
        assert torch.equal(layer(x)[0], plain)
        with rd.mc_dropout(layer):
            noisy = layer(x)[0]
            assert torch.equal(layer(x)[0], noisy)
        assert not torch.equal(noisy, plain)


def test_inner_contexts_have_masks_of_their_own_and_give_the_outer_ones_back() -> None:
    layer, x = made(rd.LSTM, rd.Zoneout()), numbers(T, B, F)
    with rd.hold_masks(layer):
        first = layer(x)[0]
        with contextlib.suppress(ZeroDivisionError), rd.hold_masks(layer):
            inner = layer(x)[0]
            raise ZeroDivisionError
        assert torch.equal(layer(x)[0], first)
    assert not torch.equal(inner, first)
    assert not layer._forward_pre_hooks


def test_gradients_flow_and_layers_are_let_go() -> None:
    layer, x = made(rd.GRU, rd.Variational(input=0.2, recurrent=0.2)), numbers(T, B, F)
    with rd.hold_masks(layer) as held:
        layer(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    assert held_by(layer) is None
    kept = weakref.ref(layer)
    del layer, held
    gc.collect()
    assert kept() is None


def test_compiled_models_are_refused() -> None:
    with (
        pytest.raises(ValueError, match="masks can't be given into compiled graphs"),
        rd.hold_masks(torch.compile(nn.Linear(1, 1), backend="eager")),
    ):
        pass
