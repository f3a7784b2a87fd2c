"""The `recurdrop` command, one file a subcommand."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import typer
    from rich.console import Console


def fail(message: str) -> NoReturn:
    """Print one line on stderr and exit with code 2."""
    sys.stderr.write(f"recurdrop: {' '.join(message.split())}\n")
    raise SystemExit(2)


def need(*modules: str) -> None:
    """Exit with one line that says what to install unless all modules are."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        fail(f'this command needs {", ".join(missing)}: pip install "recurdrop[all]"')


def tell(report: Mapping[str, object]) -> None:
    """Say on stderr what was found in the data and done about it."""
    for what, found in report.items():
        sys.stderr.write(f"data: {what}: {found}\n")


def widen(console: Console, width: int) -> None:
    """Let lines that no terminal will break be at least this many characters wide."""
    if not console.is_terminal:
        console.width = max(console.width, width)


@contextmanager
def bad_input() -> Iterator[None]:
    """Turn a `ValueError` inside, which says what is wrong with what the user gave, into one line and exit code 2."""
    try:
        yield
    except ValueError as error:
        fail(str(error))


def app() -> typer.Typer:
    """Return all commands."""
    import typer

    from recurdrop.cli.compare import compare
    from recurdrop.cli.curves import curves
    from recurdrop.cli.doctor import doctor
    from recurdrop.cli.evaluate import evaluate
    from recurdrop.cli.generate import generate
    from recurdrop.cli.methods import methods
    from recurdrop.cli.predict import predict
    from recurdrop.cli.recipes import recipes
    from recurdrop.cli.reproduce import reproduce
    from recurdrop.cli.train import train

    found = typer.Typer(
        help="Regularized recurrent layers for PyTorch: which method helps on your data?",
        add_completion=False,
    )
    for command in (compare, train, reproduce, evaluate, predict, generate, curves, recipes, methods, doctor):
        found.command("eval" if command is evaluate else None)(command)
    return found


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line.

    Args:
        arguments: what follows the command's name; `sys.argv` if None. Nothing at all asks for help.
    """
    need("typer", "rich")
    import typer

    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    # The base of typer's usage errors; its module differs between typer's versions.
    usage_error: type[Exception] = typer.BadParameter.__mro__[1]
    try:
        code = typer.main.get_command(app()).main(words, prog_name="recurdrop", standalone_mode=False)
    except usage_error as error:
        fail(f"{getattr(error, 'format_message', error.__str__)().rstrip('.')}. See recurdrop --help.")
    raise SystemExit(code or 0)
