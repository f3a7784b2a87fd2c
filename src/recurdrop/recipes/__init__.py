"""Published settings, one TOML file each; this part holds data alone."""

from __future__ import annotations

import sys
from importlib import resources
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib as tomllib
else:
    import tomli as tomllib


def names() -> list[str]:
    """Return the names of all recipes, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def tables(name: str) -> dict[str, Any]:
    """Return the tables of a recipe.

    Args:
        name: one of `names()`.
    """
    return tomllib.loads(resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
