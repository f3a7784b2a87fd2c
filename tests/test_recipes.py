from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from recurdrop import kinds, recipes
from recurdrop.models.settings import ModelSettings, TrainingSettings
from recurdrop.train.recipe import PublishedNumbers, Recipe, from_tables, read_recipe

TABLES = {
    "task": "language",
    "source": " me \n",
    "data": {"vocabulary": 50},
    "model": {"vocabulary": 50, "embedding": 8, "widths": [8]},
    "training": {"batch": 4, "epochs": 2, "lr": 1},
}
TEXT = """
task = "language"
[model]
vocabulary = 50
embedding = 8
widths = [8]
[training]
batch = 4
epochs = 2
lr = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    return path


def refusal(name: object, *changes: str) -> str:
    with pytest.raises(ValueError, match=r" must | is ") as error:
        read_recipe(str(name), changes)
    return str(error.value)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_reads_and_its_tables_give_it_again(name: str) -> None:
    kind = recipes.tables(name)["task"]
    module = kinds.KINDS[kind].split(":")[0]
    if importlib.util.find_spec(f"recurdrop.kinds.{module}") is None:
        pytest.skip(f"there is no task {kind} yet")
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.kind == kind == recipe.task.kind
    assert len(recipe.source) > 20
    assert isinstance(recipe.data, recipe.task.Data)
    assert isinstance(recipe.model, recipe.task.Model)
    assert recipe.training.batch > 0
    assert repr(from_tables(name, recipe.tables())) == repr(recipe)
    for part in ("data", "model", "training"):
        given = recipes.tables(name).get(part, {})
        have = {key: getattr(getattr(recipe, part), key) for key in given}
        assert {key: list(value) if isinstance(value, tuple) else value for key, value in have.items()} == given


def test_names_are_sorted_and_those_of_the_files() -> None:
    folder = Path(recipes.__file__).parent
    assert recipes.names() == sorted(path.stem for path in folder.glob("*.toml"))
    assert "zaremba-small" in recipes.names()


def test_a_recipe_holds_what_its_tables_say() -> None:
    recipe = from_tables("mine", {**TABLES, "published": {"metric": "perplexity", "test": 3}})
    assert (recipe.name, recipe.kind, recipe.source) == ("mine", "language", "me")
    assert recipe.model == ModelSettings(50, 8, (8,))
    assert repr(recipe.training) == repr(TrainingSettings(4, 2, 1.0))
    assert recipe.data.vocabulary == 50
    assert recipe.published is not None
    assert repr(recipe.published) == repr(PublishedNumbers("perplexity", math.nan, 3.0))
    assert from_tables("mine", TABLES).published is None
    assert repr(from_tables("mine", recipe.tables())) == repr(recipe)


def test_a_file_is_read_and_changed(file: Path) -> None:
    recipe = read_recipe(str(file))
    assert recipe.name == "mine"
    assert recipe.training.lr == 1.0
    changes = ["training.lr=0.25", "model.noise = ['zoneout:h=0.1']", "training.schedule=decay", "data.tokens=9"]
    changed = read_recipe(str(file), changes)
    assert (changed.training.lr, changed.training.schedule) == (0.25, "decay")
    assert changed.model.noise == ("zoneout:h=0.1",)
    assert changed.data.tokens == 9
    assert read_recipe("zaremba-small", ["training.epochs=1"]).training.epochs == 1
    assert read_recipe("zaremba-small").training.epochs == 13


def test_an_unknown_recipe_is_refused_with_those_there_are(tmp_path: Path) -> None:
    message = refusal("zaremba-tiny")
    assert "got 'zaremba-tiny'" in message
    assert "zaremba-small" in message
    assert "must be a file that can be read" in refusal(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "must be a file that can be read" in refusal(tmp_path / "folder.toml")


@pytest.mark.parametrize("content", [b"task = ", b"\xff\xfe", b"a = 1\na = 2"], ids=["cut", "no text", "twice"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith("a recipe must be TOML; got ")
    assert "bad.toml" in message


@pytest.mark.parametrize("change", ["training.lr", "lr=1", "training.=1", "=1", "", ".lr=1"])
def test_a_change_that_is_none_is_refused(file: Path, change: str) -> None:
    assert refusal(file, change) == f"a change is part.key=value; got {change!r}. Write e.g. training.lr=0.5."


def test_a_change_of_a_table_that_is_none_is_refused(file: Path) -> None:
    assert refusal(file, "task.kind=1").startswith("a change is of a key in a table")
    assert "there is no 'trainin'; did you mean 'training'?" in refusal(file, "trainin.lr=1")


def test_all_that_is_wrong_is_said_at_once(file: Path) -> None:
    file.write_text(TEXT.replace("lr = 1", "learning_rate = 1").replace("widths = [8]", "") + "\n[extra]\na = 1\n")
    message = refusal(file, "model.embeding=3", "training.batch=four", "data.vocabulary=1")
    for part in (
        "there is no 'extra'",
        "model has no 'embeding'; did you mean 'embedding'?",
        "model.widths is missing",
        "training.batch must be a whole number; got 'four'",
        "training has no 'learning_rate'",
        "training.lr is missing",
        "data: vocabulary must be 2 or more; got 1",
    ):
        assert part in message
    assert "\n" not in message


def test_a_missing_table_and_one_that_is_none_are_said(file: Path) -> None:
    file.write_text('task = "language"\ndata = 3\nmodel = [1]\n')
    message = refusal(file)
    assert "the table [training] is missing" in message
    assert "data must be a table" in message
    assert "model must be a table" in message


@pytest.mark.parametrize("task", ['task = "lenguage"', "task = 3", "task = ['language']", ""], ids=str)
def test_a_recipe_names_its_task(file: Path, task: str) -> None:
    file.write_text(TEXT.replace('task = "language"', task))
    assert refusal(file).startswith("task must be one of language, forecast, ")


def test_published_numbers_may_be_unknown() -> None:
    for name in recipes.names():
        published = recipes.tables(name).get("published")
        if published is not None:
            assert published["metric"]
            assert any(published.get(part, math.nan) > 0 for part in ("valid", "test"))
    assert Recipe("a", "language", "", None, None, TrainingSettings(1, 1, 1.0)).published is None
