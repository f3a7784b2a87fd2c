"""Text in whatever encoding a file was written."""

from __future__ import annotations

import codecs
from pathlib import Path

from recurdrop.errors import invalid

SAMPLE = 1 << 18
"""Bytes from which an encoding is guessed."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the mark of UTF-16, so it is asked for first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SHOWN = 4


def decode(data: bytes, path: Path, encoding: str | None = None) -> tuple[str, str]:
    """Return the text of a file and the name of its encoding.

    The encoding is the one given; or the one that a byte order mark names; or UTF-8 where the bytes are valid UTF-8; or
    the best guess of `charset_normalizer`, where no other reading of the file ranks as high.

    Args:
        data: what the file holds.
        path: of the file, for messages.
        encoding: its name as Python knows it, or None to detect it.

    Raises:
        ValueError: there is no such encoding, the file isn't written in it, or none can be told.
    """
    if encoding is not None:
        return _decode_as(data, path, encoding), encoding
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _decode_as(data, path, name), name.removesuffix("-sig")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _guess(data, path)


def _decode_as(data: bytes, path: Path, encoding: str) -> str:
    try:
        if not codecs.lookup(encoding)._is_text_encoding:  # such as "hex", which makes no text
            raise LookupError
        text = data.decode(encoding)
    except LookupError:
        raise invalid("data.encoding must be an encoding of Python", encoding, "Give e.g. utf-8 or gbk.") from None
    except UnicodeError as error:
        where = f"{path} ({' '.join(str(error).split())[-80:]})"
        raise invalid(f"the file must be {encoding}", where, "Name another encoding as data.encoding.") from None
    return text.removeprefix("\ufeff")


def _guess(data: bytes, path: Path) -> tuple[str, str]:
    remedy = "Name its encoding as data.encoding, e.g. cp1252 or gbk, or convert it: iconv -t utf-8."
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        raise invalid(
            "the text must be UTF-8 where charset-normalizer is not installed",
            str(path),
            f"{remedy} Or: pip install 'recurdrop[data]'.",
        ) from None
    sample = data[:SAMPLE]
    # Whole lines only: the end of the sample may fall between the bytes of one character.
    guesses = from_bytes(sample[: sample.rfind(b"\n") + 1] if len(data) > SAMPLE and b"\n" in sample else sample)
    best = guesses.best()
    if best is None:
        raise invalid("the encoding of the text must be one that can be told", str(path), remedy)
    rivals = [
        guess.encoding
        for guess in guesses
        if str(guess) != str(best) and (guess.chaos, -guess.coherence) <= (best.chaos, -best.coherence)
    ]
    if rivals:
        shown = ", ".join([best.encoding, *rivals][:_SHOWN])
        raise invalid("the encoding of the text must be clear", f"{path}, which may be {shown}", remedy)
    return _decode_as(data, path, best.encoding), best.encoding
