"""How the text of a table is cut: its delimiter, its quotes, its header. Each guess comes with what it saw."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from recurdrop.errors import invalid
from recurdrop.files.reading import AUTO, DELIMITERS, Reading

_SAMPLE = 200
_SEPARATOR_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?\r?\n", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d[\d., ' ]*|[.,]\d+)([eE][+-]?\d+)?%?")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([T ]\d.*)?")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_LONG_TEXT = 40
_FEW_VALUES = 20


class Dialect(NamedTuple):
    """What was decided of a table's form.

    Attributes:
        text: of the table, so that a reader of CSV can take it: without a line `sep=`, and with stray quotes doubled.
        delimiter: the character between fields.
        header: whether the first line names the columns.
        said: what was seen, for people.
    """

    text: str
    delimiter: str
    header: bool
    said: str


def decide_dialect(text: str, where: str, reading: Reading) -> Dialect:
    """Return how a table is cut.

    Args:
        text: the table.
        where: the file, for messages.
        reading: what is given instead of guessed.

    Raises:
        ValueError: a quote that nothing closes, or a row with more fields than the header; the line is named.
    """
    given = _SEPARATOR_LINE.match(text)
    if given:
        text = text[given.end() :]
    if reading.delimiter != AUTO:
        delimiter, why = DELIMITERS[reading.delimiter], "as data.delimiter says"
    elif given:
        delimiter, why = given[1], "as its first line says"
    else:
        delimiter, why = _guess_delimiter(text)
    text, strays = _mend_quotes(text, delimiter, where)
    sample = _rows(text, delimiter, _SAMPLE)
    header = reading.header == "yes" if reading.header != AUTO else _has_header(sample)
    name = _NAMES.get(delimiter, repr(delimiter))
    said = [f"cut at each {name} ({why}; data.delimiter)"]
    if not header:
        said.append("no header, so that columns are named by number (data.header)")
    if strays:
        said.append(f"{strays} lines have a quote that nothing closes, which is read as a character")
    return Dialect(text, delimiter, header, "; ".join(said))


def looks_like_numbers(text: str) -> int:
    """Return the number of columns if a text is a table of numbers with two or more lines; 0 if it is not."""
    delimiter, _ = _guess_delimiter(text)
    rows = _rows(text, delimiter, _SAMPLE)
    body = rows[1:]
    widths = {len(row) for row in rows}
    numbers = sum(_is_number(cell) or not cell.strip() for row in body for cell in row)
    cells = sum(map(len, body))
    if len(rows) < 2 or len(widths) != 1 or numbers < 0.9 * cells:
        return 0
    return widths.pop()


def _guess_delimiter(text: str) -> tuple[str, str]:
    """Return the delimiter that cuts the most rows alike and leaves the most fields that are numbers or dates."""
    scores = {}
    for delimiter in _NAMES:
        rows = _rows(text, delimiter, _SAMPLE)
        widths = Counter(map(len, rows))
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        # A header that is not cut, where rows are, is a column with decimal commas or a text with commas in it.
        if width < 2 or len(rows[0]) < 2:
            continue
        cells = [cell for row in rows[1:] for cell in row]
        typed = sum(_is_number(cell) or _DATE.fullmatch(cell.strip()) is not None for cell in cells)
        scores[delimiter] = (round(count / len(rows), 2), typed / max(1, len(cells)), len(rows[0]))
    if not scores:
        free = next((delimiter for delimiter in "|\t;\x1f" if delimiter not in text), ",")
        return ("," if "," in text.lstrip().partition("\n")[0] else free), "no delimiter cuts the header and the rows"
    best = max(scores, key=scores.__getitem__)
    return best, f"{scores[best][0]:.0%} of the first rows have as many fields"


def _rows(text: str, delimiter: str, count: int) -> list[list[str]]:
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
            if len(rows) == count:
                break
    except csv.Error:  # a field beyond the limit, which an open quote makes
        pass
    return rows


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _mend_quotes(text: str, delimiter: str, where: str) -> tuple[str, int]:
    """Return a text in which each quote that nothing closes on its line is a character, and how many lines have one."""
    if '"' not in text or _are_quotes_sound(text, delimiter):
        return text, 0
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    width, strays = None, 0
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _strict_row(line, delimiter)
        if row is None:
            row, strays = line.split(delimiter), strays + 1
        width = len(row) if width is None else width
        if len(row) != width:
            rule = "a quote that opens a field must be closed"
            remedy = "Mend that line, or double the quotes inside a text. data.delimiter names another delimiter."
            raise invalid(rule, f"{where}, line {number}: {line[:60]}", remedy)
        writer.writerow(row)
    return out.getvalue(), strays


def _are_quotes_sound(text: str, delimiter: str) -> bool:
    """Say whether a strict reader takes the text, and no quoted field swallows lines that are whole rows."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    width = len(rows[0]) if rows else 0
    for row in rows:
        for cell in row:
            inner = cell.replace("\r\n", "\n").split("\n")
            if width > 1 and len(inner) > 1 and sum(line.count(delimiter) >= width - 1 for line in inner) >= 2:
                return False
    return True


def _strict_row(line: str, delimiter: str) -> list[str] | None:
    try:
        rows = list(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _has_header(rows: list[list[str]]) -> bool:
    """Say whether the first row names the columns; it does unless it looks like the rows below."""
    if len(rows) < 2:
        return True
    first, body = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    cells = [cell.strip() for cell in first]
    if not body or first in body or not all(cells):
        return True
    if all(map(_is_number, cells)):
        return _are_numbered_names(cells)
    if any(_DATE.fullmatch(cell) and not _is_number(cell) for cell in cells):
        return not any(_is_number(cell) for cell in cells)  # dates as names of columns stand alone
    columns = [[row[place].strip() for row in body] for place in range(len(cells))]
    for cell, values in zip(cells, columns, strict=True):
        distinct = set(values)
        if cell in distinct and len(distinct) <= min(_FEW_VALUES, len(values) // 2):
            return False
        middle = sorted(map(len, values))[len(values) // 2]
        if middle >= _LONG_TEXT and len(cell) >= middle / 2:
            return False
    return True


def _are_numbered_names(cells: list[str]) -> bool:
    """Say whether numbers are names: 0, 1, 2, … as programs write them, or years in a row."""
    if not all(cell.isdigit() for cell in cells) or len(cells) < 2:
        return False
    numbers = [int(cell) for cell in cells]
    steps = {after - before for before, after in pairwise(numbers)}
    return steps == {1} and (numbers[0] == 0 or 1900 <= numbers[0] <= 2100)
