"""Bytes and text of files, plain or gzip-compressed."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from recurdrop.errors import invalid
from recurdrop.files.encoding import decode


def read_bytes(path: Path, what: str = "TEXT") -> bytes:
    """Read a file, plain or gzip-compressed (`.gz`).

    Args:
        path: of the file.
        what: to call it in messages.

    Raises:
        ValueError: the file is missing, a folder, unreadable, or damaged.
    """
    if not path.exists():
        raise invalid(f"{what} must be a file that exists", str(path), "Check the path.")
    if path.is_dir():
        raise invalid(f"{what} must be a file", f"the folder {path}", "Give one of the files in it.")
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except PermissionError:
        raise invalid(f"{what} must be readable", str(path), "Change its permissions.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise invalid("a .gz file must be whole gzip data", str(path), "Unpack it or copy it again.") from None


def read(path: Path) -> str:
    """Read a text in a form of Unicode; unlike `read_encoded`, refuse what could only be guessed.

    Raises:
        ValueError: as `read_encoded`, or the text is in another encoding.
    """
    text, encoding = read_encoded(path)
    if not encoding.startswith("utf"):
        where = f"{path}, which seems to be {encoding}"
        raise invalid("TEXT must be UTF-8", where, f"Convert it: iconv -f {encoding} -t utf-8.")
    return text


def read_encoded(path: Path, encoding: str | None = None) -> tuple[str, str]:
    """Read a text file, plain or gzip-compressed (`.gz`), and say in which encoding it is written.

    Args:
        path: of the file.
        encoding: its name as Python knows it; None to detect it, as `decode` does.

    Raises:
        ValueError: the file is missing, a folder, unreadable, empty, or no text.
    """
    data = read_bytes(path)
    if not data.strip():
        raise invalid("TEXT must not be empty", str(path), "Give a file with text in it.")
    text, name = decode(data, path, encoding)
    if "\0" in text:
        raise invalid("TEXT must be plain text", f"{path}, which holds NUL bytes", "Export it as plain text first.")
    return text, name
