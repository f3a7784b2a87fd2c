from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
import torch

from recurdrop.kinds.temporal_order.task import OrderData, OrderSettings, OrderTask
from recurdrop.models.settings import TrainingSettings

TRAINING = TrainingSettings(batch=16, epochs=1, lr=0.01)


@pytest.fixture
def task() -> OrderTask:
    return OrderTask.load(Path(), OrderData(length=6, batches_per_epoch=60, scored=300))


def test_ranges_are_thirds_of_the_length_unless_given() -> None:
    assert OrderData().ends(30) == (10, 20)
    assert OrderData(length=100).ends(100) == (33, 66)
    assert OrderData(length=100, low=5).ends(100) == (5, 66)
    assert OrderData(length=100, low=5, high=7).ends(100) == (5, 7)


def test_sequences_of_training_grow() -> None:
    data = OrderData(length=60, first=30, hold=2, growth=20, batches_per_epoch=1, scored=2)
    assert [data.steps(epoch) for epoch in range(5)] == [30, 30, 50, 60, 60]
    assert [OrderData(length=60).steps(epoch) for epoch in (0, 9)] == [60, 60]
    grown = OrderTask(data)
    assert [tuple(grown.batches(TRAINING, epoch, 1)[0][0].shape) for epoch in (0, 2, 4)] == [
        (TRAINING.batch, 30),
        (TRAINING.batch, 50),
        (TRAINING.batch, 60),
    ]
    assert grown._scored["valid"][0].shape == (2, 60)


def test_each_batch_is_drawn_anew_and_follows_from_seed_epoch_and_place(task: OrderTask) -> None:
    batches = task.batches(TRAINING, 2, 1)
    assert len(batches) == len(list(batches)) == 60
    again = task.batches(TRAINING, 2, 1)
    assert all(torch.equal(a, b) for i in (0, 7, -1) for a, b in zip(batches[i], again[i], strict=True))
    others = [batches[1], task.batches(TRAINING, 3, 1)[0], task.batches(TRAINING, 2, 2)[0]]
    assert not any(torch.equal(batches[0][0], other[0]) for other in others)
    assert batches[0][0].shape == (16, 6) and batches[0][1].shape == (16,)
    assert torch.equal(batches[-1][0], batches[59][0]) and torch.equal(batches[1:3][0][0], batches[1][0])
    with pytest.raises(IndexError):
        batches[60]


def test_parts_to_score_are_scored_and_different(task: OrderTask) -> None:
    model = task.build(OrderSettings(hidden=8)).eval()
    scores = {part: task.score(model, part) for part in ("train", "valid", "test")}
    assert scores == {part: task.score(model, part) for part in scores}
    assert len({score.loss for score in scores.values()}) == 3
    symbols, labels = task._scored["valid"]
    logits = model(torch.from_numpy(symbols))
    assert scores["valid"].metric == pytest.approx((logits.argmax(1).numpy() == labels).mean())
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item()
    assert scores["valid"].loss == pytest.approx(expected)


def test_the_baseline_knows_nothing(task: OrderTask) -> None:
    baseline = task.baselines("test")["one class"]
    assert baseline.loss == pytest.approx(math.log(4))
    assert 0.15 < baseline.metric < 0.35


def trained(task: OrderTask, noise: tuple[str, ...]) -> float:
    model = task.build(OrderSettings(hidden=24, noise=noise))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.02)
    for epoch in range(5):
        for batch in task.batches(TRAINING, epoch, 0):
            optimizer.zero_grad()
            task.step(model.train(), batch, None, TRAINING).loss.backward()
            optimizer.step()
    return task.score(model.eval(), "test").metric


def test_noise_on_the_candidate_keeps_the_memory_and_noise_on_the_cell_does_not() -> None:
    task = OrderTask(OrderData(length=15, low=5, high=10, batches_per_epoch=60, scored=300))
    assert trained(task, ("recurrent_dropout:0.5",)) > 0.95
    assert trained(task, ("dropout:p=0.5,site=cell",)) < 0.75


def test_initial_weights_are_uniform_but_for_the_forget_gate(task: OrderTask) -> None:
    made = task.build(OrderSettings(init_range=0.05, forget_bias=2.0))
    input_bias, state_bias = made.rnn.bias_ih_l0.detach(), made.rnn.bias_hh_l0.detach()
    assert torch.equal((input_bias + state_bias)[256:512], torch.full((256,), 2.0))
    rest = [p.detach().flatten() for name, p in made.named_parameters() if p.requires_grad and "bias_" not in name]
    weights = torch.cat([*rest, input_bias[:256], input_bias[512:], state_bias[:256], state_bias[512:]])
    assert 0.0499 < weights.abs().max() <= 0.05
    assert abs(weights.mean()) < 1e-3
    assert torch.equal(made.embedding.weight, torch.eye(6))
    assert task.build(OrderSettings(cell="gru")).rnn.bias_ih_l0.abs().max() <= 0.05


def test_an_order_task_can_be_pickled_and_its_hash_follows_the_data(task: OrderTask) -> None:
    again = pickle.loads(pickle.dumps(task))  # noqa: S301
    assert again.sha256 == task.sha256 != OrderTask(OrderData(length=7)).sha256
    assert task.sizes["steps"] == 6


@pytest.mark.parametrize(
    "settings",
    [{"length": 2}, {"first": 2}, {"low": 0}, {"low": 20}, {"high": 31}, {"batches_per_epoch": 0}, {"scored": 0}],
)
def test_order_settings_that_break_a_rule_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be 1"):
        OrderData(**settings)


def test_growth_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match="hold and growth must be 0 or more"):
        OrderData(first=20, growth=-1)


def test_a_range_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="init_range must be above 0; got 0"):
        OrderSettings(init_range=0)


def test_no_batch_of_training_has_the_sequences_that_are_scored() -> None:
    data = OrderData(length=30, batches_per_epoch=1, scored=32)
    grown = OrderTask(data)
    for seed, part in enumerate(("train", "valid", "test")):
        symbols, _ = grown.batches(TRAINING, 0, seed)[0]
        rows = {tuple(row) for row in symbols.tolist()}
        assert not rows & {tuple(row) for row in grown._scored[part][0].tolist()}
