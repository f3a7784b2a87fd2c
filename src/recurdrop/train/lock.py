"""One process at a time writes to a folder of runs. The lock is the system's own: it ends with its process."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.fabric.utilities.rank_zero import rank_zero_only

from recurdrop.errors import invalid
from recurdrop.records import is_left_over

_LOCK, _HOLDER = ".lock", ".lock-holder"


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Be the only process that writes to a folder, which must exist.

    Of the processes that train one model together, the first one holds the folder for all.

    Raises:
        ValueError: another process holds it; the message says which.
    """
    if getattr(rank_zero_only, "rank", 0):
        yield
        return
    try:
        lock = FileLock(folder / _LOCK).acquire(timeout=0)
    except Timeout:
        remedy = "Wait until it ends, or stop it; or choose another folder."
        raise invalid("one process at a time works in a folder", f"{folder}, where {_holder(folder)}", remedy) from None
    with lock:
        for part in (*folder.glob("*.part"), *folder.glob("*/*.part")):
            if is_left_over(part.name):
                part.unlink(missing_ok=True)
        (folder / _HOLDER).write_text(f"process {os.getpid()} on {platform.node()} works", encoding="utf-8")
        yield


def is_empty(folder: Path) -> bool:
    """Return whether a folder holds nothing, or only what processes leave that were stopped before they wrote."""
    return all(path.name in (_LOCK, _HOLDER) or is_left_over(path.name) for path in folder.iterdir())


def _holder(folder: Path) -> str:
    try:
        return (folder / _HOLDER).read_text(encoding="utf-8")[:200]
    except (OSError, ValueError):
        return "another one works"
