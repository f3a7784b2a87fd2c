"""Short recordings of words as wav files: a folder, or Free Spoken Digits as published."""

from __future__ import annotations

import hashlib
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from recurdrop.errors import invalid
from recurdrop.files.wav import decode

ARCHIVE = "fsdd.tar.gz"
TEST, VALID = 5, 10
"""Of numbered recordings, those below `TEST` test (the official split) and others below `VALID` validate."""
_LARGEST = 1 << 26
_NUMBERED = re.compile(r"[^_]+_.+_(\d+)")


@dataclass(frozen=True)
class Recordings:
    """Words, each in a recording of its own.

    Attributes:
        name: of the folder or archive.
        sha256: of the files' names and contents; the same for a folder and an archive of it.
        rate: samples a second, the same in all.
        labels: what is said, sorted.
        files: the files' names, sorted.
        waves: samples in [-1, 1) where the file holds whole numbers, (N_i,) float32 each.
        targets: for each recording the place of its label, (R,) int64.
        parts: "train", "valid" and "test": places of their recordings.
    """

    name: str
    sha256: str
    rate: int
    labels: tuple[str, ...]
    files: tuple[str, ...]
    waves: tuple[NDArray[np.float32], ...]
    targets: NDArray[np.int64]
    parts: Mapping[str, NDArray[np.int64]]


def read_wave(path: Path, rate: int) -> NDArray[np.float32]:
    """Read one wav file of a known rate, as `decode` does.

    Raises:
        ValueError: no readable wav file, or another rate.
    """
    if not path.is_file():
        raise invalid("a recording must be a file that exists", str(path), "Check the path.")
    samples, found = decode(path.read_bytes(), str(path))
    if found != rate:
        remedy = f"Resample it, e.g. with ffmpeg -i IN -ar {rate} OUT.wav."
        raise invalid(f"{path.name} must have {rate} samples a second, as the others", found, remedy)
    return samples


def read(source: Path) -> Recordings:
    """Read recordings of labelled words.

    Labels: the subfolder, where wav files lie in two or more of them (`yes/1.wav`); else the file's name up to the
    first underscore (`yes_1.wav`). Folders named `background` or beginning with an underscore are left out.

    Parts: where all names are `label_speaker_index` and every label so has recordings in each part, the official split
    of Free Spoken Digits: indices 0-4 test, 5-9 validate (cut from the official training part), the rest train. Else
    an eighth of each label's recordings tests and an eighth validates, chosen by the files' order after a fixed
    shuffle.

    Args:
        source: a folder with wav files, subfolders, `recordings/` or `fsdd.tar.gz`; or a .tar.gz file, read in memory.

    Raises:
        ValueError: nothing to read, a damaged file, recordings of several rates, or fewer than two labels.
    """
    contents = _contents(source)
    samples, rates = zip(*(decode(data, name) for name, data in contents.items()), strict=True)
    files = tuple(contents)
    rate = rates[0]
    for file, other in zip(files, rates, strict=True):
        if other != rate:
            remedy = f"Resample it, e.g. with ffmpeg -i IN -ar {rate} OUT.wav."
            raise invalid(f"{file} must have {rate} samples a second, as {files[0]}", other, remedy)
    named = _labels(files)
    labels = tuple(sorted(set(named)))
    if len(labels) < 2:
        raise invalid("recordings must have two labels or more", f"{source} with {labels[0]!r} alone", "Add others.")
    targets = np.array([labels.index(label) for label in named], dtype=np.int64)
    digest = hashlib.sha256()
    for name, data in contents.items():
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    parts = _official(files, targets) or _eighths(targets)
    return Recordings(source.name, digest.hexdigest(), rate, labels, files, samples, targets, parts)


def _contents(source: Path) -> dict[str, bytes]:
    """Return wav files by their path below the folder that holds them all, sorted."""
    if source.is_file():
        found = _members(source)
    elif (source / ARCHIVE).is_file():
        found = _members(source / ARCHIVE)
    elif source.is_dir():
        top = source / "recordings" if (source / "recordings").is_dir() else source
        paths = [path for path in top.rglob("*") if _is_recording(path.name) and path.is_file()]
        found = {path.relative_to(top).as_posix(): path.read_bytes() for path in paths}
    else:
        raise invalid("recordings must be a folder or a .tar.gz file that exists", str(source), "Check the path.")
    wanted = {PurePosixPath(name): data for name, data in found.items()}
    wanted = {name: data for name, data in wanted.items() if not any(map(_left_out, name.parts[:-1]))}
    if not wanted:
        raise invalid("recordings must have wav files", str(source), "Give the folder that holds them.")
    while all(len(name.parts) > 1 for name in wanted) and len({name.parts[0] for name in wanted}) == 1:
        wanted = {PurePosixPath(*name.parts[1:]): data for name, data in wanted.items()}
    return {str(name): wanted[name] for name in sorted(wanted, key=str)}


def _is_recording(name: str) -> bool:
    """Return whether a file is a wav file by its name; hidden ones, such as macOS keeps beside files, are not."""
    return name.lower().endswith(".wav") and not name.startswith(".")


def _left_out(folder: str) -> bool:
    return folder == "background" or folder.startswith("_")


def _members(path: Path) -> dict[str, bytes]:
    """Return the wav files of an archive by name; nothing is written to disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if not _is_recording(name.name) or member.isdir():
                    continue
                if not member.isfile() or name.is_absolute() or ".." in name.parts or member.size > _LARGEST:
                    rule = f"an archive's wav files must be plain files inside it, of {_LARGEST >> 20} MiB at most"
                    raise invalid(rule, f"{member.name} in {path}", "Take the published archive.")
                file = archive.extractfile(member)
                found[str(name)] = b"" if file is None else file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise invalid("an archive must be a whole .tar.gz file", f"{path} ({error})", "Fetch it again.") from None
    return found


def _labels(files: Sequence[str]) -> list[str]:
    paths = [PurePosixPath(file) for file in files]
    alone = [path for path in paths if len(path.parts) == 1]
    if 0 < len(alone) < len(paths):
        rule = "wav files must lie in a folder for each label, or all side by side"
        raise invalid(rule, f"{alone[0]} beside folders", "Put it into the folder of its label.")
    parts = {path.parts[0] for path in paths if len(path.parts) > 2} & {"train", "valid", "val", "test"}
    if len(parts) > 1:
        rule = "recordings must lie in one folder a label, for they are cut into parts here"
        raise invalid(rule, f"folders {', '.join(sorted(parts))}", "Put all recordings of a label together.")
    folders = [path.parent.name for path in paths]  # "" where they lie side by side
    if len(set(folders)) > 1:
        return folders
    stems = [path.stem for path in paths]
    for stem in stems:
        if "_" not in stem:
            remedy = "Rename it, or give each label a folder."
            raise invalid("a wav file's name must begin with its label and an underscore", f"{stem}.wav", remedy)
    return [stem.partition("_")[0] for stem in stems]


def _official(files: Sequence[str], targets: NDArray[np.int64]) -> dict[str, NDArray[np.int64]] | None:
    matches = [_NUMBERED.fullmatch(PurePosixPath(file).stem) for file in files]
    if not all(matches):
        return None
    numbers = np.array([int(match[1]) for match in matches if match])
    parts = {
        "train": np.flatnonzero(numbers >= VALID),
        "valid": np.flatnonzero((numbers >= TEST) & (numbers < VALID)),
        "test": np.flatnonzero(numbers < TEST),
    }
    everywhere = set(targets.tolist())
    return parts if all(set(targets[places].tolist()) == everywhere for places in parts.values()) else None


def _eighths(targets: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "valid": [], "test": []}
    for label, count in sorted(Counter(targets.tolist()).items()):
        if count < 3:
            remedy = "Record more, or leave the label out."
            raise invalid("each label must have 3 recordings or more, one for each part", f"one with {count}", remedy)
        held = max(1, count // 8)
        order = np.random.default_rng((0, label)).permutation(np.flatnonzero(targets == label))
        for part, places in zip(parts, (order[2 * held :], order[:held], order[held : 2 * held]), strict=True):
            parts[part].append(places)
    return {part: np.sort(np.concatenate(places)) for part, places in parts.items()}
