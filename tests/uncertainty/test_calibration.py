"""Coverage, calibration error and precision against numbers by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

import recurdrop as rd
from recurdrop.uncertainty import (
    coverage,
    expected_calibration_error,
    plot_coverage,
    plot_reliability,
    reliability,
    tau,
)


def normal(count: int, wide: float = 1.0) -> rd.Prediction:
    """Samples at the quantiles of N(m, wide²), m = 0, 1, ..."""
    quantiles = torch.special.ndtri((torch.arange(400, dtype=torch.float64) + 0.5) / 400)
    samples = wide * quantiles[:, None] + torch.arange(count)
    return rd.Prediction(samples.mean(0), samples.std(0), samples)


@pytest.mark.parametrize("wide", [1.0, 0.5])
def test_coverage_of_a_known_normal(wide: float) -> None:
    target = torch.arange(4000) + torch.randn(4000, dtype=torch.float64)
    levels = torch.tensor([0.5, 0.8, 0.95], dtype=torch.float64)
    expected = 2 * torch.special.ndtr(wide * torch.special.ndtri((1 + levels) / 2)) - 1
    found = coverage(normal(4000, wide), target)
    # Three standard errors of 4000 observations: 0.024.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.024)


def test_observation_noise_mends_coverage() -> None:
    target = torch.arange(4000) + torch.randn(4000, dtype=torch.float64)
    found = coverage(normal(4000, 0.5), target, (0.5, 0.8, 0.95), tau=1 / 0.75)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.8, 0.95], dtype=torch.float64), rtol=0, atol=0.024)


def test_coverage_counts_by_hand() -> None:
    samples = torch.tensor([[0.0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]])
    prediction = rd.Prediction(samples.mean(0), samples.std(0), samples)
    target = torch.tensor([0.4, 0.6, 1.5, math.nan])  # the middle half is [0.5, 1.5]
    assert coverage(prediction, target, [0.5]).tolist() == [2 / 3]
    with pytest.raises(ValueError, match=r"targets must have the shape \(4,\)"):
        coverage(prediction, target[:, None])
    for level in (0, 1, 80):
        for precision in (None, 1.0):
            with pytest.raises(ValueError, match=rf"level must lie in \(0, 1\); got {level}"):
                coverage(prediction, target, (0.5, level), tau=precision)
    with pytest.raises(ValueError, match="coverage needs observations"):
        coverage(prediction, torch.full((4,), math.nan))


def two_classes(confidence: list[float]) -> Tensor:
    return torch.tensor([[c, 1 - c] for c in confidence], dtype=torch.float64)


def test_calibration_error_by_hand() -> None:
    probabilities = two_classes([0.55, 0.6, 0.75, 0.8, 0.95])
    labels = torch.tensor([0, 1, 0, 0, 1])
    # Ten bins, high ends included: {0.55, 0.6}, {0.75, 0.8}, {0.95} with accuracy 1/2, 1, 0.
    by_hand = (2 * abs(0.5 - 0.575) + 2 * abs(1 - 0.775) + 1 * 0.95) / 5
    assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(by_hand, abs=1e-15)
    found = reliability(probabilities, labels, bins=10)
    assert found.counts.tolist() == [0] * 5 + [2, 0, 2, 0, 1]
    assert found.accuracy[5].item() == 0.5
    assert found.accuracy[0].isnan()
    # Two bins of equal mass: {0.55, 0.6} and the rest, with accuracy 1/2 and 2/3.
    by_mass = (2 * abs(0.5 - 0.575) + 3 * abs(2 / 3 - 2.5 / 3)) / 5
    assert expected_calibration_error(probabilities, labels, bins=2, binning="mass") == pytest.approx(
        by_mass, abs=1e-15
    )


def test_bins_of_equal_mass_hold_equally_many() -> None:
    confidence = 0.5 + torch.rand(100, dtype=torch.float64) ** 3 / 2
    found = reliability(two_classes(confidence.tolist()), torch.zeros(100, dtype=torch.int64), bins=10, binning="mass")
    assert found.counts.tolist() == [10] * 10
    assert reliability(two_classes([0.5, 1.0]), torch.zeros(2, dtype=torch.int64), binning="mass").counts.sum() == 2


def test_calibration_error_of_sequences_and_of_certainty() -> None:
    probabilities = torch.nn.functional.one_hot(torch.randint(4, (5, 3)), 4).double()
    assert expected_calibration_error(probabilities, probabilities.argmax(-1)) == 0
    assert expected_calibration_error(probabilities, (probabilities.argmax(-1) + 1) % 4) == 1


def test_what_calibration_refuses() -> None:
    good, labels = two_classes([0.5, 0.9]), torch.zeros(2, dtype=torch.int64)
    for wrong in ((good, labels[:1]), (good[:0], labels[:0])):
        with pytest.raises(ValueError, match="need one label for each prediction"):
            reliability(*wrong)
    with pytest.raises(ValueError, match="probabilities must lie in"):
        reliability(good * 3, labels)
    with pytest.raises(ValueError, match="bins must be an integer of 1 or more"):
        reliability(good, labels, bins=0)
    with pytest.raises(ValueError, match="binning must be 'width' or 'mass'"):
        reliability(good, labels, binning="both")


def test_tau_by_hand() -> None:
    # Keep probability 0.8, l = 0.5, N = 1000, λ = 1e-4: 0.8 · 0.25 / (2 · 1000 · 1e-4).
    assert tau(0.2, length_scale=0.5, n=1000, weight_decay=1e-4) == pytest.approx(1.0, rel=1e-15)
    with pytest.raises(ValueError, match=r"p of tau must be a number in \[0, 1\)"):
        tau(1.0, length_scale=1, n=1, weight_decay=1)
    with pytest.raises(ValueError, match="weight_decay must be a finite number above 0; got 0"):
        tau(0.5, length_scale=1, n=1, weight_decay=0)


def test_pictures() -> None:
    pytest.importorskip("matplotlib")
    levels = [0.5, 0.8]
    lines = plot_coverage(levels, {"a": torch.tensor([0.4, 0.7]), "b": [0.5, 0.8]}).get_lines()
    assert [line.get_label() for line in lines if line.get_label()[0] != "_"] == ["calibrated", "a", "b"]
    assert lines[1].get_ydata().tolist() == pytest.approx([0, 0.4, 0.7])
    with pytest.raises(ValueError, match="'a' must have one share a level; got 1"):
        plot_coverage(levels, {"a": [0.5]})
    found = reliability(two_classes([0.55, 0.6, 0.95]), torch.tensor([0, 1, 0]), bins=10)
    axes = plot_reliability(found)
    assert [bar.get_height() for bar in axes.patches] == [0.5, 1.0]
    assert axes.get_title(loc="left") == f"expected calibration error {found.error:.3f}"
    assert plot_reliability(found, axes=axes) is axes


def test_pictures_without_matplotlib_say_what_to_install() -> None:
    code = (
        "import sys; sys.modules['matplotlib.figure'] = None\n"
        "import recurdrop.uncertainty as u\n"
        "try: u.plot_coverage([0.5], {'a': [0.5]})\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == 'plots need matplotlib: pip install "recurdrop[report]"'
