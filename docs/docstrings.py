"""From a docstring to Markdown: sections, lists of items, and prose that GitHub shows as it was meant."""

from __future__ import annotations

import re
from typing import NamedTuple

_HEAD = re.compile(r"(?P<title>[A-Z][\w' ]*):")
_ITEM = re.compile(r"(?P<name>\*{0,2}[\w.]+)( \(.*?\))?: (?P<text>.*)")
_MEANT = re.compile(r"(`+.*?`+|(?<![\w*])\*\w+\*(?![\w*]))")
AS_CODE = ("Equation",)
AS_LIST = ("Args", "Attributes", "Raises")


class Section(NamedTuple):
    """One titled part of a docstring, its indentation taken off."""

    title: str
    text: str


class Doc(NamedTuple):
    """A docstring: the text outside its sections, and its sections in order."""

    lead: str
    sections: tuple[Section, ...]

    @property
    def summary(self) -> str:
        """The first sentence or paragraph, on one line."""
        return " ".join(self.lead.split("\n\n")[0].split())

    def part(self, title: str) -> str:
        """Return the text of a section, or "" where there is none."""
        return next((section.text for section in self.sections if section.title == title), "")


def parse(doc: str) -> Doc:
    """Split a cleaned docstring at the lines that only hold a title, with an indented block below."""
    lines = doc.splitlines()
    lead: list[str] = []
    found: list[tuple[str, list[str]]] = []
    block = lead
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        head = _HEAD.fullmatch(line)
        if head and below.startswith(" "):
            block = []
            found.append((head["title"], block))
            continue
        if found and line and not line.startswith(" ") and block is not lead:
            block = lead
            if lead and lead[-1]:
                lead.append("")
        block.append(line)
    return Doc("\n".join(lead).strip(), tuple(Section(title, _dedent(block)) for title, block in found))


def _dedent(lines: list[str]) -> str:
    return "\n".join(line[4:] if line.startswith("    ") else line for line in lines).strip("\n")


def items(text: str) -> list[tuple[str, str]]:
    """Split a section such as Args into (name, text); what belongs to no name stands first, under ""."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        item = _ITEM.fullmatch(line)
        if item:
            found.append((item["name"], [item["text"]]))
        elif found and (line.startswith(" ") or not line):
            found[-1][1].append(line.strip())
        else:
            found.append(("", [line]))
    return [(name, " ".join(part for part in block if part)) for name, block in found]


def prose(text: str) -> str:
    """Keep Markdown from reading marks into plain text; code, *words* and indented blocks stay as they are."""
    lines = [line if line.startswith("    ") else _escape(line) for line in text.splitlines()]
    return "\n".join(lines)


def _escape(line: str) -> str:
    parts = _MEANT.split(line)
    parts[::2] = [re.sub(r"[*~<$]", lambda mark: "\\" + mark[0], part) for part in parts[::2]]
    return "".join(parts)


def cell(text: str) -> str:
    """Return text for a cell of a table, on one line."""
    return prose(" ".join(text.split())).replace("|", "\\|")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table; cells are Markdown already."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section(found: Section, level: int = 2) -> str:
    """Return a section with its heading: equations as code, arguments as a list, the rest as prose."""
    if found.title in AS_CODE:
        body = f"```text\n{found.text}\n```"
    elif found.title in AS_LIST:
        body = "\n".join(f"- `{name}`: {prose(text)}" if name else prose(text) for name, text in items(found.text))
    else:
        body = prose(found.text)
    return f"{'#' * level} {found.title}\n\n{body}"


def whole(doc: Doc, level: int = 2) -> str:
    """Return a docstring as Markdown."""
    return "\n\n".join([prose(doc.lead), *(section(part, level) for part in doc.sections)])
