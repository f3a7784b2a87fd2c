"""Wav files as programs write them, streams and odd chunks included; a file that was cut off is told from a whole one.

Python's `wave` reads neither floats nor streams, and libraries that read everything also read a file that was cut off,
without a word.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurdrop.errors import invalid

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_STREAM = 0x7FFF_0000
"""A size from here on means that the writer could not know it: pipes of ffmpeg, sox and arecord write such sizes."""
_OTHERS = {
    b"RF64": "a wav file of more than 4 GiB",
    b"RIFX": "a wav file of big-endian numbers",
    b"FORM": "an AIFF file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"ID3\x03": "an MP3 file",
    b"ID3\x04": "an MP3 file",
    b"\x00\x05\x16\x07": "what macOS keeps beside a file on other disks; the recording has the same name without ._",
}
_CODES = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x55: "MP3"}
_CONVERT = "Convert it, e.g. with ffmpeg -i IN -ac 1 -c:a pcm_s16le OUT.wav."


class _Format(NamedTuple):
    code: int
    channels: int
    rate: int
    bits: int


def decode(data: bytes, name: str) -> tuple[NDArray[np.float32], int]:
    """Read a wav file: one channel of PCM of 8, 16, 24 or 32 bits, or of floats of 32 or 64.

    Sizes that the writer of a stream could not know are not believed: the samples then go on to the end.

    Args:
        data: the file.
        name: what messages call it.

    Returns:
        Samples, (N,) float32, those of PCM in [-1, 1); and how many there are a second.

    Raises:
        ValueError: no wav file, of another kind, cut off or empty, or with samples that are no numbers.
    """
    if len(data) < 12:
        raise invalid("a wav file must be whole", name, "Copy it again.")
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        what = _OTHERS.get(data[:4], "another file")
        raise invalid("a recording must be a wav file", f"{name}, which is {what}", _CONVERT)
    form, raw = _chunks(data, name)
    _check(form, name)
    width = form.bits // 8
    count = len(raw) // width
    if not count:
        raise invalid("a recording must have samples", name, "Leave it out.")
    samples = _samples(raw[: count * width], form)
    if not np.isfinite(samples).all():
        raise invalid("samples of a recording must be finite numbers", name, "Leave it out.")
    return samples, form.rate


def _chunks(data: bytes, name: str) -> tuple[_Format, bytes]:
    """Return the format and the samples' bytes; all other chunks are passed by, wherever they stand."""
    form, place = None, 12
    while place + 8 <= len(data):
        kind, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8
        if kind == b"data":
            if form is None:
                raise invalid("a wav file must say its format before its samples", name, _CONVERT)
            return form, _body(data, place, size, form, name)
        if kind == b"fmt ":
            form = _format(data[place : place + size], name)
        place += size + size % 2
    raise invalid("a wav file must be whole", f"{name}, which ends before its samples", "Copy it again.")


def _body(data: bytes, place: int, size: int, form: _Format, name: str) -> bytes:
    rest = len(data) - place
    if size >= _STREAM or (size == 0 and rest and not _are_chunks(data, place)):
        return data[place:]
    if size > rest:
        width = max(1, form.channels * form.bits // 8)
        value = f"{name} with {rest // width} of {size // width} samples"
        raise invalid("a wav file must be whole", value, "Copy it again.")
    return data[place : place + size]


def _are_chunks(data: bytes, place: int) -> bool:
    """Return whether the rest of a file is chunks to its end: what follows samples of which there are none."""
    while place + 8 <= len(data) and data[place : place + 4].isascii() and data[place : place + 4].isalnum():
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    return place >= len(data)


def _format(chunk: bytes, name: str) -> _Format:
    if len(chunk) < 16:
        raise invalid("a wav file must be whole", f"{name}, which ends in its format", "Copy it again.")
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if code == _EXTENSIBLE and len(chunk) >= 26:
        code = int.from_bytes(chunk[24:26], "little")  # the first two bytes of the subformat are the code
    return _Format(code, channels, rate, bits)


def _check(form: _Format, name: str) -> None:
    if form.code not in (_PCM, _FLOAT):
        rule = "a wav file must hold plain samples"
        raise invalid(rule, f"{name} in {_CODES.get(form.code, f'code {form.code}')}", _CONVERT)
    if form.channels != 1:
        raise invalid("a wav file must have one channel", f"{name} with {form.channels}", _CONVERT)
    if form.bits not in ((8, 16, 24, 32) if form.code == _PCM else (32, 64)):
        rule = "a wav file must have 8, 16, 24 or 32 bits a sample, or floats of 32 or 64"
        raise invalid(rule, f"{name} with {form.bits}", _CONVERT)
    if not form.rate:
        raise invalid("a wav file must say how many samples a second has", f"{name} with 0", _CONVERT)


def _samples(raw: bytes, form: _Format) -> NDArray[np.float32]:
    if form.code == _FLOAT:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            floats: NDArray[np.floating] = np.frombuffer(raw, f"<f{form.bits // 8}")
            return floats.astype(np.float32)
    if form.bits == 8:  # the one width without a sign
        return (np.frombuffer(raw, np.uint8) / 128 - 1).astype(np.float32)
    if form.bits == 24:
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return (padded.reshape(-1).view("<i4") / 2**31).astype(np.float32)
    whole: NDArray[np.integer] = np.frombuffer(raw, f"<i{form.bits // 8}")
    return (whole / 2.0 ** (form.bits - 1)).astype(np.float32)
