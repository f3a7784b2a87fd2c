from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import recurdrop as rd
from recurdrop.kinds.language import task as language
from recurdrop.kinds.language.data import Corpus
from recurdrop.kinds.language.task import LanguageData, LanguageTask
from recurdrop.models.language import cross_entropy
from recurdrop.models.settings import ModelSettings, TrainingSettings

WORDS = ("<unk>", "the", "cat", "sees", "<eos>")
MODEL = ModelSettings(0, 6, (6,), init_range=0.5)
NOISY = replace(MODEL, noise=("zaremba:0.5", "zoneout:c=0.3,h=0.2"), embedding_dropout=0.2)
TRAINING = TrainingSettings(batch=3, epochs=1, lr=1.0, bptt=4)


def corpus(words: tuple[str, ...] = WORDS, sizes: tuple[int, int, int] = (211, 95, 150)) -> Corpus:
    rng = np.random.default_rng(0)
    train, valid, test = (rng.integers(len(words), size=size) for size in sizes)
    return Corpus("made up", "0" * 64, words, train, valid, test)


@pytest.fixture
def task() -> LanguageTask:
    return LanguageTask(corpus())


def by_hand(model: torch.nn.Module, ids: np.ndarray[Any, Any], streams: int = 10) -> float:
    """Mean -log p of each stream's words but the first, all steps at once, in float64."""
    steps = (len(ids) - 1) // streams
    model = model.double()
    rows = [ids[b * steps : (b + 1) * steps + 1] for b in range(streams)]
    with torch.no_grad():
        logits, _ = model(torch.tensor(np.stack([row[:-1] for row in rows]).T))
    log = logits.log_softmax(-1)
    found = [log[t, b, row[t + 1]] for b, row in enumerate(rows) for t in range(steps)]
    return -float(torch.stack(found).mean())


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_score_is_the_cross_entropy_of_whole_streams(task: LanguageTask, part: Any) -> None:
    model = task.build(MODEL).eval()
    found = task.score(model, part)
    ids = getattr(task.corpus, part)[: 95 if part == "train" else None]
    expected = by_hand(model, ids)
    assert found.loss == pytest.approx(expected, rel=1e-6)
    assert found.metric == pytest.approx(math.exp(expected), rel=1e-6)
    assert found.others == {}


def test_a_score_does_not_hang_on_the_window_and_asks_for_no_gradient(
    task: LanguageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = task.build(MODEL).eval()
    seen: list[tuple[int, bool]] = []
    model.decoder.register_forward_hook(lambda _, given, out: seen.append((len(given[0]), out.requires_grad)))
    whole = task.score(model, "test").loss
    assert seen == [(14, False)]
    monkeypatch.setattr(language, "EVALUATION_WINDOW", 3)
    assert task.score(model, "test").loss == pytest.approx(whole, rel=1e-6)
    assert [length for length, _ in seen[1:]] == [3, 3, 3, 3, 2]


def test_characters_are_scored_in_bits(task: LanguageTask) -> None:
    characters = LanguageTask(corpus(), LanguageData("text8"))
    model = task.build(MODEL).eval()
    words, bits = task.score(model, "valid"), characters.score(model, "valid")
    assert (task.metric.name, characters.metric.name) == ("perplexity", "bits per character")
    assert bits.loss == words.loss
    assert bits.metric == pytest.approx(math.log2(words.metric))


def test_a_loss_without_measure_has_infinite_perplexity(task: LanguageTask) -> None:
    model = task.build(MODEL).eval()
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.bias.copy_(torch.tensor([0.0, 0, 0, 0, 9000]))
    assert task.score(model, "valid").metric == math.inf


@pytest.mark.parametrize("name", ["prose", "ptb-char"])
def test_the_baseline_by_hand(name: str) -> None:
    ids = np.array([0, 1, 1, 2] * 3), np.array([1] * 11), np.array([3] * 12)
    task = LanguageTask(Corpus("t", "", ("a", "b", "c", "d"), *ids), LanguageData(name))
    # Of 12 + 4 counts, a has 3 + 1, b 6 + 1, c 3 + 1, d 0 + 1.
    for part, p in (("valid", 7 / 16), ("test", 1 / 16)):
        (found,) = task.baselines(part).values()  # type: ignore[arg-type]
        assert found.loss == pytest.approx(-math.log(p))
        assert found.metric == pytest.approx(1 / p if name == "prose" else -math.log2(p))
    train = task.baselines("train")["word frequencies"]  # of as many words as validate: without the last
    assert train.loss == pytest.approx(-(3 * math.log(4 / 16) + 6 * math.log(7 / 16) + 2 * math.log(4 / 16)) / 11)


def test_the_bias_can_start_at_the_frequencies() -> None:
    ids = np.array([0, 1, 1, 2] * 3), np.array([1] * 11), np.array([3] * 12)
    task = LanguageTask(Corpus("t", "", ("a", "b", "c", "d"), *ids))
    model = task.build(replace(MODEL, init="frequencies", init_range=0.0))
    expected = torch.tensor([4 / 16, 7 / 16, 4 / 16, 1 / 16]).log()
    torch.testing.assert_close(model.decoder.bias, expected)
    loss = task.score(model.eval(), "test").loss  # all else at zero: the model is the baseline
    assert loss == pytest.approx(task.baselines("test")["word frequencies"].loss)


def test_batches_are_windows_of_streams_that_go_on(task: LanguageTask) -> None:
    batches = task.batches(TRAINING, 0, 1)
    assert [len(words) for words, _, _ in batches] == [4] * 17 + [2]
    assert {scale for _, _, scale in batches} == {1.0}
    words, targets = (torch.cat([batch[i] for batch in batches]) for i in (0, 1))
    train = torch.from_numpy(task.corpus.train)
    for b in range(3):
        assert words[:, b].tolist() == train[70 * b : 70 * (b + 1)].tolist()
        assert targets[:, b].tolist() == train[70 * b + 1 : 70 * (b + 1) + 1].tolist()


@pytest.mark.parametrize(("longest", "maximum"), [(0, None), (1, 6)])
def test_windows_vary_as_published(task: LanguageTask, longest: int, maximum: int | None) -> None:
    training = replace(TRAINING, variable_bptt=True, bptt=5, longest=longest)
    for epoch in (0, 3):
        windows = rd.VariableBPTT(70, 5, maximum=maximum, seed=7).windows(epoch)
        batches = task.batches(training, epoch, 7)
        assert [(len(words), scale) for words, _, scale in batches] == [(w.stop - w.start, w.scale) for w in windows]
        plain = task.batches(replace(TRAINING, bptt=70), 0, 1)[0]
        for i in (0, 1):
            assert torch.equal(torch.cat([batch[i] for batch in batches]), plain[i])
    assert len({scale for _, _, scale in batches}) > 1


def test_each_epoch_can_start_elsewhere_in_the_first_window() -> None:
    task = LanguageTask(corpus(tuple(map(str, range(2000)))), LanguageData(random_start=True))
    starts = []
    for epoch in range(12):
        words, _, _ = task.batches(TRAINING, epoch, 5)[0]
        (place,) = (i for i in range(9) if task.corpus.train[i : i + 4].tolist() == words[:, 0].tolist())
        starts.append(place)
    assert starts == [int(np.random.default_rng((5, epoch)).integers(4)) for epoch in range(12)]
    assert set(starts) == {0, 1, 2, 3}


@pytest.mark.parametrize("change", [{}, {"variable_bptt": True}])
def test_batches_follow_from_seed_and_epoch(change: dict[str, Any]) -> None:
    task = LanguageTask(corpus(), LanguageData(random_start=True))

    def made(epoch: int, seed: int) -> list[Any]:
        found = task.batches(replace(TRAINING, bptt=20, **change), epoch, seed)
        return [[words.tolist(), targets.tolist(), scale] for words, targets, scale in found]

    assert made(1, 1) == made(1, 1)
    torch.manual_seed(3)
    assert made(1, 1) == made(1, 1)
    assert made(1, 1) != made(2, 1)
    assert made(1, 1) != made(1, 2)


def test_what_cannot_be_cut_is_refused(task: LanguageTask) -> None:
    with pytest.raises(ValueError, match=r"training\.bptt must be 1 or more"):
        task.batches(replace(TRAINING, bptt=0), 0, 0)
    assert len(task.batches(replace(TRAINING, batch=210), 0, 0)) == 1
    with pytest.raises(ValueError, match=r"training\.batch must leave each stream a word; got 211"):
        task.batches(replace(TRAINING, batch=211), 0, 0)
    assert LanguageTask(corpus(sizes=(11, 11, 11)))
    for i, part in enumerate(("train", "valid", "test")):
        sizes = tuple(10 if j == i else 11 for j in range(3))
        with pytest.raises(ValueError, match=f"the {part} part must have more than 10 tokens; got 10"):
            LanguageTask(corpus(sizes=sizes))  # type: ignore[arg-type]


BATCH = (torch.tensor([[1, 2], [0, 3], [4, 4]]), torch.tensor([[0, 3], [4, 4], [2, 1]]), 0.7)


def token_losses(logits: Tensor) -> Tensor:
    log = logits.detach().double().log_softmax(-1)
    return -log.gather(-1, BATCH[1][..., None]).squeeze(-1)


def test_a_step_without_penalties_by_hand(task: LanguageTask) -> None:
    model = task.build(MODEL)
    first = task.step(model, BATCH, None, TRAINING)
    logits, state = model(BATCH[0])
    assert first.loss.item() == pytest.approx(token_losses(logits).mean().item(), rel=1e-6)
    assert (first.weight, first.scale) == (6, 0.7)
    again = task.step(model, BATCH, first.state, TRAINING)
    logits, _ = model(BATCH[0], state)
    assert again.loss.item() == pytest.approx(token_losses(logits).mean().item(), rel=1e-6)
    summed = task.step(model, BATCH, None, replace(TRAINING, loss="sum_over_time"))
    assert summed.loss.item() == pytest.approx(3 * first.loss.item())


def test_the_state_is_cut_off_and_the_loss_is_not(task: LanguageTask) -> None:
    step = task.step(task.build(MODEL), BATCH, None, TRAINING)
    ((h, c),) = step.state
    assert not h.requires_grad and not c.requires_grad
    assert step.loss.requires_grad


@pytest.mark.parametrize("loss", ["mean_over_tokens", "sum_over_time"])
def test_penalties_by_hand_under_the_same_masks(task: LanguageTask, loss: str) -> None:
    model = task.build(NOISY)
    training = replace(TRAINING, alpha=2.0, beta=3.0, loss=loss)
    torch.manual_seed(5)
    step = task.step(model, BATCH, None, training)
    torch.manual_seed(5)
    logits, _, outputs = model(BATCH[0], None, details=True)
    assert not torch.equal(outputs.raw, outputs.dropped)
    expected = token_losses(logits).mean() + 2 * outputs.dropped.square().mean()
    expected += 3 * (outputs.raw[1:] - outputs.raw[:-1]).square().mean()
    assert step.loss.item() == pytest.approx(expected.item() * (3 if loss == "sum_over_time" else 1), rel=1e-5)


@pytest.mark.parametrize("penalties", [{}, {"alpha": 2.0, "beta": 3.0}])
def test_fraternal_dropout_by_hand_under_the_same_masks(task: LanguageTask, penalties: dict[str, float]) -> None:
    model = task.build(NOISY)
    before = torch.ones(1, 2, 6), torch.full((1, 2, 6), -0.5)
    torch.manual_seed(6)
    step = task.step(model, BATCH, (before,), replace(TRAINING, kappa=0.4, **penalties))
    torch.manual_seed(6)
    one, after, outputs = model(BATCH[0], (before,), details=True)
    two, *_ = model(BATCH[0], (before,), details=True)
    assert not torch.equal(one, two)
    expected = (token_losses(one) + token_losses(two)).mean() / 2 + 0.4 * (one - two).square().mean()
    if penalties:
        expected = expected + 2 * outputs.dropped.square().mean()
        expected = expected + 3 * (outputs.raw[1:] - outputs.raw[:-1]).square().mean()
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(step.state, after, rtol=0, atol=0)


def test_outputs_are_asked_for_where_a_penalty_needs_them(task: LanguageTask) -> None:
    model, asked = task.build(NOISY), []
    model.register_forward_pre_hook(lambda module, args, given: asked.append(given["details"]), with_kwargs=True)
    for options in ({}, {"kappa": 0.1}, {"alpha": 1.0}, {"kappa": 0.1, "beta": 1.0}):
        task.step(model, BATCH, None, replace(TRAINING, **options))
    assert asked == [False, False, False, True, True, True]


def test_fraternal_dropout_without_noise_is_the_plain_loss(task: LanguageTask) -> None:
    model = task.build(MODEL)
    plain = task.step(model, BATCH, None, TRAINING).loss
    torch.testing.assert_close(task.step(model, BATCH, None, replace(TRAINING, kappa=9.0)).loss, plain)


def test_samples_average_probabilities(task: LanguageTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "EVALUATION_WINDOW", 4)
    model = task.build(NOISY).eval()
    torch.manual_seed(8)
    found = task.score(model, "valid", samples=3)
    assert not any(module.training for module in model.modules())

    torch.manual_seed(8)
    model.train()
    steps = (len(task.corpus.valid) - 1) // 10
    columns = torch.from_numpy(task.corpus.valid[: 10 * steps].reshape(10, steps).T.copy())
    follow = torch.from_numpy(task.corpus.valid[1 : 10 * steps + 1].reshape(10, steps).T.copy())
    likely = torch.zeros(steps, 10, dtype=torch.float64)
    for _ in range(3):
        state = None
        with torch.no_grad(), rd.hold_masks(model):
            for t in range(0, steps, 4):
                logits, state = model(columns[t : t + 4], state)
                p = logits.double().softmax(-1).gather(-1, follow[t : t + 4, :, None])[..., 0]
                likely[t : t + 4] += p / 3
    assert found.loss == pytest.approx(-float(likely.log().mean()), rel=1e-5)


def test_masks_of_a_sample_are_those_of_one_pass_over_the_text(
    task: LanguageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = ("variational:input=0.3,recurrent=0.3,output=0.3", "weightdrop:0.3")
    model = task.build(replace(MODEL, noise=noise, embedding_dropout=0.2)).eval()
    losses = []
    for window in (4, 99):
        monkeypatch.setattr(language, "EVALUATION_WINDOW", window)
        torch.manual_seed(8)
        losses.append(task.score(model, "valid", samples=3).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_samples_of_a_model_without_active_noise_change_nothing(task: LanguageTask) -> None:
    model = task.build(replace(MODEL, noise=("zaremba:0.00001",))).eval()
    plain, sampled = task.score(model, "valid").loss, task.score(model, "valid", samples=4).loss
    assert sampled == pytest.approx(plain, rel=1e-4)


def test_one_sample_is_one_noisy_pass(task: LanguageTask) -> None:
    model = task.build(NOISY).eval()
    torch.manual_seed(9)
    found = task.score(model, "valid", samples=1).loss
    assert found != pytest.approx(task.score(model, "valid").loss, rel=1e-4)
    torch.manual_seed(9)
    model.train()
    valid = LanguageTask(replace(task.corpus, train=task.corpus.valid))
    words, targets, _ = valid.batches(replace(TRAINING, batch=10, bptt=99), 0, 0)[0]
    with rd.hold_masks(model):
        logits, _ = model(words)
    assert found == pytest.approx(cross_entropy(logits, targets).item(), rel=1e-5)


VOCABULARIES = {
    "prose": ("<unk>", "the", "cat", ",", "<eos>"),
    "ptb-word": ("the", "cat", "<unk>", "N", "<eos>"),
    "ptb-char": ("t", "h", "e", "_", "N", "<eos>"),
    "text8": (" ", "c", "a", "t"),
    "enwik8": ("\n", " ", "c", "\xa9", "\xc3"),
}


@pytest.mark.parametrize(
    ("name", "text", "numbers", "written"),
    [
        ("prose", "The cat, the dog", [1, 2, 3, 1, 0], "the cat , the <unk>"),
        ("prose", "the\ncat", [1, 4, 2], "the\ncat"),
        ("ptb-word", "the N dog", [0, 3, 2], "the N <unk>"),
        ("ptb-word", "the <eos> <eos> cat <eos>", [0, 4, 4, 1, 4], "the\n\ncat"),
        ("ptb-char", "the N", [0, 1, 2, 3, 4], "the N"),
        ("ptb-char", "t_h", [0, 3, 1], "t h"),
        ("text8", "cat at", [1, 2, 3, 0, 2, 3], "cat at"),
        ("enwik8", "c\n  cé", [2, 0, 1, 1, 2, 4, 3], "c\n  cé"),
    ],
)
def test_prompts_and_what_is_written(name: str, text: str, numbers: list[int], written: str) -> None:
    task = LanguageTask(corpus(VOCABULARIES[name]), LanguageData(name))
    assert task.numbers(text) == numbers
    assert task.text(numbers) == written


def test_half_a_symbol_is_written_as_such_and_sentences_are_lines() -> None:
    task = LanguageTask(corpus(VOCABULARIES["enwik8"]), LanguageData("enwik8"))
    assert task.text([2, 4, 2]) == "c\ufffdc"
    task = LanguageTask(corpus(VOCABULARIES["ptb-char"]), LanguageData("ptb-char"))
    assert task.text([5, 0, 5, 1, 3, 2]) == "t\nh e"


@pytest.mark.parametrize(("name", "text"), [("text8", "cut"), ("ptb-char", "then"), ("enwik8", "cat")])
def test_a_symbol_that_there_is_not_is_named(name: str, text: str) -> None:
    task = LanguageTask(corpus(VOCABULARIES[name]), LanguageData(name))
    wrong = {"cut": "u", "then": "n", "cat": "a"}[text]
    with pytest.raises(ValueError, match=f"every word must be one of the training part; got '{wrong}'"):
        task.numbers(text)


@pytest.mark.parametrize(
    ("name", "start"), [("prose", 4), ("ptb-word", 4), ("ptb-char", 5), ("text8", 0), ("enwik8", 0)]
)
def test_writing_starts_after_the_end_of_a_sentence(name: str, start: int) -> None:
    assert LanguageTask(corpus(VOCABULARIES[name]), LanguageData(name)).start() == start
    assert LanguageTask(corpus(("<unk>", "a"))).start() == 0


def test_load_reads_prose_sets_and_the_text_inside_python(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("the cat sees the dog .\n" * 40)
    task = LanguageTask.load(path, LanguageData(vocabulary=4, tokens=200))
    assert (task.name, task.corpus.words) == ("a.txt", ("<unk>", "the", "cat", "sees"))
    assert task.sizes == {"train": 160, "valid": 20, "test": 20, "vocabulary": 4}
    assert LanguageTask.load(path, LanguageData()).sizes["train"] == 224
    assert LanguageTask.load(path, LanguageData()).sha256 == task.sha256 == task.corpus.sha256
    for part in ("train", "valid", "test"):
        (tmp_path / f"ptb.{part}.txt").write_text("a b\n" * 5)
        (tmp_path / f"ptb.char.{part}.txt").write_text("a _ b\n" * 5)
    found = LanguageTask.load(tmp_path, LanguageData("ptb-word"))
    assert (found.name, found.sizes["train"], found.sizes["vocabulary"]) == ("ptb-word", 15, 3)
    found = LanguageTask.load(tmp_path, LanguageData("ptb-char"))
    assert (found.name, found.metric.name, found.text([0, 1, 2])) == ("ptb-char", "bits per character", "a b")
    assert LanguageTask.load(None, LanguageData(tokens=1000)).name == "pydoc_data.topics"


@pytest.mark.parametrize("wrong", [{"set": "ptb"}, {"vocabulary": 1}, {"tokens": -1}])
def test_data_settings_are_checked(wrong: dict[str, Any]) -> None:
    ((key, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"^{key} must be .*; got {value!r}"):
        LanguageData(**wrong)
