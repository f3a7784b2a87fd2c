"""What a run ran on: packages, machine, settings, text."""

from __future__ import annotations

import dataclasses
import platform
from importlib import metadata
from typing import Any

import torch
from torch import nn

import recurdrop as rd
from recurdrop.data.text import Corpus
from recurdrop.train.config import Config

PACKAGES = ("recurdrop", "torch", "numpy", "lightning", "typer", "rich", "matplotlib", "jinja2")


def versions() -> dict[str, str]:
    """Return the version of Python and of each package, "not installed" where it is not."""
    return {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def describe_run(model: nn.Module, corpus: Corpus, config: Config) -> dict[str, Any]:
    """Return the fields of a record that say what ran: `config`, `text`, `versions`, `machine`."""
    backends = sorted({use.backend for use in rd.describe(model).uses})
    return {
        "config": dataclasses.asdict(config),
        "text": {
            "name": corpus.name,
            "sha256": corpus.sha256,
            "vocabulary": len(corpus.words),
            "train": len(corpus.train),
            "valid": len(corpus.valid),
            "test": len(corpus.test),
        },
        "versions": versions(),
        "machine": {
            "platform": platform.platform(),
            "threads": torch.get_num_threads(),
            "backend": ", ".join(backends) or "torch",
        },
    }
