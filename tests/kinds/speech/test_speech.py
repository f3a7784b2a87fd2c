from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from recurdrop.kinds.speech.data import read, read_wave
from waves import wav

FSDD = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "fsdd"


def write(folder: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav([i, 1]))
    return folder


def archive(path: Path, members: dict[str, bytes | None]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(data or b"")
            file.addfile(info, io.BytesIO(data or b""))
    return path


def test_one_file_must_have_the_rate_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav([5, 6], rate=16000))
    assert read_wave(tmp_path / "a.wav", 16000).tolist() == [5 / 32768, 6 / 32768]
    with pytest.raises(ValueError, match=r"a.wav must have 8000 samples a second.*; got 16000"):
        read_wave(tmp_path / "a.wav", 8000)
    with pytest.raises(ValueError, match="must be a file that exists"):
        read_wave(tmp_path / "b.wav", 8000)


def test_hidden_files_are_no_recordings(tmp_path: Path) -> None:
    names = [f"{label}_{i}.wav" for label in ("on", "off") for i in range(3)]
    write(tmp_path / "plain", *names)
    plain = read(tmp_path / "plain")
    (tmp_path / "plain" / "._on_0.wav").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    (tmp_path / "plain" / ".DS_Store.wav").write_bytes(b"?")
    assert read(tmp_path / "plain").sha256 == plain.sha256
    members = {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    found = read(archive(tmp_path / "a.tar.gz", {f"words/{name}": data for name, data in members.items()}))
    assert found.files == plain.files
    with pytest.raises(ValueError, match=r"which is what macOS keeps beside a file.*without \._'"):
        read_wave(tmp_path / "plain" / "._on_0.wav", 8000)


DIGITS = [f"{digit}_{who}_{i}.wav" for digit in "10" for who in ("ann", "bo_b") for i in (0, 4, 5, 9, 10, 49)]


def test_numbered_recordings_have_the_official_split(tmp_path: Path) -> None:
    found = read(write(tmp_path, *(f"recordings/{name}" for name in DIGITS)))
    assert found.labels == ("0", "1")
    assert found.files == tuple(sorted(DIGITS))
    assert [found.labels[target] for target in found.targets] == [name[0] for name in found.files]
    indices = {part: {found.files[i].split("_")[-1] for i in places} for part, places in found.parts.items()}
    assert indices == {"train": {"10.wav", "49.wav"}, "valid": {"5.wav", "9.wav"}, "test": {"0.wav", "4.wav"}}
    assert sorted(np.concatenate(list(found.parts.values()))) == list(range(24))
    i = found.files.index("1_ann_4.wav")
    assert found.waves[i].tolist() == [DIGITS.index("1_ann_4.wav") / 32768, 1 / 32768]


def test_an_archive_reads_as_the_folder_in_it(tmp_path: Path) -> None:
    folder = read(write(tmp_path / "recordings", *DIGITS))
    members = {f"fsdd/recordings/{p.name}": p.read_bytes() for p in (tmp_path / "recordings").iterdir()}
    packed = tmp_path / "there" / "fsdd.tar.gz"
    packed.parent.mkdir()
    archive(packed, {"fsdd/README.md": b"words", **members})
    before = sorted(tmp_path.rglob("*"))
    for source in (packed, packed.parent):
        found = read(source)
        assert (found.sha256, found.files) == (folder.sha256, folder.files)
        assert all(np.array_equal(a, b) for a, b in zip(found.waves, folder.waves, strict=True))
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "recordings" / DIGITS[0]).write_bytes(wav([7, 7]))
    assert read(tmp_path / "recordings").sha256 != folder.sha256


@pytest.mark.parametrize("name", ["../a_1.wav", "/tmp/a_1.wav", "x/../../a_1.wav"])  # noqa: S108
def test_members_outside_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"plain files inside it.*Take the published"):
        read(archive(tmp_path / "a.tar.gz", {name: wav([1])}))


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plain files inside it"):
        read(archive(tmp_path / "link.tar.gz", {"a_1.wav": None}))
    noise = np.random.default_rng(0).integers(-999, 999, 9999).tolist()
    whole = archive(tmp_path / "whole.tar.gz", {"a_1.wav": wav(noise)}).read_bytes()
    for data in (whole[: len(whole) // 2], b"plain", b""):
        (tmp_path / "cut.tar.gz").write_bytes(data)
        with pytest.raises(ValueError, match=r"whole \.tar\.gz file"):
            read(tmp_path / "cut.tar.gz")


def test_folders_are_labels_and_others_are_left_out(tmp_path: Path) -> None:
    names = [f"{label}/{i}_x.wav" for label in ("yes", "no") for i in range(16)]
    found = read(write(tmp_path, *names, "_noise_/1.wav", "background/1.wav"))
    assert found.labels == ("no", "yes")
    assert [found.labels[target] for target in found.targets] == [file.split("/")[0] for file in found.files]
    counts = {part: np.bincount(found.targets[places]).tolist() for part, places in found.parts.items()}
    assert counts == {"train": [12, 12], "valid": [2, 2], "test": [2, 2]}
    assert sorted(np.concatenate(list(found.parts.values()))) == list(range(32))


def test_names_begin_with_labels_where_there_are_no_folders(tmp_path: Path) -> None:
    found = read(write(tmp_path, *(f"{label}_{i}.wav" for label in ("on", "off") for i in range(3))))
    assert found.labels == ("off", "on")
    assert [len(found.parts[part]) for part in ("train", "valid", "test")] == [2, 2, 2]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.txt"], "must have wav files"),
        (["on.wav", "off_1.wav"], r"underscore; got 'on.wav'"),
        (["on_1.wav", "on_2.wav"], "two labels or more"),
        (["on_1.wav", "on_2.wav", "on_3.wav", "off_1.wav"], r"3 recordings or more.*'one with 1'"),
    ],
)
def test_folders_without_enough_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, *names))


def test_all_recordings_have_one_rate(tmp_path: Path) -> None:
    write(tmp_path, "a_1.wav", "a_2.wav", "b_1.wav")
    (tmp_path / "b_2.wav").write_bytes(wav([1], rate=16000))
    with pytest.raises(ValueError, match=r"b_2.wav must have 8000 samples a second, as a_1.wav; got 16000"):
        read(tmp_path)
    with pytest.raises(ValueError, match="exists"):
        read(tmp_path / "nowhere")


@pytest.mark.skipif(not FSDD.is_dir(), reason="needs Free Spoken Digits in ../shared/data/fsdd")
def test_free_spoken_digits_are_what_was_published() -> None:
    found = read(FSDD)
    assert (found.rate, found.labels) == (8000, tuple("0123456789"))
    assert {part: len(places) for part, places in found.parts.items()} == {"train": 2400, "valid": 300, "test": 300}
    assert np.bincount(found.targets).tolist() == [300] * 10
    assert sum(map(len, found.waves)) / 8000 == pytest.approx(1312.3, abs=0.05)


def test_labels_do_not_depend_on_what_lies_around_them(tmp_path: Path) -> None:
    names = [f"{who}/{label}/{i}.wav" for who in ("anna", "ben") for label in ("no", "yes") for i in range(8)]
    assert read(write(tmp_path / "by speaker", *names)).labels == ("no", "yes")
    words = [f"{label}/{i}.wav" for label in ("test", "train") for i in range(8)]
    assert read(write(tmp_path / "words", *words)).labels == ("test", "train")
    with pytest.raises(
        ValueError, match=r"a folder for each label, or all side by side; got 'no_1.wav beside folders'"
    ):
        read(write(tmp_path / "mixed", "yes_1.wav", "no_1.wav", "more/yes_2.wav", "more/no_2.wav"))
    with pytest.raises(ValueError, match=r"one folder a label.* got 'folders test, train'"):
        read(write(tmp_path / "parts", *(f"{part}/{label}/1.wav" for part in ("train", "test") for label in "ab")))
