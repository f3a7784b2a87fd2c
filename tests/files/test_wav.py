"""Wav files as programs write them: every one is read to the last sample, or refused in one line that says why."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from recurdrop.files.wav import decode
from waves import wav

VALUES = [-0.75, 0.0, 0.25, 0.5]
GUID = bytes.fromhex("000000001000800000aa00389b71")


def chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def form(code: int = 1, bits: int = 16, *, channels: int = 1, rate: int = 8000, extra: bytes = b"") -> bytes:
    width = bits // 8 * channels
    return chunk(b"fmt ", struct.pack("<HHIIHH", code, channels, rate, rate * width, width, bits) + extra)


def extensible(code: int, bits: int) -> bytes:
    return form(0xFFFE, bits, extra=struct.pack("<HHIH", 22, bits, 4, code) + GUID)


def whole(bits: int) -> bytes:
    numbers = [round(value * 2 ** (bits - 1)) + (128 if bits == 8 else 0) for value in VALUES]
    return b"".join(number.to_bytes(bits // 8, "little", signed=bits > 8) for number in numbers)


FLOATS = {32: np.array(VALUES, "<f4").tobytes(), 64: np.array(VALUES, "<f8").tobytes()}
PCM = whole(16)
LIST = chunk(b"LIST", b"INFOISFT\x0e\0\0\0Lavf58.29.100\0")
ODD = chunk(b"junk", b"odd")  # a body of an odd length is padded

GOOD = {
    "8 bits": riff(form(bits=8), chunk(b"data", whole(8))),
    "16 bits": riff(form(), chunk(b"data", PCM)),
    "24 bits": riff(form(bits=24), chunk(b"data", whole(24))),
    "32 bits": riff(form(bits=32), chunk(b"data", whole(32))),
    "float": riff(form(3, 32), chunk(b"data", FLOATS[32])),
    "float with cbSize": riff(form(3, 32, extra=b"\0\0"), chunk(b"fact", b"\4\0\0\0"), chunk(b"data", FLOATS[32])),
    "double": riff(form(3, 64), chunk(b"data", FLOATS[64])),
    "extensible 16": riff(extensible(1, 16), chunk(b"data", PCM)),
    "extensible 24": riff(extensible(1, 24), chunk(b"data", whole(24))),
    "extensible float": riff(extensible(3, 32), chunk(b"data", FLOATS[32])),
    "LIST before": riff(form(), LIST, chunk(b"data", PCM)),
    "LIST after": riff(form(), chunk(b"data", PCM), LIST),
    "odd chunk before": riff(ODD, form(), ODD, chunk(b"data", PCM)),
    "LIST that goes on beyond the file": riff(form(), chunk(b"data", PCM), chunk(b"LIST", b"INFO", 9999)),
    "RIFF too large": riff(form(), chunk(b"data", PCM), size=123456),
    "RIFF too small": riff(form(), chunk(b"data", PCM), size=20),
    "bytes after the RIFF": riff(form(), chunk(b"data", PCM)) + b"TAG of an old program",
    "stream of ffmpeg": riff(form(), LIST, chunk(b"data", PCM, 0xFFFFFFFF), size=0xFFFFFFFF),
    "stream of sox": riff(form(), chunk(b"data", PCM, 0x7FFFF000), size=0x7FFFF024),
    "stream of arecord": riff(form(), chunk(b"data", PCM, 0x80000000), size=0x80000024),
    "stream with sizes 0": riff(form(), chunk(b"data", PCM, 0), size=0),
    "stream cut within a sample": riff(form(), chunk(b"data", PCM, 0xFFFFFFFF), size=0xFFFFFFFF) + b"\1",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_file_is_read_to_its_last_sample(name: str) -> None:
    samples, rate = decode(GOOD[name], "a.wav")
    assert (samples.dtype, rate) == (np.float32, 8000)
    assert samples.tolist() == VALUES


def test_samples_of_8_and_16_bits_are_fractions_of_full_scale() -> None:
    samples, rate = decode(wav([-32768, 0, 1, 32767], rate=11025), "a.wav")
    assert rate == 11025
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1, 0, 1 / 32768, 32767 / 32768]
    assert decode(wav([0, 128, 129, 255], width=1), "a.wav")[0].tolist() == [-1, 0, 1 / 128, 127 / 128]


def test_the_widths_of_pcm_have_one_scale() -> None:
    for width in (3, 4):
        most = 2 ** (8 * width - 1)
        samples = decode(wav([-most, -1, 1, most // 2], width=width), "a.wav")[0]
        assert samples.tolist() == [-1, np.float32(-1 / most), np.float32(1 / most), 0.5]


BAD = [
    (wav([1, 2, 3, 4], channels=2), "one channel; got 'a.wav with 2'. Convert it"),
    (wav([1, 2, 3, 4])[:-2], "whole; got 'a.wav with 3 of 4 samples'. Copy it again"),
    (wav([1, 2])[:30], "whole; got 'a.wav, which ends in its format'. Copy it again"),
    (wav([1, 2])[:38], "whole; got 'a.wav, which ends before its samples'. Copy it again"),
    (wav([]), "must have samples; got 'a.wav'. Leave it out"),
    (riff(form(), chunk(b"data", b""), LIST), "must have samples; got 'a.wav'. Leave it out"),
    (riff(form(), chunk(b"data", b"", 0xFFFFFFFF)), "must have samples; got 'a.wav'. Leave it out"),
    (b"ID3\x04 not a wav file at all", "must be a wav file; got 'a.wav, which is an MP3 file'. Convert it"),
    (b"fLaC and so on ...", "must be a wav file; got 'a.wav, which is a FLAC file'. Convert it"),
    (b"<html>no such page</html>", "must be a wav file; got 'a.wav, which is another file'. Convert it"),
    (b"", "must be whole; got 'a.wav'. Copy it again"),
    (riff(form(6, 8), chunk(b"data", b"\1\2")), "plain samples; got 'a.wav in A-law'. Convert it"),
    (riff(extensible(7, 8), chunk(b"data", b"\1\2")), "plain samples; got 'a.wav in mu-law'. Convert it"),
    (riff(form(99, 8), chunk(b"data", b"\1\2")), "plain samples; got 'a.wav in code 99'. Convert it"),
    (riff(form(1, 12), chunk(b"data", b"\1\2")), "64; got 'a.wav with 12'. Convert it"),
    (riff(form(1, 0), chunk(b"data", b"\1\2")), "64; got 'a.wav with 0'. Convert it"),
    (riff(form(rate=0), chunk(b"data", PCM)), "how many samples a second has; got 'a.wav with 0'. Convert it"),
    (riff(chunk(b"data", PCM), form()), "its format before its samples; got 'a.wav'. Convert it"),
    (riff(form(3, 32), chunk(b"data", struct.pack("<2f", 1, np.nan))), "finite numbers; got 'a.wav'. Leave it out"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[message.split("'")[0][-25:] for _, message in BAD])
def test_what_cannot_be_read_is_refused_with_its_remedy(data: bytes, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (the message is compared below)
        decode(data, "a.wav")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_bytes_are_a_traceback() -> None:
    """Every file cut anywhere, and every one with a byte changed, is read or refused."""
    draw = np.random.default_rng(3)
    for data in GOOD.values():
        broken = [data[:end] for end in range(len(data))]
        for place in range(len(data)):
            changed = bytearray(data)
            changed[place] = draw.integers(256)
            broken.append(bytes(changed))
        for each in broken:
            try:
                samples, rate = decode(each, "a.wav")
                assert samples.size > 0 and rate > 0
            except ValueError as error:  # noqa: PERF203
                assert "a.wav" in str(error)  # noqa: PT017
