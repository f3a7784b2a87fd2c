from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from recurdrop.models import ModelSettings, build
from recurdrop.models.generate import generate
from recurdrop.models.stack import LanguageStack

SETTINGS = ModelSettings(7, 6, (6,), noise=("zaremba:0.5",), init_range=1.5)


@pytest.fixture
def model() -> LanguageStack:
    return build(SETTINGS)


def test_at_temperature_0_each_word_is_the_likeliest_after_all_before_it(model: LanguageStack) -> None:
    drawn = list(islice(generate(model, [3, 1, 4], temperature=0), 12))
    assert not model.training
    words = [3, 1, 4, *drawn]
    logits, _ = model(torch.tensor(words)[:, None])
    assert drawn == logits[2:-1, 0].argmax(-1).tolist()
    assert len(set(drawn)) > 1
    assert drawn != list(islice(generate(model, [4], temperature=0), 12))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_draws_follow_the_softmax_over_the_temperature(model: LanguageStack, temperature: float) -> None:
    count = 1000
    torch.manual_seed(1)
    firsts = [next(generate(model, [2, 5], temperature=temperature)) for _ in range(count)]
    found = torch.bincount(torch.tensor(firsts), minlength=7) / count
    logits, _ = model(torch.tensor([[2], [5]]))
    p = (logits[-1, 0] / temperature).softmax(-1)
    assert ((found - p).abs() < 4.5 * (p * (1 - p) / count).sqrt() + 1e-9).all()


def test_the_seed_alone_decides(model: LanguageStack) -> None:
    def drawn(seed: int) -> list[int]:
        return list(islice(generate(model, [0], seed=seed), 40))

    before = torch.get_rng_state()
    assert drawn(1) == drawn(1) != drawn(2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    first = list(islice(generate(model, [0]), 40))
    torch.manual_seed(4)
    assert list(islice(generate(model, [0]), 40)) == first


def test_gradients_are_off_for_the_model_alone(model: LanguageStack) -> None:
    seen: list[bool] = []
    model.decoder.register_forward_hook(lambda *found: seen.append(found[-1].requires_grad))
    words = generate(model, [0])
    next(words)
    assert torch.is_grad_enabled()
    next(words)
    assert seen == [False, False]


@pytest.mark.parametrize(
    ("prompt", "temperature", "rule"),
    [
        ([], 1.0, "the prompt must have a word"),
        ([0], -1.0, "temperature must be 0 or more"),
        ([0], float("nan"), "nan"),
    ],
)
def test_wrong_arguments_are_refused_at_once(model: LanguageStack, prompt: Any, temperature: float, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        generate(model, prompt, temperature=temperature)
