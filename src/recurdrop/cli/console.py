"""Rich's console for text that files and flags bring along."""

from __future__ import annotations

from typing import Any

from rich import console
from rich.text import Text

from recurdrop.cli.shell import visible


class Console(console.Console):
    """A console that prints every text as it is: `[red]` and `:smile:` in it are no markup, and escapes don't act.

    Args:
        stderr: whether it writes there instead of to stdout.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as rich prints it; each string that is printed, or is a cell of a table, passes here."""
        return super().render_str(visible(text), **options)
