"""How sure is a weather forecast? Monte-Carlo dropout of a GRU on the Jena climate data, checked by coverage.

python examples/forecast_uncertainty.py --data weather_2020.csv.gz --picture uncertainty.png

The data is one year of the weather station at Jena in rows of ten minutes, plain or gzipped, with the columns `date`,
`T (degC)` and those in COLUMNS. From 48 hours, one value an hour, the model forecasts the temperature 6 hours ahead.
Of each month, days 1-18 are for training, 19-24 for validation, the rest for the test; no window crosses these borders.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import recurdrop as rd
from recurdrop.uncertainty import LEVELS, coverage, plot_coverage

COLUMNS = ("T (degC)", "p (mbar)", "Tdew (degC)", "rh (%)", "wv (m/s)", "wd (deg)")
HOUR, PAST, AHEAD = 6, 48, 6


def read(path: Path) -> tuple[Tensor, list[datetime]]:
    """Return (rows, features), gaps filled with the value before, and the time of each row."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="latin-1", newline="") as file:
        rows = list(csv.DictReader(file))
    times = [datetime.fromisoformat(row["date"]) for row in rows]
    values = np.array([[float(row[name]) for name in COLUMNS] for row in rows])
    last = np.where(values == -9999, 0, np.arange(len(values))[:, None])
    values = np.take_along_axis(values, np.maximum.accumulate(last), 0)
    hours = np.array([t.hour + t.minute / 60 + 24 * t.timetuple().tm_yday for t in times])
    values[:, -2:] = values[:, -2, None] * np.stack([f(np.radians(values[:, -1])) for f in (np.sin, np.cos)], 1)
    turns = [f(2 * math.pi * hours / period) for period in (24, 24 * 365.25) for f in (np.sin, np.cos)]
    return torch.tensor(np.column_stack([values, *turns]), dtype=torch.float32), times


def windows(times: list[datetime], first: int, last: int, step: int) -> Tensor:
    """Return the numbers of rows where windows start that lie, forecast included, in days first to last of a month."""
    span = (PAST - 1 + AHEAD) * HOUR
    inside = [first <= t.day <= last for t in times]
    whole = [
        s
        for s in range(0, len(times) - span, step)
        if inside[s] and inside[s + span] and (times[s + span] - times[s]).days < 10
    ]
    return torch.tensor(whole)


class Forecaster(nn.Module):
    """A GRU with noise; it forecasts the change of temperature from now, in standard deviations."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.rnn = rd.GRU(features, 64, batch_first=True, noise=rd.Variational(input=0.05, recurrent=0.2, output=0.2))
        self.out = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Forecast (B,) from windows (B, PAST, features)."""
        change: Tensor = self.out(self.rnn(x)[0][:, -1])[:, 0]
        return x[:, -1, 0] + change


def batch(data: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Return windows (B, PAST, features) and the temperatures to forecast (B,)."""
    x = data[starts[:, None] + HOUR * torch.arange(PAST)]
    return x, data[starts + HOUR * (PAST - 1 + AHEAD), 0]


def train(model: nn.Module, data: Tensor, starts: Tensor, valid: Tensor, epochs: int) -> None:
    """Train, and keep the weights that were best in validation."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best, kept = math.inf, model.state_dict()
    for epoch in range(1, epochs + 1):
        model.train()
        for chosen in starts[torch.randperm(len(starts))].split(128):
            x, target = batch(data, chosen)
            loss = nn.functional.mse_loss(model(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            x, target = batch(data, valid)
            error = nn.functional.mse_loss(model(x), target).sqrt().item()
        if error < best:
            best, kept = error, {name: value.clone() for name, value in model.state_dict().items()}
        print(f"epoch {epoch:2d}  validation RMSE {error:.4f} standard deviations", flush=True)
    model.load_state_dict(kept)


def best_tau(prediction: rd.Prediction, target: Tensor) -> float:
    """Return the precision under which the observations are most probable."""

    def likelihood(tau: Tensor) -> Tensor:
        squares = (target - prediction.samples) ** 2
        return (torch.logsumexp(-tau / 2 * squares, 0) + tau.log() / 2).mean()

    return float(max(torch.logspace(-2, 4, 601), key=likelihood))


def picture(
    path: Path, times: list[datetime], kelvin: Any, prediction: rd.Prediction, target: Tensor, tau: float
) -> None:
    """Draw a stretch of the test with its intervals, and coverage over all of the test."""
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2.2, 1))
    shown = slice(0, sum(t.month == times[0].month for t in times))
    for level, shade in ((0.95, 0.15), (0.8, 0.3)):
        low, high = (kelvin(end)[shown] for end in prediction.interval(level, tau=tau))
        left.fill_between(
            times[shown], low, high, color="#0072B2", alpha=shade, linewidth=0, label=f"{level:.0%}, with noise"
        )
    low, high = (kelvin(end)[shown] for end in prediction.interval(0.95))
    left.fill_between(times[shown], low, high, color="#D55E00", alpha=0.55, linewidth=0, label="95%, masks alone")
    left.plot(times[shown], kelvin(prediction.mean)[shown], color="#0072B2", linewidth=1.4, label="mean")
    left.plot(times[shown], kelvin(target)[shown], color="black", linewidth=1.2, label="observed")
    left.xaxis.set_major_formatter(ConciseDateFormatter(left.xaxis.get_major_locator()))
    left.set_ylabel(f"temperature {AHEAD} hours ahead, °C")
    left.margins(x=0)
    left.grid(color="#e6e6e6", linewidth=0.6)
    left.set_axisbelow(True)
    left.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    levels = [i / 20 for i in range(1, 20)]
    curves = {"with noise": coverage(prediction, target, levels, tau=tau)}
    plot_coverage(levels, curves | {"masks alone": coverage(prediction, target, levels)}, axes=right)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Train or load, predict, report."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, required=True, help="the year's rows, as CSV")
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--samples", type=int, default=100)
    arguments.add_argument("--weights", type=Path, help="where trained weights are kept: written, or read if there")
    arguments.add_argument("--picture", type=Path, help="a PNG to write")
    options = arguments.parse_args()
    torch.manual_seed(0)
    values, times = read(options.data)
    starts, valid, test = windows(times, 1, 18, 3), windows(times, 19, 24, HOUR), windows(times, 25, 31, HOUR)
    seen = values[(starts[:, None] + torch.arange(PAST * HOUR)).unique()]
    mean, scale = seen.mean(0), seen.std(0)
    data = (values - mean) / scale
    model = Forecaster(data.shape[1])
    if options.weights and options.weights.exists():
        model.load_state_dict(torch.load(options.weights, weights_only=True))
    else:
        train(model, data, starts, valid, options.epochs)
        if options.weights:
            torch.save(model.state_dict(), options.weights)

    model.eval()
    x, target = batch(data, valid)
    tau = best_tau(rd.mc_predict(model, x, samples=options.samples, in_dims=0), target)
    x, target = batch(data, test)
    prediction = rd.mc_predict(model, x, samples=options.samples, in_dims=0)
    with torch.no_grad():
        forecasts = {"last value": x[:, -1, 0], "value a day before": x[:, AHEAD - 25, 0]}
        forecasts |= {"masks off": model(x), "mean of samples": prediction.mean}
    print(f"windows: {len(starts)} for training, {len(valid)} for validation, {len(test)} for the test")
    for name, forecast in forecasts.items():
        print(f"{name:<20} RMSE {float((forecast - target).square().mean().sqrt() * scale[0]):.2f} °C")
    spread, noise = float(prediction.std.square().mean().sqrt() * scale[0]), float(tau**-0.5 * scale[0])
    print(f"standard deviation: of the samples {spread:.2f} °C, of the noise from validation {noise:.2f} °C")
    for name, precision in (("masks alone", None), ("with tau", tau)):
        shares = coverage(prediction, target, tau=precision).tolist()
        print(
            f"{name:<12}",
            *(f"{level:.0%}: {share:.1%}" for level, share in zip(LEVELS, shares, strict=True)),
            sep="   ",
        )
    if options.picture:
        then = [times[int(s) + HOUR * (PAST - 1 + AHEAD)] for s in test]
        picture(options.picture, then, lambda y: y * scale[0] + mean[0], prediction, target, tau)


if __name__ == "__main__":
    main()
