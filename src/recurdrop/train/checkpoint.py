"""Checkpoints without code in them: one safetensors file that holds tensors, and as JSON how they hang together."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from recurdrop.errors import invalid
from recurdrop.records import write_bytes

FORMAT = "recurdrop checkpoint 1"
_REMEDY = "Give another file, or remove it and start again."


def write_checkpoint(path: Path, state: Any, about: str = "") -> str:
    """Write a state whole or not at all, even when killed.

    Args:
        path: of the file.
        state: dicts, lists, tuples, numbers, text, None and tensors, nested.
        about: what the state belongs to; reading asks for the same.

    Returns:
        The digest of the state, as `checkpoint_digest` reads it.

    Raises:
        TypeError: something else in it.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_plain(state, tensors), allow_nan=False)
    digest = _digest(tree, tensors)
    metadata = {"format": FORMAT, "about": about, "tree": tree, "sha256": digest}
    write_bytes(path, save(tensors, metadata))
    return digest


def read_checkpoint(path: Path, about: str | None = None) -> Any:
    """Read a state.

    Args:
        path: of the file.
        about: what it must belong to; None for anything.

    Raises:
        ValueError: the file is missing, damaged, of another program, or belongs to something else.
    """
    with _opened(path) as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        tree = metadata.get("tree", "")
        digest = _digest(tree, tensors)
    if metadata.get("sha256") != digest:
        raise invalid("a checkpoint must be as it was written, and its checksum differs", str(path), _REMEDY)
    if about is not None and metadata.get("about") != about:
        raise invalid("a checkpoint must be of this run's data and settings", str(path), _REMEDY)
    try:
        return _state(json.loads(tree), tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        value = f"{path} ({type(error).__name__} in its tree)"
        raise invalid("a checkpoint must hold what recurdrop writes", value, _REMEDY) from None


def checkpoint_digest(path: Path) -> str:
    """Return the digest of the state in a file, as it says; `read_checkpoint` finds out whether that is true.

    Raises:
        ValueError: the file is missing, damaged or of another program.
    """
    with _opened(path) as file:
        return str(file.metadata().get("sha256"))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a checkpoint; whatever is wrong with the file while it is open becomes one `ValueError`."""
    if not path.is_file():
        raise invalid("a checkpoint must be a file", str(path), _REMEDY)
    try:
        with safe_open(path, framework="pt") as file:
            is_ours = (file.metadata() or {}).get("format") == FORMAT
            if is_ours:
                yield file
    except (SafetensorError, OSError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        first_line = str(error).partition("\n")[0]
        raise invalid("a checkpoint must be a whole safetensors file", f"{path} ({first_line})", _REMEDY) from None
    if not is_ours:
        raise invalid("a checkpoint must be one of recurdrop's", str(path), _REMEDY)


class SafeCheckpoints(CheckpointIO):
    """Lightning's checkpoints in this format.

    Args:
        about: what they belong to.
    """

    def __init__(self, about: str = "") -> None:
        self.about = about

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one."""
        write_checkpoint(Path(path), checkpoint, self.about)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        """Read one, on the CPU."""
        state: dict[str, Any] = read_checkpoint(Path(path), self.about)
        return state

    def remove_checkpoint(self, path: Any) -> None:
        """Remove one."""
        os.remove(path)


def _digest(tree: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return what JSON can hold; tensors go into `tensors`, and what JSON lacks becomes an object with one key."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[_plain(key, tensors), _plain(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_plain(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_plain(item, tensors) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds plain values and tensors; got {type(value).__name__}. Convert it first.")


def _state(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_state(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "float":
        return float(inner)
    if kind == "tuple":
        return tuple(_state(item, tensors) for item in inner)
    if kind != "items":
        raise ValueError(kind)
    return {_state(key, tensors): _state(item, tensors) for key, item in inner}
