from __future__ import annotations

import math

import pytest
import torch

from recurdrop import methods
from recurdrop.models.language import CELLS, LanguageModel, cross_entropy, detached

FREQUENCIES = torch.tensor([4.0, 2.0, 1.0, 1.0])


def test_a_model_whose_embedding_is_zero_predicts_the_frequencies() -> None:
    model = LanguageModel(FREQUENCIES, 3)
    torch.nn.init.zeros_(model.embedding.weight)
    logits, _ = model(torch.tensor([[0, 3], [1, 2]]))
    assert logits.shape == (2, 2, 4)
    torch.testing.assert_close(logits.softmax(-1)[1, 0], FREQUENCIES / 8)
    loss = cross_entropy(logits, torch.tensor([[0, 1], [2, 3]]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4) + 2 * math.log(8)) / 4)
    assert cross_entropy(logits, torch.tensor([[0, 1], [2, 3]]), reduction="sum").item() == pytest.approx(
        4 * loss.item()
    )


def test_logits_are_the_output_against_the_embedding() -> None:
    model = LanguageModel(FREQUENCIES, 3)
    words = torch.tensor([[2, 0]])
    output, _ = model.rnn(model.embedding(words))
    by_hand = [
        [sum(o * e for o, e in zip(row, word, strict=True)) for word in model.embedding.weight.tolist()]
        for row in output[0].tolist()
    ]
    torch.testing.assert_close(model(words)[0][0], torch.tensor(by_hand) + model.bias)


@pytest.mark.parametrize("cell", list(CELLS))
def test_the_state_carries_the_past_but_no_gradient(cell: str) -> None:
    model = LanguageModel(FREQUENCIES, 5, 2, cell)
    words = torch.tensor([[0, 1], [2, 3], [3, 0], [1, 1]])
    whole, _ = model(words)
    first, state = model(words[:2])
    second, _ = model(words[2:], detached(state))
    torch.testing.assert_close(torch.cat([first, second]), whole)
    parts = detached(state) if isinstance(detached(state), tuple) else (detached(state),)
    assert not any(part.requires_grad for part in parts)


@pytest.mark.parametrize("name", methods.names())
def test_no_method_changes_an_initial_weight(name: str) -> None:
    weights = []
    for noise in (None, methods.get(name).published()):
        torch.manual_seed(3)
        weights.append(LanguageModel(FREQUENCIES, 6, noise=noise).state_dict())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
