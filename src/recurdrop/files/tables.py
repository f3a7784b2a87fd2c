"""Tables in files: CSV, TSV and Parquet, plain or gzip-compressed."""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import re
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recurdrop.errors import invalid
from recurdrop.files.dialect import decide_dialect, looks_like_numbers
from recurdrop.files.encoding import decode
from recurdrop.files.reading import AS_GUESSED, AUTO, Reading
from recurdrop.files.text import read_bytes

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".parquet")
_RUNS = re.compile(rb"[\x80-\xff]+")
_WESTERN = re.compile(
    rb"(?<![\x80-\xff])(?:[\x80-\xff](?![\x80-\xff])|(?<=[A-Za-z])[\x80-\xff]{2}(?![\x80-\xff])|[\x80-\xff]{2}(?=[A-Za-z]))"
)
_ALONE = 0.9
_NOT_CP1252 = (b"\x81", b"\x8d", b"\x8f", b"\x90", b"\x9d")
_HEAD = 1 << 16
_SHOWN = 30


def is_table(path: Path) -> bool:
    """Say whether a name is a table's: .csv, .tsv or .parquet, plain or as .gz, in letters of either case."""
    return Path(path.name.lower().removesuffix(".gz")).suffix in SUFFIXES


def located(source: Path, name: str | None) -> Path:
    """Return the file that a source means: itself, or the one of this name inside it, plain or as .gz.

    Raises:
        ValueError: there is none, or the source is a folder and no name is given.
    """
    if not source.exists():
        raise invalid("the data must be a file or folder that exists", str(source), "Check the path.")
    if not source.is_dir():
        return source
    if name is None:
        raise invalid("a folder needs the name of the file to read", str(source), "Give the file, or `file` in [data].")
    found = [path for path in (source / name, source / f"{name}.gz") if path.is_file()]
    if not found:
        rule = f"the folder must hold {name}, plain or as .gz"
        raise invalid(rule, str(source), "Put it there, or give another file.")
    return found[0]


def content(path: Path) -> bytes:
    """Return the bytes of a file, unpacked where its name ends in .gz.

    Raises:
        ValueError: the file is missing, a folder, unreadable, empty, or no whole gzip data.
    """
    data = read_bytes(path, "the data")
    if not data.strip():
        raise invalid("the data must not be empty", str(path), "Give a file with something in it.")
    return data


class Table(NamedTuple):
    """A table as it was read.

    Attributes:
        frame: its columns: texts as they stand in a file of text, what they are in Parquet.
        said: encoding, delimiter, header, columns and rows, for people.
    """

    frame: pd.DataFrame
    said: str


def read_table(path: Path, reading: Reading = AS_GUESSED) -> Table:
    """Read a table; what `reading` leaves open is guessed, and said.

    Every field of a file of text is a text as it stands there: what is a number, a date or missing is for the reader of
    its column to say.

    Raises:
        ValueError: `content` can't read the file, or it holds no table with rows; the message says what to do.
    """
    import pandas as pd

    data = content(path)
    if data.startswith(b"PAR1"):
        try:
            frame = pd.read_parquet(io.BytesIO(data))
        except (ValueError, OSError) as error:
            raise invalid("a Parquet file must be whole", f"{path} ({_line(error)})", "Copy it again.") from None
        named = any(frame.index.names) or isinstance(frame.index, pd.DatetimeIndex)
        if named and not set(frame.index.names) & set(frame.columns):
            frame = frame.reset_index()
        said = "Parquet"
    else:
        frame, said = _delimited(data, path, reading)
    frame.columns = [str(name) for name in frame.columns]
    if not len(frame):
        raise invalid("the table must have rows", f"{path} with its header alone", "Give at least one row.")
    return Table(frame, f"{len(frame):,} rows, {len(frame.columns)} columns; {said}")


def column(frame: pd.DataFrame, name: str, flag: str) -> pd.Series:
    """Return a column.

    Args:
        frame: the table.
        name: of the column.
        flag: what named it, such as "--target", for the message.

    Raises:
        ValueError: there is none of this name; the message lists those that there are and suggests the closest.
    """
    names = list(frame.columns)
    if name not in names:
        lower = {known.lower(): known for known in reversed(names)}
        close = difflib.get_close_matches(name.lower(), list(lower), n=1)
        hint = f"Did you mean {lower[close[0]]!r}? " if close else ""
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        remedy = f"{hint}The columns are {', '.join(map(repr, names[:_SHOWN]))}{more}."
        raise invalid(f"{flag} must name a column of the table", name, remedy)
    return frame[name]


def _delimited(data: bytes, path: Path, reading: Reading) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    text, encoding = decoded(data, path, reading.encoding)
    dialect = decide_dialect(text, str(path), reading)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a field too many would be dropped
            frame = pd.read_csv(
                io.StringIO(dialect.text),
                sep=dialect.delimiter,
                dtype=str,
                na_filter=False,
                index_col=False,
                header=0 if dialect.header else None,
                quoting=csv.QUOTE_MINIMAL if '"' in dialect.text else csv.QUOTE_NONE,
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        if "out of memory" in str(error):
            raise MemoryError(f"{path}: {_line(error)}") from None
        rule = "no row may have more fields than the header"
        remedy = "Name every column in the first line, quote fields that hold the delimiter, or set data.delimiter."
        raise invalid(rule, f"{path} ({_line(error)})", remedy) from None
    if not dialect.header:
        frame.columns = pd.Index([str(number) for number in range(1, len(frame.columns) + 1)])
    return frame, f"{encoding}; {dialect.said}"


def columns_of_numbers(path: Path) -> int:
    """Return how many columns a file has that looks like a table of numbers; 0 where it looks like anything else."""
    try:
        head = read_head(path, _HEAD)
        text = decoded(head, path)[0]
    except (ValueError, OSError, EOFError, zlib.error):  # whoever reads the file whole says what is wrong with it
        return 0
    return looks_like_numbers(text.rpartition("\n")[0] if len(head) == _HEAD else text)


def read_head(path: Path, count: int) -> bytes:
    """Return the first bytes of a file, unpacked where its name ends in .gz."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return file.read(count)


def decoded(data: bytes, path: Path, encoding: str = AUTO) -> tuple[str, str]:
    """Return the text of a table, and what its encoding is, for people.

    Without a mark and where it is not UTF-8, single bytes, or two beside a letter of ASCII, such as units in a
    header, are of Windows' Western encoding; others are guessed by `recurdrop.files.encoding.decode`.

    Raises:
        ValueError: NUL bytes, or an encoding that can't be told.
    """
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in data and encoding == AUTO and not marked:
        rule = "the table must be CSV, TSV or Parquet"
        raise invalid(rule, f"{path}, which holds NUL bytes", "Export it as CSV in UTF-8 first.")
    if encoding == AUTO and not marked:
        try:
            return data.decode("utf-8-sig"), "utf-8"
        except UnicodeDecodeError:
            if len(_WESTERN.findall(data)) >= _ALONE * len(_RUNS.findall(data)):
                name = "latin-1" if any(byte in data for byte in _NOT_CP1252) else "cp1252"
                return data.decode(name), f"{name}, a guess (data.encoding)"
    text, name = decode(data, path, None if encoding == AUTO else encoding)
    return text, name if encoding != AUTO or marked else f"{name}, a guess (data.encoding)"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
