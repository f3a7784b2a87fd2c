"""Logarithmic mel spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurdrop.errors import invalid

FLOOR = 1e-6


def mel(frequency: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return 2595 log10(1 + f / 700), the mel scale of O'Shaughnessy 1987 as HTK has it, of frequencies in Hz."""
    return 2595 * np.log10(1 + np.asarray(frequency, dtype=np.float64) / 700)


def triangles(bins: int, rate: int, bands: int) -> NDArray[np.float64]:
    """Return filters (bands, bins) over frequencies from 0 to rate / 2.

    Filter b rises from 0 to 1 and falls to 0 again between the points b, b + 1 and b + 2 of bands + 2 that divide 0 to
    rate / 2 evenly; it is a straight line on the mel scale, as in HTK.

    Raises:
        ValueError: so many bands that one has no frequency inside.
    """
    points = np.linspace(0, mel(rate / 2), bands + 2)[:, None]
    places = mel(np.linspace(0, rate / 2, bins))
    left, middle, right = points[:-2], points[1:-1], points[2:]
    filters = np.maximum(0, np.minimum((places - left) / (middle - left), (right - places) / (right - middle)))
    if not filters.any(1).all():
        remedy = "Give fewer bands or a longer window."
        raise invalid(f"each mel band must have one of {bins} frequencies inside", f"bands={bands}", remedy)
    return filters


@dataclass(frozen=True)
class LogMel:
    """Turn waves into logarithmic mel spectra.

    Equation:
        y_tb = log(1e-6 + Σ_k F_bk |DFT_k(w ⊙ x_t)|²), w a Hann window of `window` seconds, x_t the samples that end
        with those of frame t, (t + 1) · `hop` seconds after the start; what lies before the start is 0. No frame
        depends on what follows it. The DFT has twice the window's samples, up to a power of 2.
    Source:
        Davis & Mermelstein 1980; filters as HTK's.

    Attributes:
        rate: samples a second.
        bands: mel filters, from 0 to rate / 2.
        window: seconds that a frame sees.
        hop: seconds from frame to frame.

    Raises:
        ValueError: a setting breaks its rule.
    """

    rate: int
    bands: int = 40
    window: float = 0.025
    hop: float = 0.01

    def __post_init__(self) -> None:
        if self.bands < 1:
            raise invalid("bands must be 1 or more", self.bands, "Give e.g. 40.")
        if not 1 / self.rate <= self.hop <= self.window <= 1:
            rule = "hop must be a sample or more and window between hop and 1 s"
            raise invalid(rule, f"window={self.window}, hop={self.hop}", "Give e.g. 0.025 and 0.01 seconds.")
        triangles(self.points // 2 + 1, self.rate, self.bands)

    @property
    def step(self) -> int:
        """Samples from frame to frame."""
        return round(self.hop * self.rate)

    @property
    def points(self) -> int:
        """Points of the DFT."""
        return 1 << (2 * round(self.window * self.rate) - 1).bit_length()

    def __call__(self, waves: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features (..., N // step, bands) of waves (..., N)."""
        x = torch.from_numpy(np.ascontiguousarray(waves, dtype=np.float32)).reshape(-1, waves.shape[-1])
        window = torch.zeros(self.points)
        length = round(self.window * self.rate)
        window[-length:] = torch.hann_window(length)
        filters = torch.from_numpy(triangles(self.points // 2 + 1, self.rate, self.bands)).float()
        y = torch.cat([self._features(part, window, filters) for part in x.split(64)])
        return y.reshape(*waves.shape[:-1], -1, self.bands).numpy()

    def _features(self, x: Tensor, window: Tensor, filters: Tensor) -> Tensor:
        frames = x.shape[-1] // self.step
        if not frames:
            return x.new_zeros(len(x), 0, self.bands)
        padded = torch.nn.functional.pad(x, (self.points - self.step, 0))
        spectra = torch.stft(padded, self.points, self.step, window=window, center=False, return_complex=True)
        power = spectra[..., :frames].abs().square()
        return torch.log(FLOOR + filters @ power).transpose(1, 2)


def moments(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the standard deviation of each band of features (..., bands), the latter never 0."""
    flat = features.reshape(-1, features.shape[-1])
    deviation = flat.std(0, dtype=np.float64)
    deviation[deviation < 1e-3] = 1.0
    return flat.mean(0, dtype=np.float64).astype(np.float32), deviation.astype(np.float32)
