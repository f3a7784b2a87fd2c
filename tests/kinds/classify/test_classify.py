from __future__ import annotations

import pytest
import torch

from recurdrop import methods
from recurdrop.kinds.classify.model import ClassifierSettings, SequenceClassifier
from recurdrop.models.recurrent import CELLS

WORDS = torch.tensor([[2, 3, 4, 1], [5, 2, 0, 0], [3, 0, 0, 0]])
LENGTHS = torch.tensor([4, 2, 1])


def model(**settings: object) -> SequenceClassifier:
    return SequenceClassifier(6, 3, ClassifierSettings(**{"hidden": 5, "embedding": 4, **settings}))  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_padding_changes_nothing(cell: str, bidirectional: bool, pooling: str) -> None:
    made = model(cell=cell, layers=2, bidirectional=bidirectional, pooling=pooling).eval()
    alone = [made(row[None, :n]) for row, n in zip(WORDS, LENGTHS.tolist(), strict=True)]
    torch.testing.assert_close(made(WORDS, LENGTHS), torch.cat(alone))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_last_is_the_final_state_of_each_direction(bidirectional: bool) -> None:
    made = model(layers=2, bidirectional=bidirectional)
    _, (h, _) = made.rnn(made.embedding(WORDS.t()), lengths=LENGTHS)
    final = torch.cat([h[-2], h[-1]], 1) if bidirectional else h[-1]
    torch.testing.assert_close(made(WORDS, LENGTHS), made.linear(final))


def test_mean_is_over_the_words() -> None:
    made = model(pooling="mean")
    y, _ = made.rnn(made.embedding(WORDS.t()), lengths=LENGTHS)
    by_hand = torch.stack([y[:n, i].mean(0) for i, n in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(made(WORDS, LENGTHS), made.linear(by_hand))


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_text_without_words_gets_the_bias(pooling: str) -> None:
    made = model(pooling=pooling, bidirectional=True)
    logits = made(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([0]))
    torch.testing.assert_close(logits[0], made.linear.bias)


def test_embedding_0_is_one_hot_and_fixed() -> None:
    made = model(embedding=0)
    torch.testing.assert_close(made.embedding(WORDS), torch.nn.functional.one_hot(WORDS, 6).float())
    assert not made.embedding.weight.requires_grad


@pytest.mark.parametrize("place", ["dropout", "embedding_dropout", "spatial_dropout"])
def test_dropping_everything_leaves_what_does_not_depend_on_the_words(place: str) -> None:
    made = model(**{place: 1.0}).train()
    same = made(WORDS[:1]) - made(WORDS[:1].flip(1))
    assert torch.equal(same, torch.zeros_like(same))
    assert not torch.equal(made.eval()(WORDS[:1]), made(WORDS[:1].flip(1)))


def test_the_noise_of_the_output_site_acts_on_the_last_output() -> None:
    made = model(noise=("dropout:1.0",)).train()
    torch.testing.assert_close(made(WORDS, LENGTHS), made.linear.bias.expand(3, -1))


def test_embedding_dropout_drops_a_word_type_of_one_text() -> None:
    made = model(embedding_dropout=0.5).train()
    rows = made.embedding(torch.full((7, 64), 3))
    gone = (rows == 0).all(-1)
    assert torch.equal(gone, gone[:1].expand(7, -1))
    assert 10 < int(gone[0].sum()) < 54


@pytest.mark.parametrize("name", methods.names())
def test_no_method_changes_an_initial_weight_of_a_classifier(name: str) -> None:
    states = []
    for noise in ((), (name,)):
        torch.manual_seed(3)
        states.append(model(noise=noise).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "max"}, "pooling must be one of last, mean; got 'max'"),
        ({"embedding": -1}, "embedding must be 0 or more; got -1"),
        ({"dropout": 1.5}, "p"),
        ({"hidden": 0}, "hidden must be 1 or more"),
    ],
)
def test_settings_that_break_a_rule_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(**settings)
