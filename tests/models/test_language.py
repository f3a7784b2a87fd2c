from __future__ import annotations

import math

import pytest
import torch

from recurdrop import methods
from recurdrop.models import LanguageStack, ModelSettings, build
from recurdrop.models.language import cross_entropy, detached
from recurdrop.models.recurrent import CELLS

FREQUENCIES = torch.tensor([4.0, 2.0, 1.0, 1.0])


def tied(hidden: int, layers: int = 1, cell: str = "lstm", noise: tuple[str, ...] = ()) -> LanguageStack:
    settings = ModelSettings(4, hidden, (hidden,) * layers, noise, cell, tied=True, init="frequencies")
    return build(settings, frequencies=FREQUENCIES)


def test_a_model_whose_embedding_is_zero_predicts_the_frequencies() -> None:
    model = tied(3)
    torch.nn.init.zeros_(model.encoder.embedding.weight)
    logits, _ = model(torch.tensor([[0, 3], [1, 2]]))
    assert logits.shape == (2, 2, 4)
    torch.testing.assert_close(logits.softmax(-1)[1, 0], FREQUENCIES / 8)
    loss = cross_entropy(logits, torch.tensor([[0, 1], [2, 3]]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4) + 2 * math.log(8)) / 4)
    assert cross_entropy(logits, torch.tensor([[0, 1], [2, 3]]), reduction="sum").item() == pytest.approx(
        4 * loss.item()
    )


def test_frequencies_must_be_given() -> None:
    with pytest.raises(ValueError, match='init="frequencies" needs frequencies'):
        build(ModelSettings(4, 3, (3,), init="frequencies"))


def test_logits_are_the_output_against_the_embedding() -> None:
    model = tied(3)
    words = torch.tensor([[2, 0]])
    output, _ = model.rnns[0](model.encoder(words))
    by_hand = [
        [sum(o * e for o, e in zip(row, word, strict=True)) for word in model.encoder.embedding.weight.tolist()]
        for row in output[0].tolist()
    ]
    torch.testing.assert_close(model(words)[0][0], torch.tensor(by_hand) + model.decoder.bias)


@pytest.mark.parametrize("cell", list(CELLS))
def test_the_state_carries_the_past_but_no_gradient(cell: str) -> None:
    model = tied(5, 2, cell)
    words = torch.tensor([[0, 1], [2, 3], [3, 0], [1, 1]])
    whole, _ = model(words)
    first, state = model(words[:2])
    second, _ = model(words[2:], detached(state))
    torch.testing.assert_close(torch.cat([first, second]), whole)
    (cut,) = detached(state)
    parts = cut if isinstance(cut, tuple) else (cut,)
    assert not any(part.requires_grad for part in parts)


@pytest.mark.parametrize("name", methods.names())
def test_no_method_changes_an_initial_weight(name: str) -> None:
    weights = []
    for noise in ((), (name,)):
        torch.manual_seed(3)
        weights.append(tied(6, noise=noise).state_dict())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
