"""What a run ran on: packages, machine, threads."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

import torch
from torch import nn

import recurdrop as rd

PACKAGES = (
    *("recurdrop", "torch", "numpy", "lightning", "safetensors", "pandas", "pyarrow", "datasets", "sacrebleu"),
    *("tensorboard", "typer", "rich", "matplotlib", "jinja2"),
)


def versions() -> dict[str, str]:
    """Return the version of Python and of each package, "not installed" where it is not."""
    return {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


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
