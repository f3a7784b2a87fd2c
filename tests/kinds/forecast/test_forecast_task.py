from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import recurdrop as rd
from recurdrop.kinds.base import Metric
from recurdrop.kinds.forecast.metric import fitted_tau
from recurdrop.kinds.forecast.task import ForecastData, ForecastModel, ForecastTask
from recurdrop.models.settings import TrainingSettings
from recurdrop.uncertainty import Prediction

TRAINING = TrainingSettings(batch=8, epochs=1, lr=0.01)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    hours = np.arange(240)
    frame = pd.DataFrame(
        {
            "date": pd.date_range("2020-01-01", periods=240, freq="h").strftime("%Y-%m-%d %H:%M"),
            "T (degC)": 10 + 5 * np.sin(hours / 24 * 2 * math.pi) + hours / 60,
            "x": np.cos(hours / 7),
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def load(path: Path, **settings: object) -> ForecastTask:
    options = {"target": "T (degC)", "lookback": 6, "horizon": 3, "split": (160, 40, 40)} | settings
    return ForecastTask.load(path, ForecastData(**options))  # type: ignore[arg-type]


class Constant(nn.Module):
    """Forecasts one number, or that and noise."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.noise = rd.nn.Dropout(0.5)

    def forward(self, window: Tensor) -> Tensor:
        return self.value * self.noise(torch.ones(len(window)))


def test_a_constant_forecast_scores_as_by_hand(table: Path) -> None:
    task = load(table)
    values = pd.read_csv(table)["T (degC)"].to_numpy()
    center, scale = values[:160].mean(), values[:160].std()
    gap = values[160:200] - (center + 0.5 * scale)
    score = task.score(Constant(0.5).eval(), "valid")
    assert score.loss == pytest.approx(np.abs(gap).mean() / scale, rel=1e-5)
    assert score.metric == pytest.approx(np.abs(gap).mean(), rel=1e-5)
    assert score.others == {"RMSE": pytest.approx(math.sqrt((gap**2).mean()), rel=1e-5)}
    squared = load(table, loss="mse").score(Constant(0.5).eval(), "valid")
    assert squared.loss == pytest.approx((gap**2).mean() / scale**2, rel=1e-5)
    assert squared.metric == pytest.approx(score.metric)
    assert task.metric == Metric("MAE", "degC")
    assert task.sizes == {"train": 152, "valid": 40, "test": 40, "rows": 240, "features": 2}


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_the_step_is_the_score_of_its_batch(table: Path, loss: str) -> None:
    task, model = load(table, loss=loss), Constant(0.3).eval()
    steps = [task.step(model, batch, None, TRAINING) for batch in task.batches(TRAINING, 0, 1)]
    assert sum(step.weight for step in steps) == 152
    mean = sum(step.loss.item() * step.weight for step in steps) / 152
    targets = task.series.target[8:160]
    gap = targets - 0.3
    assert mean == pytest.approx((gap.abs() if loss == "mae" else gap.square()).mean().item(), rel=1e-5)


def test_baselines_are_the_last_value_and_that_of_a_day_before(table: Path) -> None:
    values = pd.read_csv(table)["T (degC)"].to_numpy()
    found = load(table).baselines("test")
    assert found["persistence"].metric == pytest.approx(np.abs(values[200:] - values[197:237]).mean(), rel=1e-4)
    assert found["seasonal naive"].metric == pytest.approx(24 / 60, rel=1e-4)
    assert load(table, horizon=30).baselines("test")["seasonal naive"].metric == pytest.approx(48 / 60, rel=1e-4)
    assert list(load(table, horizon=24).baselines("test")) == ["persistence"]
    assert list(load(table, season=0).baselines("test")) == ["persistence"]
    assert load(table, season=48).baselines("test")["seasonal naive"].metric == pytest.approx(48 / 60, rel=1e-4)


def test_months_have_a_season_of_a_year(tmp_path: Path) -> None:
    months = pd.date_range("1949-01", periods=60, freq="MS").strftime("%Y-%m")
    pd.DataFrame({"Month": months, "n": [i % 12 + i / 12 for i in range(60)]}).to_csv(tmp_path / "m.csv", index=False)
    task = load(tmp_path / "m.csv", target="n", split=(0.6, 0.2, 0.2))
    assert task.baselines("valid")["seasonal naive"].metric == pytest.approx(1, rel=1e-4)
    assert task.metric.unit == ""


def test_batches_follow_from_epoch_and_seed_and_hold_every_example_once(table: Path) -> None:
    task = load(table)

    def targets(epoch: int, seed: int) -> Tensor:
        return torch.cat([y for _, y in task.batches(TRAINING, epoch, seed)])

    assert torch.equal(targets(1, 2), targets(1, 2))
    assert not torch.equal(targets(1, 2), targets(2, 2)) and not torch.equal(targets(1, 2), targets(1, 3))
    torch.testing.assert_close(targets(1, 2).sort().values, task.series.target[8:160].sort().values)
    batches = load(table, steps_per_epoch=2).batches(TRAINING, 0, 0)
    assert [len(y) for _, y in batches] == [8, 8]
    assert torch.equal(batches[1][0], batches[-1][0]) and len(batches[:1]) == 1


def test_a_window_holds_what_led_up_to_its_target(table: Path) -> None:
    task = load(table, step=2)
    for window, target in task.batches(TRAINING, 0, 0):
        for row, y in zip(window, target, strict=True):
            place = int((task.series.target[:160] == y).nonzero()[0])
            torch.testing.assert_close(row, task.series.values[[place - 7, place - 5, place - 3]])


def test_training_beats_persistence_and_noise_changes_no_first_weight(table: Path) -> None:
    task = load(table)
    weights = []
    for noise in ((), ("keras:dropout=0.2,recurrent_dropout=0.2",)):
        torch.manual_seed(3)
        model = task.build(ForecastModel(hidden=8, noise=noise, dropout=0.1 * len(noise)))
        weights.append([x.clone() for x in model.parameters()])
    assert all(map(torch.equal, *weights))
    torch.manual_seed(3)
    model = task.build(ForecastModel(hidden=16))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(8):
        for batch in task.batches(TRAINING, epoch, 0):
            optimizer.zero_grad()
            task.step(model, batch, None, TRAINING).loss.backward()
            optimizer.step()
    assert task.score(model.eval(), "test").metric < 0.6 * task.baselines("test")["persistence"].metric


def test_samples_are_averaged_and_their_intervals_cover(table: Path) -> None:
    task, model = load(table), Constant(0.4).eval()
    torch.manual_seed(0)
    score = task.score(model, "test", samples=400)
    assert score.metric == pytest.approx(task.score(model, "test").metric, rel=0.1)
    assert score.metric != task.score(model, "test").metric
    assert set(score.others) == {"RMSE", "coverage of 90% intervals"}
    forecasts = task.forecast(model, "test", samples=400)
    inside = (forecasts.low <= forecasts.target) & (forecasts.target <= forecasts.high)
    assert inside.mean() == pytest.approx(score.others["coverage of 90% intervals"], abs=0.1)
    assert 0.6 < inside.mean() <= 1


@pytest.mark.parametrize("samples", [0, 5])
def test_forecasts_come_in_the_unit_with_the_times_of_their_targets(table: Path, samples: int) -> None:
    task = load(table)
    values = pd.read_csv(table)
    forecasts = task.forecast(Constant(0.0).eval(), "test", samples=samples)
    assert forecasts.rows.tolist() == list(range(200, 240))
    assert forecasts.times is not None
    assert str(forecasts.times[0])[:16].replace("T", " ") == values["date"][200]
    np.testing.assert_allclose(forecasts.target, values["T (degC)"][200:], rtol=1e-5)
    np.testing.assert_allclose(forecasts.mean, values["T (degC)"][:160].mean(), rtol=1e-5)
    # Of one value at the middle, the ends lie 1.645 deviations of the noise away, which fits the validation part.
    half = 1.6449 * np.sqrt(((values["T (degC)"][160:200] - values["T (degC)"][:160].mean()) ** 2).mean())
    np.testing.assert_allclose(forecasts.high - forecasts.mean, half, rtol=0.06)
    np.testing.assert_allclose(forecasts.mean - forecasts.low, half, rtol=0.06)


def test_the_fitted_precision_is_that_of_the_noise() -> None:
    generator = np.random.default_rng(0)
    means = torch.from_numpy(generator.standard_normal((1, 4000)))
    target = means[0] + 0.3 * torch.from_numpy(generator.standard_normal(4000))
    tau = fitted_tau(Prediction(means[0], means[0], means), target)
    assert tau**-0.5 == pytest.approx(0.3, rel=0.07)
    with pytest.raises(ValueError, match="needs the samples"):
        fitted_tau(Prediction(means[0], means[0], None), target)


def test_a_task_can_be_pickled_and_read_from_a_folder(table: Path) -> None:
    task = pickle.loads(pickle.dumps(load(table.parent, file="t.csv")))  # noqa: S301
    assert task.score(Constant().eval(), "train") == load(table).score(Constant().eval(), "train")
    assert task.name == "t.csv" and task.report["date"] == "times, 60 min apart"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "huber"}, "loss must be one of mae, mse"),
        ({"season": -1}, "season"),
        ({"sentinels": (-999.0, math.nan)}, "sentinels must be finite"),
        ({"steps_per_epoch": 0}, "steps_per_epoch"),
        ({"horizon": 0}, "horizon must be 1 row"),
        ({"split": (1, 2)}, "three shares"),
        ({"lookback": 170}, "training part must have an example"),
    ],
)
def test_settings_that_break_a_rule_are_refused(table: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(table, **settings)


def test_dropout_acts_on_the_last_output_alone_and_in_training(table: Path) -> None:
    task = load(table)
    model = task.build(ForecastModel(hidden=4, dropout=1.0))
    window, _ = task.batches(TRAINING, 0, 0)[0]
    torch.testing.assert_close(model(window), model.head.bias.expand(8))
    model.eval()
    torch.testing.assert_close(model(window), model.head(model.rnn(window)[0][:, -1])[:, 0])
