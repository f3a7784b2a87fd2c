"""Clips of background noise with words mixed in, one word of them the trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurdrop.errors import invalid
from recurdrop.files.mel import LogMel
from recurdrop.kinds.speech.data import Recordings, read_wave

Wave = NDArray[np.float32]
_PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class ClipSettings:
    """How clips are mixed.

    Attributes:
        trigger: label of the word to detect.
        seconds: length of a clip.
        most_triggers: a clip has 0 to this many triggers, each number equally often.
        most_others: the same for other words.
        after: seconds after the end of a trigger that have label 1, and the least pause after each word.
        noise: lowest and highest level of the background, dB below full scale (RMS).
        snr: lowest and highest level of a word above the background, dB (RMS over the recording).

    Raises:
        ValueError: a setting breaks its rule.
    """

    trigger: str = "3"
    seconds: float = 5.0
    most_triggers: int = 2
    most_others: int = 3
    after: float = 0.4
    noise: tuple[float, ...] = (-50.0, -30.0)
    snr: tuple[float, ...] = (0.0, 20.0)

    def __post_init__(self) -> None:
        if not 0 < self.after < self.seconds <= 600:
            rule = "after must be above 0 and seconds above it, 600 at most"
            raise invalid(rule, f"after={self.after}, seconds={self.seconds}", "Give e.g. 0.4 and 5.")
        if self.most_triggers < 1 or self.most_others < 0:
            value = f"most_triggers={self.most_triggers}, most_others={self.most_others}"
            raise invalid("most_triggers must be 1 or more and most_others 0 or more", value, "Give e.g. 2 and 3.")
        for name in ("noise", "snr"):
            levels = getattr(self, name)
            if len(levels) != 2 or not -100 <= levels[0] <= levels[1] <= 100:
                rule = f"{name} must be a lowest and a highest level in dB, between -100 and 100"
                raise invalid(rule, levels, "Give e.g. -50 and -30 for noise, 0 and 20 for snr.")


class Clip(NamedTuple):
    """A mixed clip.

    Attributes:
        wave: (N,) float32 in [-1, 1), multiples of 1 / 32768: as a 16-bit file would hold it.
        ends: seconds at which its triggers end, rising.
    """

    wave: Wave
    ends: tuple[float, ...]


@dataclass(frozen=True)
class Clips:
    """The clips of one part.

    Attributes:
        features: log-mel spectra, (C, frames, bands) float32.
        labels: (C, frames) float32, as `labels` gives them.
        ends: for each clip the seconds at which its triggers end.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.float32]
    ends: tuple[tuple[float, ...], ...]


class Mixer:
    """Mix clips; which recordings, noise, times and levels follows from seed, part and number alone.

    A clip's words are drawn from the recordings of its own part, without the silence around them (see `trimmed`), which
    in some recordings of Free Spoken Digits lasts longer than the word. They lie in random order with random pauses
    and do not overlap; a word that no longer fits is left out. The background is noise with the power spectrum f^-a, a
    between 0 (white) and 2 (brown; 1 is pink), or a random stretch of the users' own: of each file the first 80 % for
    training clips, the next 10 % for validation and the last 10 % for tests.

    Args:
        recordings: the words.
        settings: how to mix.
        seed: of the random numbers.
        background: users' own backgrounds, none for noise.

    Raises:
        ValueError: a trigger that is no label, no other label, or a recording or background that is silent or too long
            or short for a clip.
    """

    def __init__(
        self, recordings: Recordings, settings: ClipSettings, seed: int = 0, background: Sequence[Wave] = ()
    ) -> None:
        if settings.trigger not in recordings.labels:
            remedy = f"Choose among {', '.join(recordings.labels)}."
            raise invalid("trigger must be a label of the recordings", settings.trigger, remedy)
        self.recordings, self.settings, self.seed, self.background = recordings, settings, seed, background
        self.samples = round(settings.seconds * recordings.rate)
        self._pause = round(settings.after * recordings.rate)
        target = recordings.labels.index(settings.trigger)
        self._places = {
            (part, wanted): places[(recordings.targets[places] == target) == wanted]
            for part, places in recordings.parts.items()
            for wanted in (True, False)
        }
        for file, wave in zip(recordings.files, recordings.waves, strict=True):
            if not wave.any():
                raise invalid("recordings must not be silent", file, "Leave it out.")
        self._words = tuple(trimmed(wave, recordings.rate) for wave in recordings.waves)
        for file, word in zip(recordings.files, self._words, strict=True):
            if len(word) + self._pause > self.samples:
                value = f"{file} of {len(word) / recordings.rate:.2f} s"
                rule = f"each recording must fit into a clip of {settings.seconds} s with a pause of {settings.after} s"
                raise invalid(rule, value, "Leave it out or give more seconds.")

    def clip(self, part: str, number: int) -> Clip:
        """Mix one clip.

        Args:
            part: "train", "valid" or "test".
            number: of the clip in its part, 0 or more.
        """
        rng = np.random.default_rng((self.seed, _PARTS.index(part), number))
        noise = self._noise(rng, part)
        level = _gain(rng, self.settings.noise)
        wave = level * noise / max(_rms(noise), 1e-9)
        ends = []
        for start, place, wanted in self._arranged(rng, part):
            word = self._words[place]
            wave[start : start + len(word)] += level * _gain(rng, self.settings.snr) * word / _rms(word)
            if wanted:
                ends.append((start + len(word)) / self.recordings.rate)
        rounded = np.clip(np.rint(32768 * wave), -32768, 32767) / 32768
        return Clip(rounded.astype(np.float32), tuple(ends))

    def clips(self, part: str, count: int, mel: LogMel) -> Clips:
        """Mix the first clips of a part and return their features."""
        made = [self.clip(part, number) for number in range(count)]
        features = np.stack([mel(clip.wave) for clip in made])
        ends = tuple(clip.ends for clip in made)
        marks = [labels(each, features.shape[1], mel.step / mel.rate, self.settings.after) for each in ends]
        return Clips(features, np.stack(marks), ends)

    def _arranged(self, rng: np.random.Generator, part: str) -> list[tuple[int, int, bool]]:
        """Return first sample, recording, and whether it is a trigger, of each word, in order of time."""
        words: list[tuple[int, bool]] = []
        for wanted, most in ((True, self.settings.most_triggers), (False, self.settings.most_others)):
            places = self._places[part, wanted]
            words += [(int(place), wanted) for place in rng.choice(places, rng.integers(most + 1))]
        left, kept = self.samples, []
        for place in rng.permutation(len(words)):
            taken = len(self._words[words[place][0]]) + self._pause
            if taken <= left:
                left -= taken
                kept.append(words[place])
        arranged, before = [], 0
        for free, (word, wanted) in zip(np.sort(rng.integers(left + 1, size=len(kept))), kept, strict=True):
            arranged.append((int(free) + before, word, wanted))
            before += len(self._words[word]) + self._pause
        return arranged

    def _noise(self, rng: np.random.Generator, part: str) -> NDArray[np.float64]:
        if not self.background:
            return colored(rng, self.samples, rng.uniform(0, 2))
        whole = self.background[int(rng.integers(len(self.background)))]
        first, last = {"train": (0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1)}[part]
        piece = whole[round(first * len(whole)) : round(last * len(whole))].astype(np.float64)
        start = rng.integers(max(1, len(piece) - self.samples + 1))
        return np.resize(piece[start:] if len(piece) >= self.samples else piece, self.samples)


def trimmed(wave: Wave, rate: int) -> Wave:
    """Return a recording from its first to its last 10 ms whose power is at most 30 dB below that of the loudest."""
    size = max(1, rate // 100)
    pieces = np.pad(np.square(wave, dtype=np.float64), (0, -len(wave) % size)).reshape(-1, size).mean(1)
    loud = np.flatnonzero(pieces >= 1e-3 * pieces.max())
    return wave[loud[0] * size : (loud[-1] + 1) * size]


def colored(rng: np.random.Generator, samples: int, exponent: float) -> NDArray[np.float64]:
    """Return noise (samples,) whose power falls with frequency as f^-exponent; 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    spectrum[0] = 0
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-exponent / 2)
    return np.fft.irfft(spectrum, samples)


def labels(ends: Sequence[float], frames: int, hop: float, after: float) -> NDArray[np.float32]:
    """Return 1 for frames that end within `after` seconds after one of `ends`, else 0, (frames,).

    Args:
        ends: in seconds.
        frames: how many.
        hop: seconds from frame to frame; frame t ends at (t + 1) · hop.
        after: seconds.
    """
    times = (np.arange(frames) + 1) * hop
    marks = np.zeros(frames, dtype=np.float32)
    for end in ends:
        marks[(times > end) & (times <= end + after)] = 1
    return marks


def backgrounds(source: Path, rate: int) -> tuple[Wave, ...]:
    """Read the wav files of the folder `background/` in `source`, sorted by name; none where there is no such folder.

    Raises:
        ValueError: a damaged file, another rate, less than 10 s, or a silent part.
    """
    found = []
    for path in sorted((source / "background").glob("*.wav")):
        wave = read_wave(path, rate)
        pieces = np.split(wave, [round(0.8 * len(wave)), round(0.9 * len(wave))])
        if len(wave) < 10 * rate or not all(piece.any() for piece in pieces):
            rule = "a background must have 10 s or more, its last two tenths not silent"
            raise invalid(rule, f"{path} of {len(wave) / rate:.1f} s", "Record more.")
        found.append(wave)
    return tuple(found)


def _gain(rng: np.random.Generator, levels: tuple[float, ...]) -> float:
    low, high = levels
    return float(10 ** (rng.uniform(low, high) / 20))


def _rms(wave: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
