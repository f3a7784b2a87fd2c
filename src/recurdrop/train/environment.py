"""What a run ran on: packages, machine, threads."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

import recurdrop as rd

PACKAGES = (
    *("recurdrop", "torch", "numpy", "lightning", "safetensors", "pandas", "pyarrow", "datasets", "sacrebleu"),
    *("tensorboard", "typer", "rich", "matplotlib", "jinja2"),
)


def versions() -> dict[str, str]:
    """Return the version of Python and of each package, "not installed" where it is not.

    Torch's is the one that it says of itself: with the suffix of its build, such as "+cpu", which its package may lack.
    """
    have = {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}}
    return have | {"torch": torch.__version__}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def source_commit() -> str:
    """Return the commit of the source that runs, "-dirty" behind it where it was changed; "" without a git checkout."""
    root = Path(__file__).parents[3]
    if not ((root / ".git").exists() and (root / "pyproject.toml").exists()):
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=7", "--dirty", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):  # no git at hand, or a disk that sleeps
        return ""
    return said.stdout.strip()


def machine(model: nn.Module, threads: int) -> dict[str, str | int]:
    """Return platform, threads, and the backends that run a model in training."""
    backends = sorted({use.backend for use in rd.describe(model.train()).uses})
    return {"platform": platform.platform(), "threads": threads, "backend": ", ".join(backends) or "torch"}


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch have one thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
