"""Forecasts of time series: one value some rows ahead, from a window of all columns."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from recurdrop.errors import invalid
from recurdrop.files.inside import check_inside
from recurdrop.files.reading import Reading
from recurdrop.files.tables import content, located, read_table
from recurdrop.files.times import Times
from recurdrop.kinds.base import PARTS, Batch, Metric, Part, Score, Step, Task, shuffled
from recurdrop.kinds.forecast.data import Series, check_split, interval, prepare
from recurdrop.kinds.forecast.metric import fitted_tau
from recurdrop.kinds.forecast.model import Forecaster
from recurdrop.kinds.forecast.windows import WindowBatches, Windows, spread_over
from recurdrop.models.recurrent import RecurrentSettings
from recurdrop.models.settings import TrainingSettings
from recurdrop.tables import added_later
from recurdrop.uncertainty.calibration import coverage
from recurdrop.uncertainty.predict import mc_predict
from recurdrop.uncertainty.prediction import Prediction

LEVEL = 0.9
"""The share of observations that intervals are to hold."""
LOSSES = {"mae": F.l1_loss, "mse": F.mse_loss}
_ROWS = 1024
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class ForecastData(Reading):
    """What of a table is used, and how it is cut.

    Attributes:
        target: column to forecast.
        file: name of the table where the source is a folder; it may lie there as .gz.
        features: columns to forecast from, besides the target's own past; empty for all that hold numbers.
        date: column of the rows' times; None for the first that holds dates, "" for none.
        lookback: rows that a window spans.
        step: rows from one in the window to the next.
        horizon: rows from the last of the window to the target.
        stride: rows from one example to the next.
        split: training, validation and test part in this order: shares below 1, or numbers of rows.
        sentinels: numbers that stand for a missing value.
        loss: "mae" or "mse".
        season: rows of a season for the naive forecast; None for a day, or a year of months, where dates tell it; 0
            for none.
        steps_per_epoch: batches of an epoch, of other examples each; None for all examples.
        fit_window: whether a lookback that takes more than half of the training rows is lowered, to a season if one is
            known.

    Raises:
        ValueError: a setting breaks its rule.
    """

    target: str
    file: str | None = None
    features: tuple[str, ...] = ()
    date: str | None = None
    lookback: int = 48
    step: int = 1
    horizon: int = 1
    stride: int = 1
    split: tuple[float, ...] = (0.7, 0.15, 0.15)
    sentinels: tuple[float, ...] = (-9999.0,)
    loss: str = "mae"
    season: int | None = None
    steps_per_epoch: int | None = None
    fit_window: bool = added_later(False)

    def __post_init__(self) -> None:
        self.check_reading()
        if self.file is not None:
            check_inside("file", self.file, nested=True)
        self.windows()
        check_split(self.split)
        if not all(map(math.isfinite, self.sentinels)):
            remedy = "Leave it out: what is no finite number is missing anyway."
            raise invalid("sentinels must be finite", self.sentinels, remedy)
        if self.loss not in LOSSES:
            raise invalid(f"loss must be one of {', '.join(LOSSES)}", self.loss, "Choose one of them.")
        if self.season is not None and self.season < 0:
            raise invalid("season must be 0 rows or more", self.season, "Give 0 for none.")
        if self.steps_per_epoch is not None and self.steps_per_epoch < 1:
            raise invalid("steps_per_epoch must be 1 or more", self.steps_per_epoch, "Leave it out for all examples.")

    def windows(self) -> Windows:
        """Return what an example is."""
        return Windows(self.lookback, self.step, self.horizon, self.stride)


@dataclass(frozen=True)
class ForecastModel(RecurrentSettings):
    """The model.

    Attributes:
        dropout: of the last output, before the linear layer.
    """

    cell: str = "gru"
    hidden: int = 32
    dropout: float = 0.0


class Forecasts(NamedTuple):
    """Forecasts of a part in the target's unit, (N,) each, in the order of time.

    Attributes:
        rows: of the targets, counted from 0.
        times: of the targets; None without dates.
        target: what was observed.
        mean: the forecast.
        low: lower end of the interval that is to hold `LEVEL` of the observations.
        high: its upper end.
    """

    rows: NDArray[np.int64]
    times: Times | None
    target: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class ForecastTask(Task[ForecastData, ForecastModel]):
    """Forecast one column of a table, `horizon` rows ahead.

    The loss counts in standard deviations of the target, so that a learning rate and a clip mean the same on all data;
    the metric is in the target's unit, which is what stands in the brackets of its name. Intervals add to the spread
    of the samples, if there are any, normal noise whose precision is that of the validation part (`fitted_tau`).
    """

    kind: ClassVar[str] = "forecast"
    Data: ClassVar[type] = ForecastData
    Model: ClassVar[type] = ForecastModel

    def __init__(self, series: Series, data: ForecastData, name: str, sha256: str, said: str = "") -> None:
        self.series, self.data, self.name, self.sha256 = series, data, name, sha256
        self.loss_unit = {"mae": "σ of target", "mse": "σ² of target"}[data.loss]
        self.windows, window = self._fitted()
        self.report = {
            **({"table": said} if said else {}),
            "numbers": f"{len(series.columns)} columns, of which {data.target!r} is forecast",
            **({"window": window} if window else {}),
            **series.report,
        }
        self.rows = {part: self.windows.last_rows(series, place) for place, part in enumerate(PARTS)}
        self.metric = Metric("MAE", _unit(data.target))
        sizes: dict[str, int] = {part: len(rows) for part, rows in self.rows.items()}
        self.sizes = sizes | {"rows": len(series.values), "features": len(series.columns)}

    @classmethod
    def load(cls, source: Path, data: ForecastData) -> ForecastTask:
        """Read a table: CSV, TSV or Parquet."""
        path = located(source, data.file)
        table = read_table(path, data)
        series = prepare(
            table.frame,
            data.target,
            features=data.features,
            date=data.date,
            split=data.split,
            sentinels=data.sentinels,
            reading=data,
        )
        return cls(series, data, path.name, hashlib.sha256(content(path)).hexdigest(), table.said)

    def _fitted(self) -> tuple[Windows, str]:
        """Return what an example is, and what was changed so that it fits the training rows."""
        data, rows = self.data, self.series.ends[0]
        windows = data.windows()
        most = max(data.step, rows // 2)
        if not data.fit_window or data.lookback <= most:
            return windows, ""
        season = self._season()
        lookback = most // season * season if 0 < season <= most else most
        said = f"{lookback} rows, since {data.lookback} do not fit {rows} training rows (--window)"
        return dataclasses.replace(windows, lookback=lookback), said

    def build(self, model: ForecastModel) -> Forecaster:
        """Make a forecaster."""
        return Forecaster(model.rnn(len(self.series.columns), batch_first=True), model.dropout)

    def batches(self, training: TrainingSettings, epoch: int, seed: int) -> Sequence[Batch]:
        """Return windows (B, T, F) with their targets (B,), shuffled, cut when they are asked for."""
        rows = self.rows["train"]
        chosen = rows[torch.from_numpy(shuffled(len(rows), seed, epoch))]
        if self.data.steps_per_epoch is not None:
            chosen = chosen[: self.data.steps_per_epoch * training.batch]
        return WindowBatches(self.series, self.windows, chosen, training.batch)

    def step(self, model: nn.Module, batch: Batch, state: Any, training: TrainingSettings) -> Step:
        """Return the mean error of a batch."""
        window, target = batch
        return Step(LOSSES[self.data.loss](model(window), target), len(target))

    def score(self, model: nn.Module, part: Part, *, samples: int = 0) -> Score:
        """Score a model; with samples, `others` holds the share of targets inside their intervals as well."""
        rows = self._scored(part)
        prediction = self._predict(model, rows, samples)
        score = self._compare(prediction.mean, rows)
        if not samples:
            return score
        share = coverage(prediction, self._targets(rows), (LEVEL,), tau=self._tau(model, samples)).item()
        return score._replace(others={**score.others, f"coverage of {LEVEL:.0%} intervals": share})

    def baselines(self, part: Part) -> Mapping[str, Score]:
        """Score the last value seen, and the last one seen at the target's time of the season."""
        rows = self._scored(part)
        found = {"persistence": self._compare(self.series.target[rows], rows)}
        season = self._season()
        if season:
            same = rows + self.windows.horizon - season * -(-self.windows.horizon // season)
            if same.min() >= 0 and not torch.equal(same, rows):
                found["seasonal naive"] = self._compare(self.series.target[same], rows)
        return found

    def forecast(self, model: nn.Module, part: Part, *, samples: int = 0) -> Forecasts:
        """Forecast every example of a part.

        Args:
            model: in evaluation mode.
            part: which.
            samples: 0 for the model without noise, otherwise passes with noise, 2 or more.
        """
        rows = self.rows[part]
        prediction = self._predict(model, rows, samples)
        ends = prediction.interval(LEVEL, tau=self._tau(model, samples))
        targets = (rows + self.windows.horizon).numpy()
        values = (self.series.in_unit(x).numpy() for x in (prediction.mean, *ends))
        times = None if self.series.times is None else self.series.times[targets]
        return Forecasts(targets, times, self.series.actual[targets], *values)

    def _scored(self, part: Part) -> Tensor:
        rows = self.rows[part]
        return spread_over(rows, len(self.rows["valid"])) if part == "train" else rows

    def _targets(self, rows: Tensor) -> Tensor:
        return self.series.target[rows + self.windows.horizon]

    def _predict(self, model: nn.Module, rows: Tensor, samples: int) -> Prediction:
        """Predict on the model's device; without samples, the one prediction is the only sample."""
        device = next(model.parameters()).device
        found = []
        with torch.no_grad():
            for chunk in rows.split(_ROWS):
                window = self.windows.cut(self.series.values, chunk).to(device)
                noisy = mc_predict(model, window, samples=samples, in_dims=0).samples if samples else None
                found.append((model(window)[None] if noisy is None else noisy).cpu())
        every = torch.cat(found, 1).float()
        return Prediction(every.mean(0), every.std(0, correction=min(1, samples)), every)

    def _tau(self, model: nn.Module, samples: int) -> float:
        rows = spread_over(self.rows["valid"], _ROWS)
        return fitted_tau(self._predict(model, rows, samples), self._targets(rows))

    def _compare(self, forecast: Tensor, rows: Tensor) -> Score:
        gap = (forecast - self._targets(rows)).double()
        mae, mse = gap.abs().mean().item(), gap.square().mean().item()
        scale = self.series.scale
        return Score(mae if self.data.loss == "mae" else mse, mae * scale, {"RMSE": mse**0.5 * scale})

    def _season(self) -> int:
        if self.data.season is not None:
            return self.data.season
        if self.series.times is None or len(self.series.times) < 2:
            return 0
        days = interval(self.series.times) / _DAY
        if 28 <= days <= 31:
            return 12
        return round(1 / days) if days < 1 else 0


def _unit(name: str) -> str:
    found = re.search(r"[(\[]([^()\[\]]+)[)\]]\s*$", name)
    return found[1] if found else ""
