from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recurdrop.files.mel import LogMel
from recurdrop.kinds.speech.data import Recordings
from recurdrop.kinds.trigger.data import ClipSettings, Mixer, backgrounds, colored, labels, trimmed
from waves import wav

RATE = 1000
QUIET = {"noise": (-90.0, -90.0), "snr": (60.0, 60.0)}


def recordings(lengths: tuple[int, ...] = (200, 300)) -> Recordings:
    """Square waves of the two labels; each recording has a length of its own, so that a clip shows which it was."""
    waves, targets = [], []
    for target, length in enumerate(lengths):
        for i in range(6):
            waves.append(np.where(np.arange(length + 10 * i) % 8 < 4, 0.5, -0.5).astype(np.float32))
            targets.append(target)
    parts = {part: np.array([i, i + 1, i + 6, i + 7]) for part, i in (("train", 0), ("valid", 2), ("test", 4))}
    files = tuple(f"{i}.wav" for i in range(len(waves)))
    return Recordings("r", "0", RATE, ("no", "yes"), files, tuple(waves), np.array(targets), parts)


def runs(clip: np.ndarray) -> list[tuple[int, int]]:
    """First sample and length of each word in a clip whose background is far below the words."""
    loud = np.flatnonzero(np.abs(clip) > 0.01)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > 1) + 1) if len(loud) else []
    return [(int(group[0]), len(group)) for group in groups]


def test_words_of_the_part_lie_apart_and_triggers_end_where_it_says() -> None:
    settings = ClipSettings("yes", 4.0, 2, 3, after=0.2, **QUIET)
    mixer = Mixer(recordings(), settings, seed=5)
    counts = set()
    for part, first in (("train", 0), ("valid", 2), ("test", 4)):
        lengths = {200 + 10 * (first + i) for i in (0, 1)} | {300 + 10 * (first + i) for i in (0, 1)}
        for number in range(40):
            clip = mixer.clip(part, number)
            found = runs(clip.wave)
            assert {length for _, length in found} <= lengths
            ends = [(start + length) / RATE for start, length in found if length >= 300]
            assert list(clip.ends) == pytest.approx(ends)
            following = [start for start, _ in [*found[1:], (len(clip.wave), 0)]][: len(found)]
            assert all(s + n + 200 <= after for (s, n), after in zip(found, following, strict=True))
            counts.add((len(ends), len(found) - len(ends)))
    assert counts == {(i, j) for i in range(3) for j in range(4)}


def test_a_clip_follows_from_seed_part_and_number_alone() -> None:
    settings = ClipSettings("yes", 3.0)
    first = Mixer(recordings(), settings, seed=1)
    first.clip("valid", 0)
    one, other = first.clip("train", 3), Mixer(recordings(), settings, seed=1).clip("train", 3)
    assert np.array_equal(one.wave, other.wave)
    assert one.ends == other.ends
    same = recordings()
    alike = dataclasses.replace(same, parts=dict.fromkeys(same.parts, same.parts["train"]))
    for changed in (
        first.clip("train", 4),
        Mixer(alike, settings, 1).clip("test", 3),
        Mixer(recordings(), settings, 2).clip("train", 3),
    ):
        assert not np.array_equal(one.wave, changed.wave)


def test_levels_are_those_asked_for_and_samples_those_of_a_16_bit_file() -> None:
    settings = ClipSettings("yes", 4.0, 1, 1, noise=(-40.0, -40.0), snr=(20.0, 20.0))
    mixer = Mixer(recordings(), settings)
    levels = [20 * np.log10(np.sqrt(np.mean(mixer.clip("train", n).wave.astype(float) ** 2))) for n in range(30)]
    assert min(levels) == pytest.approx(-40, abs=0.05)  # of a clip without words
    loud = next(clip for n in range(99) if (clip := mixer.clip("train", n)).ends)
    end = round(loud.ends[0] * RATE)
    assert np.sqrt(np.mean(loud.wave[end - 300 : end].astype(float) ** 2)) == pytest.approx(0.1, rel=0.03)
    assert np.array_equal(32768 * loud.wave, np.rint(32768 * loud.wave))
    clipped = Mixer(recordings(), ClipSettings("yes", 4.0, noise=(0.0, 0.0))).clip("train", 0).wave
    assert (clipped.min(), clipped.max()) == (-1, 32767 / 32768)


def test_features_and_labels_of_a_part() -> None:
    mixer, mel = Mixer(recordings(), ClipSettings("yes", 3.0, after=0.3)), LogMel(RATE, 5)
    clips = mixer.clips("valid", 5, mel)
    assert clips.features.shape == (5, 300, 5)
    for i in range(5):
        clip = mixer.clip("valid", i)
        assert clips.ends[i] == clip.ends
        np.testing.assert_array_equal(clips.features[i], mel(clip.wave))
        np.testing.assert_array_equal(clips.labels[i], labels(clip.ends, 300, 0.01, 0.3))
    assert 0 < clips.labels.mean() < 1


def test_labels_follow_the_end() -> None:
    assert labels((), 3, 0.1, 0.2).tolist() == [0, 0, 0]
    assert labels((0.25, 0.75), 10, 0.1, 0.2).tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_falls_with_frequency_as_asked(exponent: float) -> None:
    noise = colored(np.random.default_rng(0), 1 << 16, exponent)
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[64:128].mean(), power[64 * 64 : 128 * 64].mean()
    assert np.log2(low / high) / 6 == pytest.approx(exponent, abs=0.1)


def test_silence_around_a_word_is_cut_off() -> None:
    wave_ = np.zeros(200, dtype=np.float32)
    wave_[40:100] = 0.5
    wave_[[60, 150]] = 0, 0.01
    wave_[110] = 0.1
    assert np.array_equal(trimmed(wave_, RATE), wave_[40:120])


def test_words_that_do_not_fit_are_left_out() -> None:
    mixer = Mixer(recordings(), ClipSettings("yes", 0.9, 2, 3, after=0.1, **QUIET))
    assert {len(runs(mixer.clip("test", n).wave)) for n in range(50)} == {0, 1, 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trigger": "maybe"}, "must be a label of the recordings; got 'maybe'"),
        ({"trigger": "yes", "seconds": 0.7}, r"fit into a clip of 0.7 s.*'6.wav of 0.30 s'|'\d+.wav of 0.3\d s'"),
        ({"after": 0.0}, "after must be above 0"),
        ({"after": 6.0}, "after=6.0"),
        ({"most_triggers": 0}, "most_triggers=0"),
        ({"snr": (3.0, 1.0)}, "snr must be a lowest and a highest"),
        ({"noise": (1.0,)}, "noise must be a lowest and a highest"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixer(recordings(), ClipSettings(**settings))  # type: ignore[arg-type]


def test_silent_recordings_are_refused() -> None:
    made = recordings()
    made.waves[3][:] = 0
    with pytest.raises(ValueError, match=r"must not be silent; got '3.wav'"):
        Mixer(made, ClipSettings("yes"))


def test_parts_have_their_own_stretch_of_a_background(tmp_path: Path) -> None:
    assert backgrounds(tmp_path, RATE) == ()
    (tmp_path / "background").mkdir()
    (tmp_path / "background" / "street.wav").write_bytes(wav(np.repeat([1000, 2000, 3000], [16000, 2000, 2000]), RATE))
    (own,) = backgrounds(tmp_path, RATE)
    assert len(own) == 20000
    own = own * np.where(np.arange(20000) % 2, 1, 0.5).astype(np.float32)
    settings = ClipSettings("yes", 3.0, noise=(-20.0, -20.0), snr=(-100.0, -100.0))
    mixer = Mixer(recordings(), settings, background=[own, own])
    for part in ("train", "valid", "test"):  # each stretch is one level: alternating samples, all of one size
        found = np.unique(np.abs(mixer.clip(part, 0).wave).round(3))
        assert found == pytest.approx([0.063, 0.126], abs=0.002)


def test_short_backgrounds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "background").mkdir()
    (tmp_path / "background" / "a.wav").write_bytes(wav(np.ones(9999), RATE))
    with pytest.raises(ValueError, match=r"10 s or more.*a.wav of 10.0 s"):
        backgrounds(tmp_path, RATE)
    (tmp_path / "background" / "a.wav").write_bytes(wav(np.repeat([1, 0], [9500, 2500]), RATE))
    with pytest.raises(ValueError, match="not silent"):
        backgrounds(tmp_path, RATE)
