"""The best weights of a run, bound to its checkpoint: of two files, never one of another run or of an earlier time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from recurdrop.errors import invalid
from recurdrop.train.checkpoint import checkpoint_digest, read_checkpoint, write_checkpoint

BEST, NEXT = "best.safetensors", "best-next.safetensors"
"""The weights that the checkpoint names by their digest, and those that its successor is about to name."""


def prepare_best(folder: Path, weights: dict[str, Tensor], about: str) -> str:
    """Write weights beside the best ones of before, and return the digest by which the next checkpoint names them."""
    return write_checkpoint(folder / NEXT, weights, about)


def take_next(folder: Path) -> None:
    """Put the weights in their place, once a checkpoint names them."""
    if (folder / NEXT).exists():
        (folder / NEXT).replace(folder / BEST)


def read_best(folder: Path, about: str, saved: Mapping[str, Any]) -> tuple[dict[str, Tensor], str | None]:
    """Read the best weights that a checkpoint names.

    Args:
        folder: of the run.
        about: what the run is of.
        saved: what the checkpoint says of the run. Without `best`, it was written before checkpoints named their
            weights; then those in the folder are taken.

    Returns:
        The weights and their digest; empty and None where no epoch has had a validation loss.

    Raises:
        ValueError: the weights are missing, damaged, or not those that the checkpoint names.
    """
    is_named, digest = "best" in saved, saved.get("best")
    present = [path for path in (folder / BEST, folder / NEXT) if path.exists()]
    for path in present if is_named else present[:1]:
        if not is_named or checkpoint_digest(path) == digest:
            return read_checkpoint(path, about), checkpoint_digest(path)
    if digest is not None or (is_named and (folder / BEST) in present):
        rule = "the best weights of a run must be those that its checkpoint names"
        what = "is of another run, or of another time" if (folder / BEST) in present else "is missing"
        raise invalid(rule, f"{folder / BEST}, which {what}", "Put back the one that belongs to it, or train anew.")
    return {}, None


def load_weights(model: nn.Module, weights: Any, origin: object) -> None:
    """Load weights into a model of the same shape.

    Args:
        model: gets the weights.
        weights: by the names in the model's `state_dict`.
        origin: the file that they are from, for messages.

    Raises:
        ValueError: names, shapes or types that are not the model's; the message names the first three.
    """
    wanted = model.state_dict()
    given = weights if isinstance(weights, dict) else {}
    problems = [f"{name} is missing" for name in wanted if name not in given]
    problems += [f"{name!r} is not in the model" for name in given if name not in wanted]
    for name, tensor in wanted.items():
        other = given.get(name, tensor)
        if not isinstance(other, Tensor):
            problems.append(f"{name} is no tensor")
        elif other.shape != tensor.shape or other.is_floating_point() != tensor.is_floating_point():
            shown = f"{other.dtype} {tuple(other.shape)} and not {tensor.dtype} {tuple(tensor.shape)}"
            problems.append(f"{name} is {shown}")
    if problems:
        rest = [f"and {len(problems) - 3} more"] * (len(problems) > 3)
        value = f"{origin}: {', '.join([*problems[:3], *rest])}"
        raise invalid("weights must be those of the model", value, "Give the file that belongs to it, or train anew.")
    model.load_state_dict(given)
