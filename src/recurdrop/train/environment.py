"""What a run ran on: packages and machine."""

from __future__ import annotations

import platform
from importlib import metadata

from torch import nn

import recurdrop as rd

PACKAGES = ("recurdrop", "torch", "numpy", "lightning", "typer", "rich", "matplotlib", "jinja2")


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
