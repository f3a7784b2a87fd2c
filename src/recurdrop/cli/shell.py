"""What every command does alike: say things, fail in one line, ask for packages. It needs no package itself."""

from __future__ import annotations

import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters after which a terminal shows text in another order, so that a name reads as a different one."""
_REMEDIES = {
    errno.ENOSPC: "Free some space, and give the same command again: what was finished is kept.",
    errno.EDQUOT: "Free some space, and give the same command again: what was finished is kept.",
    errno.EROFS: "Choose a place that can be written.",
    errno.EACCES: "Choose another place, or ask for the rights.",
    errno.EPERM: "Choose another place, or ask for the rights.",
    errno.EISDIR: "Choose another name: a folder has this one.",
    errno.ENOTDIR: "Choose another place: a file has the name of a folder in this one.",
    errno.ENOENT: "Check the path.",
}


def visible(text: str) -> str:
    r"""Return a text with its control characters written as escapes, such as `\x1b`; line ends and tabs stay."""
    return "".join(
        character.encode("unicode_escape").decode() if _acts_on_terminal(character) else character for character in text
    )


def _acts_on_terminal(character: str) -> bool:
    is_control = unicodedata.category(character) == "Cc" and character not in "\n\t"
    return is_control or character in _REORDERING


def say(text: str) -> None:
    """Write a line to stdout."""
    sys.stdout.write(f"{visible(text)}\n")


def warn(message: str) -> None:
    """Write a message to stderr as one line, after the command's name."""
    sys.stderr.write(f"recurdrop: {visible(' '.join(message.split()))}\n")


def fail(message: str) -> NoReturn:
    """Print one line on stderr and exit with code 2."""
    warn(message)
    raise SystemExit(2)


def need(*modules: str) -> None:
    """Exit with one line that says what to install unless all modules are."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        fail(f'this command needs {", ".join(missing)}: pip install "recurdrop[all]"')


def tell(report: Mapping[str, object]) -> None:
    """Say on stderr what was found in the data and done about it."""
    for what, found in report.items():
        sys.stderr.write(f"data: {visible(f'{what}: {found}')}\n")


def widen(console: Console, width: int) -> None:
    """Let lines that no terminal will break be at least this many characters wide."""
    if not console.is_terminal:
        console.width = max(console.width, width)


def write_anything() -> None:
    r"""Let stdout and stderr take every character: one that their encoding lacks is written as an escape (`\u2299`).

    Windows gives a redirected stream the encoding of old programs, and file names may be no text at all.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def bad_input() -> Iterator[None]:
    """Turn a `ValueError` inside, which says what is wrong with what the user gave, into one line and exit code 2."""
    try:
        yield
    except ValueError as error:
        fail(str(error))


@contextmanager
def no_traceback() -> Iterator[None]:
    """Turn what the machine refuses, or the user stops, into one line: files, memory, a closed pipe, Ctrl-C.

    Exit codes: 2; 130 for Ctrl-C; 1, without a line, where the reader of stdout has gone.
    """
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        warn("stopped.")
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # What is still in the buffer has no reader; without this, Python would complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        fail(_refused(error))
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        first_line = str(error).partition("\n")[0]
        fail(f"there is not enough memory ({first_line}). Lower the batch or the widths of the model.")


def _refused(error: OSError) -> str:
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    remedy = _REMEDIES.get(error.errno or 0, "Mend that, and give the same command again.")
    return f"{where}{error.strerror or error}. {remedy}"


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)
