"""Wave files, made as the tests need them."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable


def wav(samples: Iterable[float], rate: int = 8000, *, width: int = 2, channels: int = 1) -> bytes:
    """Return a file of these samples, which are numbers of `width` bytes."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", "not compressed"))
        file.writeframes(b"".join(round(s).to_bytes(width, "little", signed=width > 1) for s in samples))
    return buffer.getvalue()
