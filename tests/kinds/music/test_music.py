from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from recurdrop.kinds.music.data import read_music

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "poly-music"


def write(path: Path, **change: object) -> Path:
    path.write_text(json.dumps({"train": [[[21, 60], []]], "valid": [[[108]]], "test": [[[60]]]} | change))
    return path


def test_notes_become_keys_of_a_piano(tmp_path: Path) -> None:
    path = write(tmp_path / "m.json")
    music = read_music(path)
    assert [part[0].shape for part in (music.train, music.valid, music.test)] == [(2, 88), (1, 88), (1, 88)]
    assert music.train[0].nonzero().tolist() == [[0, 0], [0, 39]]
    assert music.valid[0].nonzero().tolist() == [[0, 87]]
    assert music.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "m.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_music(tmp_path / "m.json.gz").sha256 == music.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": []}, "must have the parts train, valid, test"),
        ({"train": [[[20]]]}, "from 21 to 108; got '20 in frame 0 of piece 0 of train'"),
        ({"valid": [[[60]], [[60], [109]]]}, "got '109 in frame 1 of piece 1 of valid'"),
        ({"valid": [[[60.5]]]}, "whole number"),
        ({"valid": [[[True]]]}, "whole number"),
        ({"valid": [[60, 61]]}, "list of frames"),
        ({"valid": [[]]}, "list of frames.*'piece 0 of valid'"),
    ],
)
def test_what_is_no_music_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_music(write(tmp_path / "m.json", **change))


@pytest.mark.parametrize(
    ("data", "message"), [(b"{", "JSON"), (b"\xff\xfe\xff", "JSON"), (b"[1]", "parts"), (b"  ", "empty")]
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "m.json").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_music(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("name", "pieces", "frames"),
    [
        ("JSB_Chorales.json.gz", (229, 76, 77), (13_807, 4_602, 4_725)),
        ("Nottingham.json.gz", (694, 173, 170), (176_561, 45_513, 44_463)),
    ],
)
def test_the_published_sets_read_whole(name: str, pieces: tuple[int, ...], frames: tuple[int, ...]) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not here")
    music = read_music(DATA / name)
    parts = (music.train, music.valid, music.test)
    assert tuple(map(len, parts)) == pieces
    assert tuple(sum(map(len, part)) for part in parts) == frames
