"""Polyphonic music as piano rolls."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.files.tables import content

LOWEST, KEYS = 21, 88
_PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Music:
    """Pieces of music, each (T, 88) bool: which keys of a piano sound in each of T frames; key 0 is MIDI note 21.

    Attributes:
        name: of the file.
        sha256: of its bytes, unpacked.
        train: pieces of the training part.
        valid: of the validation part.
        test: of the test part.
    """

    name: str
    sha256: str
    train: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    test: tuple[Tensor, ...]


def read_music(path: Path) -> Music:
    """Read a JSON file {"train": pieces, "valid": ..., "test": ...}; a piece is frames, a frame MIDI note numbers.

    Raises:
        ValueError: the file is missing, damaged or of another form, or a note is none of a piano's 88 keys.
    """
    data = content(path)
    try:
        found = json.loads(data)
    except ValueError as error:
        raise invalid("music must be a JSON file", f"{path} ({error})", "Give e.g. JSB_Chorales.json.") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(part), list) and found[part] for part in _PARTS):
        keys = sorted(found) if isinstance(found, dict) else type(found).__name__
        rule = f"music must have the parts {', '.join(_PARTS)}, each a list of pieces"
        raise invalid(rule, keys, "Give e.g. JSB_Chorales.json.")
    parts = (
        tuple(_roll(piece, f"piece {place} of {part}") for place, piece in enumerate(found[part])) for part in _PARTS
    )
    return Music(path.name, hashlib.sha256(data).hexdigest(), *parts)


def _roll(piece: Any, where: str) -> Tensor:
    if not isinstance(piece, list) or not piece or not all(isinstance(frame, list) for frame in piece):
        raise invalid("a piece must be a list of frames, one or more", where, "Leave it out.")
    roll = np.zeros((len(piece), KEYS), dtype=np.bool_)
    for step, frame in enumerate(piece):
        for note in frame:
            if not isinstance(note, int) or not LOWEST <= note < LOWEST + KEYS:
                rule = f"a note must be a whole number from {LOWEST} to {LOWEST + KEYS - 1}"
                raise invalid(rule, f"{note!r} in frame {step} of {where}", "Give MIDI numbers of a piano's keys.")
            roll[step, note - LOWEST] = True
    return torch.from_numpy(roll)
