from __future__ import annotations

import math

import numpy as np
import pytest

from recurdrop.files.mel import LogMel, mel, moments, triangles


def by_hand(wave: np.ndarray, rate: int, bands: int, window: int, hop: int) -> np.ndarray:
    """Sums in float64, from the equations alone."""
    points = 2 ** math.ceil(math.log2(2 * window))
    weights = [0.5 - 0.5 * math.cos(2 * math.pi * n / window) for n in range(window)]
    to_mel = [2595 * math.log10(1 + k * rate / points / 700) for k in range(points // 2 + 1)]
    width = 2595 * math.log10(1 + rate / 2 / 700) / (bands + 1)
    rows = []
    for end in range(hop, len(wave) + 1, hop):
        piece = np.concatenate([np.zeros(window), wave[:end]])[-window:].astype(np.float64) * weights
        angles = -2j * np.pi * np.outer(np.arange(points // 2 + 1), np.arange(window)) / points
        power = np.abs(np.exp(angles) @ piece) ** 2
        filters = [[max(0.0, 1 - abs(m - width * (b + 1)) / width) for m in to_mel] for b in range(bands)]
        rows.append(np.log(1e-6 + np.array(filters) @ power))
    return np.array(rows)


@pytest.mark.parametrize(("rate", "bands", "window", "hop"), [(8000, 20, 200, 80), (1000, 7, 64, 64), (4000, 9, 33, 7)])
def test_features_are_the_direct_sums(rate: int, bands: int, window: int, hop: int) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * window + 5).astype(np.float32)
    found = LogMel(rate, bands, window / rate, hop / rate)(wave)
    expected = by_hand(wave, rate, bands, window, hop)
    assert found.shape == expected.shape == (len(wave) // hop, bands)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_mel_scale_has_1000_hz_at_1000() -> None:
    assert mel(0) == 0
    assert mel(1000.0) == pytest.approx(1000, abs=0.05)


def test_filters_overlap_to_one_between_the_outer_peaks() -> None:
    filters = triangles(257, 8000, 20)
    peaks = filters.argmax(1)
    np.testing.assert_allclose(filters.sum(0)[peaks[0] + 1 : peaks[-1]], 1)
    assert (filters[:, [0, -1]] == 0).all()


def test_no_frame_depends_on_what_follows() -> None:
    wave = np.random.default_rng(1).uniform(-1, 1, (2, 800)).astype(np.float32)
    features = LogMel(8000)(wave)
    wave[:, 480:] = 0
    changed = LogMel(8000)(wave)
    assert np.array_equal(features[:, :6], changed[:, :6])
    assert not np.isclose(features[:, 6], changed[:, 6]).all()
    np.testing.assert_allclose(LogMel(8000)(wave[0]), changed[0])
    assert LogMel(8000)(wave[:, :79]).shape == (2, 0, 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bands": 0}, "bands must be 1 or more"),
        ({"bands": 400}, "bands=400"),
        ({"hop": 0.03}, "hop=0.03"),
        ({"hop": 0.0}, "hop=0.0"),
        ({"window": 2.0}, "window=2.0"),
    ],
)
def test_settings_are_checked(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogMel(8000, **settings)  # type: ignore[arg-type]


def test_moments_are_over_all_but_the_bands() -> None:
    features = np.array([[[1, 5], [3, 5]], [[5, 5], [7, 5]]], dtype=np.float32)
    mean, deviation = moments(features)
    assert mean.tolist() == [4, 5]
    assert deviation.tolist() == pytest.approx([math.sqrt(5), 1])
