from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from recurdrop.cli import main

# Tables and help are printed as they are without a terminal. The environment may ask for a width that breaks their
# words, or for colours between them; Typer reads its variables when its pages of help are first imported.
os.environ["COLUMNS"] = "80"
for _name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """The lines of stderr behind the account of the data."""
        return [line for line in self.err.splitlines() if not line.startswith("data: ")]


@pytest.fixture
def recurdrop(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Outcome]:
    """Run the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["recurdrop", *words])
        with pytest.raises(SystemExit) as stop:
            main(words)
        out, err = capfd.readouterr()
        return Outcome(stop.value.code, out, err)  # type: ignore[arg-type]

    return run


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text that is just long enough for `SMALL`."""
    path = tmp_path / "small text.txt"
    path.write_text("a dog sees the cat .\nthe cat sees a dog and a cow .\n" * 30)
    return path
