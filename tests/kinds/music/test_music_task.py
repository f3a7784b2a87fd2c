from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import recurdrop as rd
from recurdrop.kinds.music.model import FrameModel
from recurdrop.kinds.music.task import MusicData, MusicModel, MusicTask
from recurdrop.models.settings import TrainingSettings

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "poly-music"
TRAINING = TrainingSettings(batch=2, epochs=1, lr=0.01)


@pytest.fixture
def task(tmp_path: Path) -> MusicTask:
    scale = [[60 + i % 12] for i in range(30)]
    parts = {"train": [scale[i : i + 4 + i] for i in range(5)], "valid": [scale[:9], scale[3:6]], "test": [scale[2:8]]}
    (tmp_path / "m.json").write_text(json.dumps(parts))
    return MusicTask.load(tmp_path, MusicData("m.json"))


class Copy(nn.Module):
    """Logits of ±2: the frame it is given goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        return self.scale * (frames - 0.5)


def test_frames_are_predicted_from_those_before(task: MusicTask) -> None:
    off, on = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    # The first frame comes after silence: one key wrong. Later the old key is wrongly on and the new wrongly off.
    first, later = 87 * off + on, 86 * off + 2 * on
    score = task.score(Copy().eval(), "valid")
    assert score.loss == score.metric == pytest.approx((2 * first + 10 * later) / 12)
    assert task.score(Copy().eval(), "test").loss == pytest.approx((first + 5 * later) / 6)
    steps = [task.step(Copy(), batch, None, TRAINING) for batch in task.batches(TRAINING, 0, 0)]
    assert sum(step.weight for step in steps) == 4 + 5 + 6 + 7 + 8
    mean = sum(step.loss.item() * step.weight for step in steps) / 30
    assert mean == pytest.approx((5 * first + 25 * later) / 30)


def test_the_baseline_knows_how_often_each_key_sounds(task: MusicTask) -> None:
    counts = torch.cat(task.pieces["train"]).double().sum(0)
    p = (counts + 0.5) / 31
    frames = task.pieces["test"][0].double()
    expected = -(frames * p.log() + (1 - frames) * (1 - p).log()).sum() / 6
    assert task.baselines("test")["key frequencies"].metric == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_padding_and_the_future_change_nothing(task: MusicTask, fast: bool, cell: str) -> None:
    model = task.build(MusicModel(cell=cell, hidden=6, fast_dropout=fast, dropout=0.3)).eval()
    short = torch.cat([task.pieces["train"][0].float(), torch.full((3, 88), math.nan)])
    frames = torch.stack([task.pieces["train"][3].float(), short.nan_to_num(9.0)])
    together = model(frames, torch.tensor([7, 4]))
    torch.testing.assert_close(together[1, :4], model(short[None, :4], torch.tensor([4]))[0])
    torch.testing.assert_close(together[1, 4:], model.head.bias.expand(3, -1))
    torch.testing.assert_close(together[0, :2], model(frames[:1, :2], torch.tensor([2]))[0])


def test_a_model_without_recurrence_starts_at_the_frequencies(task: MusicTask) -> None:
    for fast in (False, True):
        model = task.build(MusicModel(hidden=4, fast_dropout=fast))
        nn.init.zeros_(model.head.weight)
        assert task.score(model.eval(), "test").loss == pytest.approx(
            task.baselines("test")["key frequencies"].loss, rel=1e-4
        )


def test_fast_dropout_is_the_mean_over_masks(task: MusicTask) -> None:
    torch.manual_seed(1)
    model = task.build(MusicModel(hidden=200, fast_dropout=True, dropout=0.5, fast_input=0.0, fast_recurrent=0.0))
    assert isinstance(model.head, rd.nn.FastDropoutLinear) and model.head.p == 0.5
    assert (model.rnn.input, model.rnn.recurrent) == (0.0, 0.0)
    model.rnn.variance = "consistent"
    nn.init.constant_(model.head.bias, 0.3)
    frames = task.pieces["train"][4].float()[None]
    model.head.weight.data *= 40
    output = model.rnn(frames)[0].mean
    bits = torch.ones(4000, *output.shape).bernoulli_(0.5)
    sampled = F.linear(output * bits, model.head.weight, model.head.bias).sigmoid().mean(0)
    torch.testing.assert_close(model(frames, torch.tensor([8])).sigmoid(), sampled, atol=0.04, rtol=0)


def test_rates_reach_their_layers(task: MusicTask) -> None:
    fast = task.build(MusicModel(hidden=4, fast_dropout=True, fast_input=0.15, fast_recurrent=0.25))
    assert isinstance(fast.rnn, rd.nn.FastDropoutRNN)
    assert (fast.rnn.input, fast.rnn.recurrent) == (0.15, 0.25)
    plain = task.build(MusicModel(hidden=4, noise=("variational:recurrent=0.3",), dropout=0.2))
    assert isinstance(plain.rnn, rd.RNN) and isinstance(plain, FrameModel)
    assert plain.dropout.p == 0.2 and len(plain.rnn.noise) == 1
    with pytest.raises(ValueError, match="fast dropout goes without other noise"):
        MusicModel(fast_dropout=True, noise=("variational:recurrent=0.3",))


def test_samples_are_averaged_as_probabilities(task: MusicTask) -> None:
    torch.manual_seed(0)
    model = task.build(MusicModel(hidden=8, dropout=0.5)).eval()
    model.head.weight.data *= 5
    averaged, without = task.score(model, "test", samples=200).loss, task.score(model, "test").loss
    assert averaged != without
    frames = task.pieces["test"][0].float()[None]
    given = F.pad(frames[:, :-1], (0, 0, 1, 0))
    with torch.no_grad():
        output, _ = model.rnn(given)
        bits = 2 * torch.ones(2000, *output.shape).bernoulli_(0.5)
        p = model.head(output * bits).sigmoid().mean(0)
    expected = F.binary_cross_entropy(p, frames, reduction="sum").item() / 6
    assert averaged == pytest.approx(expected, rel=0.03)
    fast = task.build(MusicModel(hidden=8, fast_dropout=True)).eval()
    assert task.score(fast, "test", samples=3) == task.score(fast, "test")


def test_batches_follow_from_epoch_and_seed_and_hold_every_piece(task: MusicTask) -> None:
    def sums(epoch: int, seed: int) -> list[list[float]]:
        return [frames.sum((1, 2)).tolist() for frames, _ in task.batches(TRAINING, epoch, seed)]

    assert sums(0, 1) == sums(0, 1)
    assert len({str(sums(epoch, 1)) for epoch in range(6)}) > 1
    assert sorted(x for batch in sums(3, 1) for x in batch) == [4, 5, 6, 7, 8]
    for frames, lengths in task.batches(TRAINING, 0, 1):
        assert frames.shape[1] == lengths.max()
        assert [int(each[: int(n)].any(-1).sum()) for each, n in zip(frames, lengths, strict=True)] == lengths.tolist()


@pytest.mark.parametrize(("name", "published"), [("JSB_Chorales", 11.06), ("Nottingham", 10.25)])
def test_key_frequencies_give_the_published_note_unigram(name: str, published: float) -> None:
    """Boulanger-Lewandowski et al. 2012, table 1: so the data, the split and the measure are theirs."""
    if not (DATA / f"{name}.json.gz").exists():
        pytest.skip(f"{name} is not here")
    task = MusicTask.load(DATA, MusicData(f"{name}.json"))
    assert task.baselines("test")["key frequencies"].metric == pytest.approx(published, abs=0.01)
