from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recurdrop.records import Metric, Point, RunRecord
from recurdrop.study.folder import Folder, slug


def record(method: str = "zoneout:c=0.5,h=0.1", seed: int = 1) -> RunRecord:
    metric = Metric("MAE", "mm")
    curve = (Point(1, 1.0, 2.0, 3.0, 4.0),)
    return RunRecord("made", method, "", "", {}, seed, {}, {}, metric, "mm", {}, {}, curve, (0.1,))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "deep" / "runs")
    folder.bind({"hidden": 8, "text": "abc"})
    return folder


def test_a_run_comes_back_with_its_weights(folder: Folder) -> None:
    folder.save(record(), {"w": torch.arange(3.0)})
    assert folder.load("zoneout:c=0.5,h=0.1", 1) == record()
    assert torch.equal(folder.load_weights("zoneout:c=0.5,h=0.1", 1)["w"], torch.arange(3.0))
    assert folder.load("zoneout:c=0.5,h=0.1", 2) is None
    assert (folder.path / "runs" / "zoneout-c-0.5-h-0.1-seed1.json").exists()


def test_a_record_under_another_name_is_refused(folder: Folder) -> None:
    folder.save(record(), {})
    folder.run("zoneout:c=0.5,h=0.1", 1).rename(folder.run("locked", 3))
    with pytest.raises(ValueError, match="must be the record of locked, seed 3"):
        folder.load("locked", 3)


def test_the_same_settings_bind_again_and_others_clash(folder: Folder) -> None:
    folder.bind({"text": "abc", "hidden": 8})
    with pytest.raises(ValueError, match=r"hidden 8 \(now 9\), lr None \(now 1\)"):
        folder.bind({"hidden": 9, "text": "abc", "lr": 1})
    assert '"hidden": 8' in (folder.path / "settings.json").read_text()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="must be a new folder"):
        Folder(tmp_path).bind({"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_damaged_settings_are_refused(folder: Folder, text: str) -> None:
    (folder.path / "settings.json").write_text(text)
    with pytest.raises(ValueError, match=r"settings\.json"):
        folder.bind({"a": 1})


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="folder that can be written"):
            Folder(path).bind({"a": 1})


@pytest.mark.parametrize(
    ("label", "name"), [("none", "none"), ("a:b=0.5, c=1e-3", "a-b-0.5-c-1e-3"), ("../../x", "x"), ("Ünï", "n")]
)
def test_slugs_are_plain_file_names(label: str, name: str) -> None:
    assert slug(label) == name


def test_settings_that_json_cannot_hold_bind_again(tmp_path: Path) -> None:
    for _ in range(2):
        Folder(tmp_path / "x").bind({"clip": float("inf"), "split": (1, 2)})
