"""The folder of a comparison: bound to its settings, one record a run, nothing half written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from recurdrop import records
from recurdrop.errors import invalid
from recurdrop.records import RunRecord
from recurdrop.train.checkpoint import read_checkpoint, write_checkpoint
from recurdrop.train.lock import is_empty, only_process


@dataclass(frozen=True)
class Folder:
    """Where the runs of one comparison live.

    Attributes:
        path: holds `settings.json`, `runs/`, `weights/`, and what the report adds.
    """

    path: Path

    def bind(self, settings: dict[str, Any]) -> None:
        """Make the folder, or check that it is a comparison with the same settings.

        Raises:
            ValueError: it can't be written, holds something else, or has other settings.
        """
        settings = records.plain(settings)
        file = self.path / "settings.json"
        elsewhere = "Choose another folder with --out."
        try:
            if not file.exists() and self.path.is_dir() and not is_empty(self.path):
                raise invalid("--out must be a new folder or one of an earlier comparison", str(self.path), elsewhere)
            self.path.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                with only_process(self.path):
                    if not file.exists():
                        records.write_json(file, settings)
            (self.path / "runs").mkdir(exist_ok=True)
            (self.path / "weights").mkdir(exist_ok=True)
            found = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            value = f"{self.path} ({error.strerror})"
            raise invalid("--out must be a folder that can be written", value, elsewhere) from None
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            raise invalid("settings.json must be JSON", str(file), elsewhere) from None
        if found != settings:
            raise invalid("--out must hold runs with the settings asked for", _clash(found, settings), elsewhere)

    def run(self, label: str, seed: int) -> Path:
        """Return the path of a run's record."""
        return self.path / "runs" / f"{slug(label)}-seed{seed}.json"

    def weights(self, label: str, seed: int) -> Path:
        """Return the path of a run's best weights."""
        return self.path / "weights" / f"{slug(label)}-seed{seed}.safetensors"

    def save(self, record: RunRecord, weights: dict[str, Tensor]) -> None:
        """Keep a finished run; the record is written last, and whole."""
        path = self.weights(record.method, record.seed)
        write_checkpoint(path, weights, f"{record.method}, seed {record.seed}")
        records.write(self.run(record.method, record.seed), record)

    def load(self, label: str, seed: int) -> RunRecord | None:
        """Return the record of a finished run, None if there is none, or no weights beside it.

        Raises:
            ValueError: the record is damaged, or of another run.
        """
        path = self.run(label, seed)
        if not path.exists():
            return None
        record = records.read(path)
        if (record.method, record.seed) != (label, seed):
            rule = f"{path} must be the record of {label}, seed {seed}"
            raise invalid(rule, f"that of {record.method}, seed {record.seed}", "Remove the file.")
        return record if self.weights(label, seed).exists() else None

    def load_weights(self, label: str, seed: int) -> dict[str, Tensor]:
        """Return the best weights of a finished run.

        Raises:
            ValueError: they are missing, damaged, or of another run.
        """
        path = self.weights(label, seed)
        try:
            weights: dict[str, Tensor] = read_checkpoint(path, f"{label}, seed {seed}")
        except ValueError as error:
            what = str(error).split(". Give another file")[0]
            raise invalid(
                "weights of a run must be whole", what, "Remove the file, and the run is done again."
            ) from None
        return weights


def slug(label: str) -> str:
    """Return a label as a file name: `zoneout:c=0.5,h=0.1` is `zoneout-c-0.5-h-0.1`."""
    return re.sub(r"[^a-z0-9_.]+", "-", label.lower()).strip("-.")


def _clash(found: Any, settings: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "a settings.json of another kind"
    names = [name for name in {**settings, **found} if found.get(name) != settings.get(name)]
    return ", ".join(f"{name} {found.get(name)} (now {settings.get(name)})" for name in names)
