from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from recurdrop.kinds.translate.beam import beam_search
from recurdrop.kinds.translate.model import EncoderDecoder, TranslateModel

START, END = 2, 3
SOURCE = torch.tensor([[4, 5, 6, 7], [5, 4, 0, 0], [8, 0, 0, 0]])
LENGTHS = torch.tensor([4, 2, 1])
WORDS = torch.tensor([[2, 4, 5], [2, 5, 4], [2, 6, 6]])


def made(target_words: int = 7, *, scale: float = 1.0, **settings: object) -> EncoderDecoder:
    """Make a model with numbers large enough that its choices differ."""
    torch.manual_seed(3)
    model = EncoderDecoder(9, target_words, TranslateModel(**{"hidden": 6, "embedding": 4, **settings}))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model.double().eval()


def by_hand(model: EncoderDecoder, source: list[int], words: list[int]) -> Tensor:
    """One sentence, one word after the other, one word of the source after the other."""
    read, last = model.encoder(model.source(torch.tensor(source))[:, None])
    memory = read[:, 0]

    def side_by_side(state: Tensor) -> Tensor:
        both = model.encoder.directions
        return torch.stack(
            [torch.cat([state[i * both + d, 0] for d in range(both)]) for i in range(len(state) // both)]
        )

    state = tuple(side_by_side(s)[:, None] for s in last) if isinstance(last, tuple) else side_by_side(last)[:, None]
    logits = []
    for word in words:
        y, state = model.decoder(model.target(torch.tensor([word]))[:, None], state)
        h = y[0, 0]
        scores = torch.stack([h @ (model.attention.weight @ s) for s in memory])
        weights = scores.exp() / scores.exp().sum()
        context = sum((weight * s for weight, s in zip(weights, memory, strict=True)), torch.zeros_like(memory[0]))
        combined = torch.tanh(model.combine.weight @ torch.cat((context, h)) + model.combine.bias)
        logits.append(model.output.weight @ combined + model.output.bias)
    return torch.stack(logits)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("settings", [{"tied": False}, {"bidirectional": False, "layers": 2}, {"layers": 2}])
def test_logits_against_a_loop_by_hand(cell: str, settings: dict[str, object]) -> None:
    model = made(cell=cell, scale=2.0, **settings)
    logits = model(SOURCE, LENGTHS, WORDS)
    for row, (source, length, words) in enumerate(zip(SOURCE.tolist(), LENGTHS.tolist(), WORDS.tolist(), strict=True)):
        torch.testing.assert_close(logits[row], by_hand(model, source[:length], words), rtol=0, atol=1e-13)


def test_what_stands_in_the_padding_changes_nothing() -> None:
    model = made().train()
    wider = torch.cat((SOURCE, SOURCE), 1)
    logits, other = model(SOURCE, LENGTHS, WORDS), model(wider, LENGTHS, WORDS)
    torch.testing.assert_close(other, logits, rtol=0, atol=1e-14)
    (gradient,) = torch.autograd.grad(other.square().sum(), [model.source.embedding.weight])
    (expected,) = torch.autograd.grad(logits.square().sum(), [model.source.embedding.weight])
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert expected[0].eq(0).all() and expected[4].ne(0).all()


def test_words_may_be_given_in_parts_with_the_state() -> None:
    model = made(layers=2)
    memory, state = model.encode(SOURCE, LENGTHS)
    whole, _ = model.decode(WORDS, state, memory)
    first, state = model.decode(WORDS[:, :1], state, memory)
    rest, _ = model.decode(WORDS[:, 1:], state, memory)
    torch.testing.assert_close(torch.cat((first, rest), 1), whole, rtol=0, atol=1e-14)


def test_noise_reaches_every_place_and_no_initial_weight() -> None:
    noise = ("variational:input=0.5,recurrent=0.5",)
    plain, noisy = made(), made(noise=noise, dropout=0.5, embedding_dropout=0.5)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), noisy.parameters(), strict=True))
    assert torch.equal(plain(SOURCE, LENGTHS, WORDS), noisy(SOURCE, LENGTHS, WORDS))
    assert noisy.encoder.noise == noisy.decoder.noise == TranslateModel(noise=noise).methods()
    rates = [noisy.source.p, noisy.target.p, noisy.dropout.p]
    assert rates == [0.5] * 3
    assert not torch.equal(noisy.train()(SOURCE, LENGTHS, WORDS), noisy(SOURCE, LENGTHS, WORDS))


def greedy(model: EncoderDecoder, source: list[int], limit: int, never: tuple[int, ...]) -> tuple[list[int], float]:
    words, total = [START], 0.0
    while len(words) <= limit:
        log = model(torch.tensor([source]), torch.tensor([len(source)]), torch.tensor([words]))[0, -1].log_softmax(-1)
        log[list(never)] = -math.inf
        words.append(int(log.argmax()))
        total += float(log.max())
        if words[-1] == END:
            return words[1:-1], total
    return words[1:], total


@torch.no_grad()
def test_a_beam_of_1_is_greedy() -> None:
    model = made(scale=5.0, tied=False)
    model.output.bias[END] += 1.0
    found, scores = beam_search(model, SOURCE, LENGTHS, limit=5, start=START, end=END, never=(0, 2))
    expected = [greedy(model, s[:n], 5, (0, 2)) for s, n in zip(SOURCE.tolist(), LENGTHS.tolist(), strict=True)]
    assert found == [words for words, _ in expected]
    torch.testing.assert_close(
        scores, torch.tensor([total for _, total in expected], dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert len({len(words) for words in found}) > 1, "some translation should end early"


@torch.no_grad()
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("bias", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_a_beam_that_holds_everything_finds_the_best(alpha: float, bias: float) -> None:
    model, limit = made(5, scale=3.0), 3
    model.output.bias[END] += bias
    found, scores = beam_search(
        model, SOURCE, LENGTHS, beam=100, limit=limit, start=START, end=END, never=(0, 2), alpha=alpha
    )
    for row, (source, length) in enumerate(zip(SOURCE, LENGTHS.tolist(), strict=True)):
        every: dict[tuple[int, ...], float] = {}
        for words in itertools.product((1, 3, 4), repeat=limit):
            cut = words[: words.index(END) + 1] if END in words else words
            given = torch.tensor([[START, *cut[:-1]]])
            logs = model(source[None, :length], torch.tensor([length]), given)[0].log_softmax(-1)
            every[cut] = float(logs[range(len(cut)), list(cut)].sum())
        best = max(every, key=lambda words: every[words] / len(words) ** alpha)
        assert found[row] == [word for word in best if word != END]
        assert float(scores[row]) == pytest.approx(every[best], abs=1e-12)


@torch.no_grad()
def test_a_wider_beam_is_at_least_as_probable() -> None:
    model = made(scale=5.0)
    search = [
        beam_search(model, SOURCE, LENGTHS, beam=beam, limit=6, start=START, end=END, alpha=0.0)[1]
        for beam in (1, 2, 6)
    ]
    # A beam of another width computes the same sums in another order: equal finds differ by 1e-7 of their values.
    slack = 1e-5 * search[0].abs()
    assert (search[1] >= search[0] - slack).all() and (search[2] >= search[1] - slack).all()
    assert (search[2] > search[0] + slack).any(), "a wider beam should find something"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 5}, "hidden must be even"),
        ({"embedding": 0}, "embedding must be 1 or more"),
        ({"dropout": 1.5}, r"dropout must be a number in \[0, 1\]"),
        ({"embedding_dropout": -0.1}, r"embedding_dropout must be a number in \[0, 1\]"),
        ({"cell": "lstn"}, "cell must be one of"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TranslateModel(**settings)  # type: ignore[arg-type]


def test_a_beam_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="beam must be 1 or more; got 0"):
        beam_search(made(), SOURCE, LENGTHS, beam=0, start=START, end=END)
