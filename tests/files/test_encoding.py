"""Texts of other encodings are read as they were written, or refused with the setting that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from recurdrop.files.encoding import decode

PATH = Path("notes.txt")
CHINESE = "今天天气很好,我们去公园散步吧。\n他昨天买了三本新书,都是关于历史的。\n" * 20
FRENCH = "Le café était fermé à cause de la grève, d’après l’hôtelier ; la fenêtre « donnait » sur l’Œuvre.\n" * 20


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_utf_is_told_by_its_mark_or_its_bytes(encoding: str) -> None:
    text, name = decode(FRENCH.encode(encoding), PATH, None)
    assert text == FRENCH
    assert name == encoding.removesuffix("-sig")


def test_text_without_a_mark_keeps_none() -> None:
    assert decode("\ufeffa".encode("utf-16-le"), PATH, "utf-16-le") == ("a", "utf-16-le")


@pytest.mark.parametrize(("text", "encoding"), [(CHINESE, "gbk"), (FRENCH, "cp1252")])
def test_other_encodings_are_told_from_their_characters(text: str, encoding: str) -> None:
    pytest.importorskip("charset_normalizer")
    assert decode(text.encode(encoding), PATH, None)[0] == text
    assert decode(text.encode(encoding), PATH, encoding) == (text, encoding)


@pytest.mark.parametrize("encoding", ["klingon", "hex", "ascii"])
def test_an_encoding_that_does_not_fit_is_one_line(encoding: str) -> None:
    with pytest.raises(ValueError, match=r"data\.encoding") as caught:
        decode(FRENCH.encode(), PATH, encoding)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_name_the_setting() -> None:
    pytest.importorskip("charset_normalizer")
    with pytest.raises(ValueError, match=r"data\.encoding"):
        decode(bytes(range(256)) * 20, PATH, None)
