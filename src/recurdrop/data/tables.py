"""Tables in files: CSV, TSV and Parquet, plain or gzip-compressed."""

from __future__ import annotations

import csv
import difflib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from recurdrop.data.text import read_bytes
from recurdrop.errors import invalid

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".parquet")
_DELIMITERS = ",;\t"
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


def read_table(path: Path) -> pd.DataFrame:
    """Read a table with a header line; the delimiter is the comma, semicolon or tab that cuts the header most often.

    Text is UTF-8, or Latin-1 where it is not. Empty fields, "NA", "nan" and what else pandas reads so are missing.

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
    else:
        frame = _delimited(data, path)
    frame.columns = [str(name) for name in frame.columns]
    if not len(frame):
        raise invalid("the table must have rows", f"{path} with its header alone", "Give at least one row.")
    return frame


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


def _delimited(data: bytes, path: Path) -> pd.DataFrame:
    import pandas as pd

    if b"\0" in data:
        rule = "the table must be CSV, TSV or Parquet"
        raise invalid(rule, f"{path}, which holds NUL bytes", "Export it as CSV in UTF-8 first.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # has a character for every byte: units such as m² in old headers
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header.count)
    lines = [line for line in text.split("\n") if line.strip("\r")]
    # Many a TSV file has no quotes that mean anything: one that opens a text would swallow the rows behind it.
    plain = delimiter == "\t" and {line.count("\t") for line in lines} == {header.count("\t")}
    quoting = csv.QUOTE_NONE if plain and not _balanced(lines) else csv.QUOTE_MINIMAL
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a field too many would be dropped
            return pd.read_csv(io.StringIO(text), sep=delimiter, low_memory=False, index_col=False, quoting=quoting)
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        rule = "no row may have more fields than the header"
        remedy = "Name every column in the first line, and quote fields that hold the delimiter."
        raise invalid(rule, f"{path} ({_line(error)})", remedy) from None


def _balanced(lines: list[str]) -> bool:
    """Say whether every field that a quote opens is closed by one on the same line."""
    fields = (field for line in lines for field in line.rstrip("\r").split("\t") if field.startswith('"'))
    return all(len(field) > 1 and field.endswith('"') and field.count('"') % 2 == 0 for field in fields)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
