"""What a measurement ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from benchmarks.rows import Settings
from recurdrop.ops.dispatch import BACKENDS, backends

PACKAGES = ("recurdrop", "torch", "keras", "jax")


def conditions(settings: Settings) -> dict[str, object]:
    """Return machine, threads, versions, commit and what our kernels use of the processor."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "vector width": _vector_width(),
        "backends": [name for name, missing in backends() if missing is None],
        "threads": settings.threads,
        "rounds": settings.rounds,
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed since": bool(_git("status", "--porcelain")),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _vector_width() -> object:
    """Return the vectors that the native backend uses, if there is one and it says."""
    say = getattr(getattr(BACKENDS.get("native"), "library", None), "vector", None)
    return say() if callable(say) else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
