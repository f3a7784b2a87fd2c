"""The `recurdrop` command, one file a subcommand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from recurdrop.cli.shell import INTERRUPTED, fail, need, no_traceback, write_anything

if TYPE_CHECKING:
    import typer


def app() -> typer.Typer:
    """Return all commands. Their modules import torch when they run, not before: help and mistakes wait for nothing."""
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
    from recurdrop.cli.results import results
    from recurdrop.cli.train import train

    found = typer.Typer(
        help="Regularized recurrent layers for PyTorch: which method helps on your data?",
        add_completion=False,
    )
    for command in (
        *(compare, train, reproduce, results, evaluate, predict, generate, curves, recipes, methods, doctor),
    ):
        found.command("eval" if command is evaluate else None)(command)
    return found


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line.

    Args:
        arguments: what follows the command's name; `sys.argv` if None. Nothing at all asks for help.
    """
    write_anything()
    with no_traceback():
        need("typer", "rich")
        code = _run(list(sys.argv[1:] if arguments is None else arguments) or ["--help"])
    raise SystemExit(code)


def _run(words: list[str]) -> int:
    """Run one command; return its exit code."""
    import typer

    # The base of typer's usage errors; its module differs between typer's versions.
    usage_error: type[Exception] = typer.BadParameter.__mro__[1]
    try:
        code = typer.main.get_command(app()).main(words, prog_name="recurdrop", standalone_mode=False)
    except usage_error as error:
        fail(f"{getattr(error, 'format_message', error.__str__)().rstrip('.')}. See recurdrop --help.")
    except typer.Abort:
        raise KeyboardInterrupt from None
    if code == INTERRUPTED:  # what newer typers make of Ctrl-C, without a word
        raise KeyboardInterrupt
    return int(code or 0)
