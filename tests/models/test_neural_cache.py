from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recurdrop.models import Memory, NeuralCache

T, B, V, F = 9, 2, 5, 3


def stream(steps: int = T) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(2)
    logits, hidden = torch.randn(steps, B, V).double(), torch.randn(steps, B, F).double()
    return logits, hidden, torch.randint(V, (steps, B))


def by_hand(logits: Tensor, hidden: Tensor, words: Tensor, cache: NeuralCache) -> Tensor:
    """p(w) of every step of every stream, one number at a time."""
    p = torch.zeros(logits.shape).double()
    for b in range(logits.shape[1]):
        for t in range(len(logits)):
            model = [math.exp(v) for v in logits[t, b].tolist()]
            model = [v / sum(model) for v in model]
            steps = range(max(0, t - cache.window), t)
            use = len(steps) >= (cache.window if cache.wait else 1)
            scores = [math.exp(cache.theta * float(hidden[t, b] @ hidden[j, b])) for j in steps]
            for w in range(V):
                cached = sum(s for s, j in zip(scores, steps, strict=True) if words[j, b] == w)
                p[t, b, w] = (1 - cache.weight) * model[w] + cache.weight * cached / sum(scores) if use else model[w]
    return p


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize(("window", "weight", "theta"), [(4, 0.3, 0.7), (1, 0.1, 2.0), (50, 0.5, 0.0)])
def test_against_a_plain_loop(window: int, weight: float, theta: float, wait: bool) -> None:
    cache = NeuralCache(window, weight, theta, wait=wait)
    logits, hidden, words = stream()
    found, _ = cache(logits, hidden, words)
    expected = by_hand(logits, hidden, words, cache)
    torch.testing.assert_close(found.exp(), expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(expected.sum(-1), torch.ones(T, B).double())


@pytest.mark.parametrize("cut", [1, 3, 8])
def test_the_memory_carries_a_stream_over_windows(cut: int) -> None:
    cache = NeuralCache(4, 0.3, 0.7)
    logits, hidden, words = stream()
    whole, end = cache(logits, hidden, words)
    memory, parts = None, []
    for start in range(0, T, cut):
        part = slice(start, start + cut)
        found, memory = cache(logits[part], hidden[part], words[part], memory)
        parts.append(found)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=2e-15)
    assert torch.equal(memory.hidden, end.hidden)
    assert torch.equal(memory.words, words[-4:])


def test_words_that_follow_later_have_no_part_and_can_be_remembered_one_by_one() -> None:
    cache = NeuralCache(4, 0.3, 0.7)
    logits, hidden, words = stream()
    expected, end = cache(logits, hidden, words)
    memory: Memory | None = None
    for t in range(T):
        now = slice(t, t + 1)
        found, _ = cache(logits[now], hidden[now], torch.zeros(1, B, dtype=torch.int64), memory)
        torch.testing.assert_close(found, expected[now], rtol=0, atol=2e-15)
        memory = cache.remember(memory, hidden[now], words[now])
    assert torch.equal(memory.hidden, end.hidden)
    assert torch.equal(memory.words, end.words)


def test_no_weight_is_the_model_and_all_of_it_the_cache() -> None:
    logits, hidden, words = stream()
    plain, _ = NeuralCache(4, 0.0, 1.0)(logits, hidden, words)
    torch.testing.assert_close(plain, logits.log_softmax(-1), rtol=0, atol=1e-15)
    alone, _ = NeuralCache(4, 1.0, 0.0)(logits, hidden, words)
    counts = torch.zeros(B, V).double().scatter_add_(1, words[T - 5 : T - 1].T, torch.ones(B, 4).double())
    torch.testing.assert_close(alone[-1].exp(), counts / 4, rtol=0, atol=1e-15)


def test_it_survives_large_outputs_and_keeps_no_gradient() -> None:
    logits, hidden, words = stream()
    found, memory = NeuralCache(4, 0.3, 1.0)(logits.requires_grad_(), 100 * hidden.requires_grad_(), words)
    assert found.isfinite().all()
    assert not found.requires_grad
    assert not memory.hidden.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "window of NeuralCache must be 1 or more; got 0"),
        ({"weight": 1.5}, r"weight of NeuralCache must be a number in \[0, 1\]; got 1.5"),
        ({"theta": -1.0}, "theta of NeuralCache must be a number of 0 or more; got -1.0"),
        ({"theta": math.nan}, "theta of NeuralCache must be"),
    ],
)
def test_arguments_that_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralCache(**arguments)


def test_sizes_that_are_refused() -> None:
    logits, hidden, words = stream()
    with pytest.raises(ValueError, match="must agree in T and B"):
        NeuralCache()(logits, hidden, words[1:])
