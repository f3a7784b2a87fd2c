from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_runs import equal, language, weights

from recurdrop.tables import added_later, identity
from recurdrop.train.recipe import Recipe, from_tables, read_recipe
from recurdrop.train.run import DEFAULT_OUT, Run

TABLES: dict[str, Any] = {
    "task": "language",
    "source": "me",
    "data": {"vocabulary": 50},
    "model": {"vocabulary": 50, "embedding": 6, "widths": [6], "tied": True, "noise": ["zoneout:h=0.1"]},
    "training": {"batch": 4, "epochs": 1, "lr": 1.0, "bptt": 40},
    "published": {"metric": "perplexity", "valid": 9.5},
}
RECIPE = from_tables("small", TABLES)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    language(tmp_path)
    return tmp_path / "text.txt"


def changed(part: str, **changes: Any) -> Recipe:
    return dataclasses.replace(RECIPE, **{part: dataclasses.replace(getattr(RECIPE, part), **changes)})


def test_a_run_is_found_again_in_its_folder(text: Path, tmp_path: Path) -> None:
    first = Run.prepare(RECIPE, text, 1, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    assert written == {"about": first.about, "name": "small", "seed": 1, "data": str(text), "recipe": RECIPE.tables()}
    again = Run.prepare(RECIPE, text, 1, tmp_path / "run")
    opened = Run.open(tmp_path / "run")
    for run in (again, opened):
        assert repr(run.recipe) == repr(RECIPE)
        assert (run.seed, run.source, run.folder) == (1, text, tmp_path / "run")
        assert run.about == first.about


@pytest.mark.parametrize(
    ("recipe", "seed", "words"),
    [
        (changed("training", lr=0.5), 1, ""),
        (changed("training", clip=5.0), 1, ""),
        (changed("model", noise=()), 1, ""),
        (changed("data", vocabulary=51), 1, ""),
        (RECIPE, 2, ""),
        (RECIPE, 1, " more"),
    ],
    ids=["lr", "clip", "noise", "data", "seed", "text"],
)
def test_a_folder_is_of_one_run(text: Path, tmp_path: Path, recipe: Recipe, seed: int, words: str) -> None:
    Run.prepare(RECIPE, text, 1, tmp_path / "run")
    text.write_text(text.read_text() + words)
    with pytest.raises(
        ValueError,
        match=r"--out must be a new folder, or hold this very run; got '.*run, whose settings, data or seed differ'",
    ):
        Run.prepare(recipe, text, seed, tmp_path / "run")


@pytest.mark.parametrize(
    "recipe",
    [
        dataclasses.replace(RECIPE, name="other"),
        dataclasses.replace(RECIPE, source="someone"),
        dataclasses.replace(RECIPE, published=None),
    ],
    ids=["name", "source", "published"],
)
def test_what_changes_no_weight_may_change(text: Path, tmp_path: Path, recipe: Recipe) -> None:
    first = Run.prepare(RECIPE, text, 1, tmp_path / "run")
    assert Run.prepare(recipe, text, 1, tmp_path / "run").about == first.about


def test_the_folder_s_name_follows_from_the_run(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [
        Run.prepare(recipe, text, seed)
        for recipe, seed in ((RECIPE, 1), (RECIPE, 1), (RECIPE, 2), (changed("training", lr=2.0), 1))
    ]
    assert runs[0].folder == DEFAULT_OUT / f"small-seed1-{runs[0].about[:8]}"
    assert len({run.folder for run in runs}) == 3
    assert sorted(tmp_path.joinpath(DEFAULT_OUT).iterdir()) == sorted({tmp_path / run.folder for run in runs})


def test_a_folder_that_holds_something_else_or_can_t_be_made_is_refused(text: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--out must be a new folder, or hold this very run"):
        Run.prepare(RECIPE, text, 1, tmp_path)
    for out in (text, text / "below"):
        with pytest.raises(ValueError, match="--out must be a folder that can be written"):
            Run.prepare(RECIPE, text, 1, out)
    (tmp_path / "empty").mkdir()
    assert Run.prepare(RECIPE, text, 1, tmp_path / "empty").folder == tmp_path / "empty"


def test_a_kill_while_the_folder_was_made_does_no_harm(text: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json.part").write_text('{"about"')
    Run.prepare(RECIPE, text, 1, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.json", ".lock", ".lock-holder"}


def test_data_may_move_and_may_not_change(text: Path, tmp_path: Path) -> None:
    first = Run.prepare(RECIPE, text, 1, tmp_path / "run")
    moved = text.rename(tmp_path / "moved.txt")
    with pytest.raises(ValueError, match=r"TEXT must be a file that exists; got '.*text\.txt'"):
        Run.open(tmp_path / "run")
    assert Run.open(tmp_path / "run", moved).about == first.about
    assert Run.prepare(RECIPE, moved, 1, tmp_path / "run").about == first.about
    moved.write_text(moved.read_text() + " w1")
    with pytest.raises(ValueError, match=r"the data must be those of the training, and .*; got '.*moved\.txt'"):
        Run.open(tmp_path / "run", moved)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b'"about"', b"null", b"{}", b'{"about": "x"}', b"\xff\xfe"],
    ids=repr,
)
def test_a_damaged_run_is_refused(text: Path, tmp_path: Path, content: bytes) -> None:
    Run.prepare(RECIPE, text, 1, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_bytes(content)
    for attempt in (lambda: Run.open(tmp_path / "run"), lambda: Run.prepare(RECIPE, text, 1, tmp_path / "run")):
        with pytest.raises(ValueError, match=r"run.json must be (JSON|that of a run); got .*run\.json"):
            attempt()


def test_a_run_whose_settings_were_edited_is_refused(text: Path, tmp_path: Path) -> None:
    Run.prepare(RECIPE, text, 1, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    file.write_text(file.read_text().replace('"lr": 1.0', '"lr": 2.0'))
    with pytest.raises(ValueError, match="the data must be those of the training"):
        Run.open(tmp_path / "run")
    file.write_text(file.read_text().replace('"lr": 2.0', '"rate": 2.0'))
    with pytest.raises(ValueError, match="training has no 'rate'"):
        Run.open(tmp_path / "run")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=r"RUN must be the folder of a run; got .* Make one with recurdrop train"):
            Run.open(folder)


def test_a_trained_run_gives_its_best_weights_and_their_scores(text: Path, tmp_path: Path) -> None:
    run = Run.prepare(RECIPE, text, 1, tmp_path / "run")
    with pytest.raises(ValueError, match="a run has weights once an epoch has a validation loss"):
        run.model()
    fitted = run.fit()
    model = Run.open(tmp_path / "run").model()
    assert not model.training
    assert equal(weights(model), fitted.best)
    for part in ("valid", "test"):
        score, final = run.score(part)  # type: ignore[arg-type]
        assert score == run.task.score(model, part)  # type: ignore[arg-type]
        assert final == {}
    assert run.score("valid")[0].loss == pytest.approx(fitted.curve[0].valid, rel=1e-9)
    torch.manual_seed(4)
    noisy = run.score("valid", samples=2)[0]
    torch.manual_seed(4)
    assert noisy == run.task.score(run.model(), "valid", samples=2) != run.score("valid")[0]


def test_weights_of_another_run_are_refused(text: Path, tmp_path: Path) -> None:
    runs = [Run.prepare(RECIPE, text, seed, tmp_path / str(seed)) for seed in (1, 2)]
    runs[0].fit()
    for name in ("best.safetensors", "checkpoint.safetensors"):
        (tmp_path / "2" / name).write_bytes((tmp_path / "1" / name).read_bytes())
    for attempt in (runs[1].model, runs[1].fit):
        with pytest.raises(ValueError, match="a checkpoint must be of this run's data and settings"):
            attempt()


def test_settings_of_the_model_are_checked_before_the_folder_is_bound(text: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="layers of unequal widths"):
        Run.prepare(changed("model", widths=(6, 4), tied=False), text, 1, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    Run.prepare(RECIPE, text, 1, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_that_there_is_not_is_said_with_the_rest() -> None:
    with pytest.raises(ValueError, match=r"model: .*zonout.*training has no 'rate'"):
        from_tables(
            "f",
            {
                "task": "forecast",
                "data": {"target": "y"},
                "model": {"noise": ["zonout"]},
                "training": {"batch": 1, "epochs": 1, "lr": 1.0, "rate": 1},
            },
        )


def test_a_run_goes_on_in_its_precision(text: Path, tmp_path: Path) -> None:
    Run.prepare(RECIPE, text, 1, tmp_path / "run").fit()
    longer = tmp_path / "run"
    with pytest.raises(ValueError, match="a run in precision 32-true goes on in it; got 'bf16-mixed'"):
        Run.prepare(RECIPE, text, 1, longer).fit(precision="bf16-mixed")


def test_data_that_are_needed_must_be_given() -> None:
    music = from_tables(
        "m", {"task": "music", "data": {"file": "a.json"}, "training": {"batch": 1, "epochs": 1, "lr": 1.0}}
    )
    with pytest.raises(ValueError, match="music needs data; got 'none'"):
        music.load(None)


# The first digits of `Run.about` by version 0.1, for data whose hash is "0" and seed 1. A saved run opens only while
# its digest stays the same: a setting that comes later must be declared with `added_later`.
SAVED_BY_0_1 = {
    "zaremba-small": "c8a45979ac5dbf25",
    "zoneout-char-ptb": "be39a82c68a4a595",
    "jena-gru-dropout": "086ef30d38a0cfe6",
    "imdb-bilstm-dropout": "eddabb45c2e633b8",
    "multi30k-seq2seq": "9421b631d3f5aba8",
    "trigger-gru": "9e3a1fc27cac8402",
    "jsb-fastdropout": "084d2f961d611245",
    "jsb-rnn": "3bda587aa577d085",
    "temporal-order": "cd9e486dc452d9bd",
}


@pytest.mark.parametrize("name", SAVED_BY_0_1)
def test_runs_that_version_0_1_saved_still_open(name: str) -> None:
    task: Any = SimpleNamespace(sha256="0")
    run = Run(read_recipe(name), task, None, 1, Path())
    assert run.about[:16] == SAVED_BY_0_1[name]


def test_a_setting_that_came_later_changes_the_identity_only_where_it_is_used() -> None:
    @dataclasses.dataclass(frozen=True)
    class Settings:
        size: int = 3
        split: str = added_later("auto")

    assert identity(Settings()).endswith("Settings(size=3)")
    assert identity(Settings(4, "spaces")).endswith("Settings(size=4, split='spaces')")
