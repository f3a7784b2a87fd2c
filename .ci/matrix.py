"""Run the tests of the layers, and of the readers of tables, at the ends of what pyproject.toml allows.

`make matrix` makes an environment for each end, below `.venv-matrix`, and says by name which interpreter it did not
find. Torch comes from wherever pip is set up to take it; give MATRIX_PIP="--index-url …" for builds without CUDA, which
are a tenth of the size. The compiled core is that of the checkout: it serves every Python.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("MATRIX_FOLDER", ROOT / ".venv-matrix"))
TESTS = (
    *("tests/nn", "tests/ops", "tests/methods", "tests/uncertainty", "tests/optim", "tests/files"),
    *("tests/test_masks.py", "tests/test_losses.py", "tests/test_schedules.py", "tests/test_settings_tables.py"),
)
TOOLS = (
    "pytest",
    "pytest-xdist",
    "hatchling",
    "pyarrow",
    "charset-normalizer",
    "regex",
    "tomli; python_version < '3.11'",
)


@dataclass(frozen=True)
class End:
    """One end of what is allowed.

    Attributes:
        name: of its environment.
        pythons: interpreters that will do, the first that is found is taken.
        packages: what pip is asked for.
    """

    name: str
    pythons: tuple[str, ...]
    packages: tuple[str, ...]


ENDS = (
    End("oldest", ("python3.10",), ("torch==2.8.*", "numpy==1.26.*", "pandas==2.2.*")),
    End("newest", ("python3.15", "python3.14", "python3.13"), ("torch", "numpy", "pandas")),
)


def find_python(end: End) -> str | None:
    """Return the interpreter for an end: what PYTHON_OLDEST or PYTHON_NEWEST names, or the first one on PATH."""
    named = os.environ.get(f"PYTHON_{end.name.upper()}")
    return named or next((path for name in end.pythons if (path := shutil.which(name))), None)


def make_environment(end: End, python: str) -> Path:
    """Make the environment of an end unless it is there already; return its interpreter."""
    folder = FOLDER / end.name
    interpreter = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not (folder / "ready").exists():
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        options = shlex.split(os.environ.get("MATRIX_PIP", ""))
        install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
        subprocess.run([*install, *end.packages, *TOOLS], check=True)
        (folder / "ready").touch()
    return interpreter


def run_tests(end: End, interpreter: Path) -> bool:
    """Say what is installed, run the tests, and return whether they passed."""
    show = "import platform, torch, numpy, pandas as pd; print(platform.python_version(), torch.__version__, "
    show += "numpy.__version__, pd.__version__)"
    versions = subprocess.run([interpreter, "-c", show], capture_output=True, text=True, check=True).stdout.split()
    print(
        f"{end.name}: Python {versions[0]}, torch {versions[1]}, numpy {versions[2]}, pandas {versions[3]}", flush=True
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    # Dynamo says so on the one patch release of Python that this is true of, and the suite makes errors of warnings.
    slow_guards = ("-W", "ignore:Guards may run slower:RuntimeWarning")
    command = [interpreter, "-m", "pytest", "-n", "2", *slow_guards, *TESTS]
    return not subprocess.run(command, cwd=ROOT, env=environ).returncode


def main() -> int:
    """Run every end; return the exit code."""
    passed = []
    for end in ENDS:
        python = find_python(end)
        if python is None:
            print(f"{end.name}: skipped, for there is no {' or '.join(end.pythons)} on PATH")
            continue
        passed.append(run_tests(end, make_environment(end, python)))
    if not passed:
        print("no end was run")
    return int(not passed or not all(passed))


if __name__ == "__main__":
    raise SystemExit(main())
