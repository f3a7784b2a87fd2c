"""Words of any language: which characters belong together, and where text without spaces is cut."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

from recurdrop.errors import invalid

WORDS = ("auto", "characters", "spaces")
"""How text is cut: into words; into characters as readers count them, spaces too; at spaces alone."""
LARGE = 0.2
"""The share of unknown words from which the account of the data says what helps."""

# Below U+0300 and among Western punctuation no character combines with another: Python's own `\w` knows these.
_WESTERN = re.compile(r"[\x00-\u02ff\u2010-\u2027\u2030-\u205e]*")
# Scripts that are written without spaces between words, and the mark of long vowels, which several of them share.
_SPACELESS = r"[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_EMOJI = r"(?=(?=[\u2600-\U0001faff])\p{Emoji}|[#*0-9]\ufe0f?\u20e3|.\ufe0f)\X"
_SPACELESS_MARKS = r"[\u3000-\u303f\uff01-\uff0f\uff1a-\uff20“”‘’…]"


def check_words(words: str) -> None:
    """Raise ValueError unless a setting of words is one of `WORDS`."""
    if words not in WORDS:
        raise invalid(f"words must be one of {', '.join(WORDS)}", words, "Choose one of them.")


def normalized(text: str) -> str:
    """Return a text in lower case, its characters composed (NFC): one that looks the same is the same."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def cut_words(text: str, pattern: str, words: str) -> list[str]:
    r"""Return the tokens of a normalized text.

    Args:
        text: the text.
        pattern: of Python's `re`, for Western text. For other text, `\w+` and `[^\W_]+` in it also take the marks and
            joiners that belong to letters; an emoji is a token, and so is each character of a script without spaces.
        words: one of `WORDS`.
    """
    if words == "spaces":
        return text.split()
    if words == "characters":
        parts = (match.group() for match in _compiled(r"<[a-z]+>|\s+|\X").finditer(text.strip()))
        return [" " if part.isspace() else part for part in parts]
    if _WESTERN.fullmatch(text):
        return [match.group() for match in re.finditer(pattern, text)]
    return [match.group() for match in _compiled(_of_any_script(pattern)).finditer(text)]


def close_up(text: str, words: str) -> str:
    """Return tokens that spaces part, without the spaces that people don't write in scripts without them."""
    if words == "spaces" or _WESTERN.fullmatch(text):
        return text
    mark = f"(?:{_SPACELESS}|{_SPACELESS_MARKS})"
    closed: str = _compiled(f"(?<={mark}) (?={mark})").sub("", text)
    return closed


def unknown_share(share: float) -> str:
    """Say which share of the words is unknown, and what helps where it is large."""
    said = f"{100 * share:.1f} % of the validation part"
    if share < LARGE:
        return said
    return (
        f"{said}, so that scores say little: give more text, or cut it otherwise with --set data.words="
        "characters (text without spaces), or keep more words"
    )


@cache
def _of_any_script(pattern: str) -> str:
    def word(letters: str) -> str:
        return rf"(?!{_SPACELESS}){letters}(?:(?!{_SPACELESS})(?:{letters}|[\p{{M}}\u200c\u200d]))*"

    any_script = pattern.replace(r"[^\W_]+", word(r"[\p{L}\p{N}]")).replace(r"\w+", word(r"[\p{L}\p{N}_]"))
    # Hebrew writes abbreviations with a mark like a quote within the word.
    any_script = any_script.replace("['’]", r"(?:['’׳״]|(?<=\p{Hebrew})\"(?=\p{Hebrew}))")
    any_script = any_script.replace(r"([^\w\s])", r"([^\p{L}\p{N}_\s]\p{M}*)")
    return rf"{_EMOJI}|(?={_SPACELESS})\X|{any_script}"


@cache
def _compiled(pattern: str) -> Any:
    try:
        import regex
    except ImportError:
        rule = "text beyond Western letters needs the package regex"
        raise invalid(rule, "it is not installed", "pip install regex, or give --set data.words=spaces.") from None
    return regex.compile(pattern)
