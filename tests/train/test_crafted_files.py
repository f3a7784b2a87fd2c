"""Files and settings from somebody else: whatever is in them, one line says which file and which key."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from safetensors.torch import save
from small_runs import language

from recurdrop import methods
from recurdrop.study.folder import Folder
from recurdrop.train.best import BEST
from recurdrop.train.checkpoint import FORMAT, _digest, read_checkpoint, write_checkpoint
from recurdrop.train.fit import CHECKPOINT
from recurdrop.train.limits import check_model
from recurdrop.train.recipe import from_tables, read_recipe
from recurdrop.train.run import Run

DEEP = 100_000
RECIPE: dict[str, Any] = {
    "task": "language",
    "data": {"vocabulary": 50},
    "model": {"vocabulary": 50, "embedding": 6, "widths": [6], "tied": True},
    "training": {"batch": 4, "epochs": 2, "lr": 0.01, "bptt": 40, "clip": 1.0, "optimizer": "adam"},
}


class Stopped(Exception):
    pass


class Stop(L.Callback):
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == 9:
            raise Stopped


def one_line(raised: pytest.ExceptionInfo[ValueError], *words: str) -> None:
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 1000
    for word in words:
        assert word in message


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    language(folder)
    run = Run.prepare(from_tables("small", RECIPE), folder / "text.txt", 1, folder / "run")
    with pytest.raises(Stopped):
        run.fit(every=0.0, callbacks=[Stop()])
    return run


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy of the folder of a run that was stopped in its second epoch, to be spoilt."""
    for path in trained.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return Run(trained.recipe, trained.task, trained.source, trained.seed, tmp_path)


# Checkpoints ----------------------------------------------------------------------------------------------------


def crafted(tree: str, **tensors: torch.Tensor) -> bytes:
    """A file whose checksum is right and whose tree is anything."""
    return save(tensors, {"format": FORMAT, "about": "", "tree": tree, "sha256": _digest(tree, tensors)})


HEADER = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
FILES: dict[str, bytes] = {
    "no bytes": b"",
    "a header beyond the file": (2**62).to_bytes(8, "little") + b"{}",
    "a header that is no JSON": (4).to_bytes(8, "little") + b"\xff\xfe{}",
    "a nested header": (2 * DEEP).to_bytes(8, "little") + b"[" * DEEP + b"]" * DEEP,
    "a tensor beyond the file": len(HEADER).to_bytes(8, "little") + HEADER,
    "a tensor without end": (len(HEADER) + 9).to_bytes(8, "little") + HEADER.replace(b"[4]", b"[4000000000]"),
    "another program's": save({"a": torch.ones(2)}),
    "a tree that is no JSON": crafted("{"),
    "a nested tree": crafted("[" * DEEP + "]" * DEEP),
    "a tree nested in our own way": crafted('{"tuple": [' * 5000 + "]}" * 5000),
    "a tensor that is missing": crafted('{"tensor": "t0"}'),
    "a kind that there is not": crafted('{"pickle": []}'),
    "two kinds at once": crafted('{"tuple": [], "items": []}'),
    "no kind": crafted("{}"),
    "keys that are lists": crafted('{"items": [[[], 1]]}'),
    "items that are no pairs": crafted('{"items": [1, 2]}'),
    "a tuple of a number": crafted('{"tuple": 5}'),
    "a float of a word": crafted('{"float": "many"}'),
    "no tree": crafted(""),
}


@pytest.mark.parametrize("name", FILES)
def test_a_crafted_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(FILES[name])
    with pytest.raises(ValueError, match="a checkpoint must") as raised:
        read_checkpoint(path)
    one_line(raised, str(path))


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state.pop(key)


def set_(*path: Any) -> Callable[[dict[str, Any]], Any]:
    """Set the last of a path of keys to the value behind it."""
    *keys, last, value = path

    def change(state: Any) -> None:
        for key in keys:
            state = state[key]
        state[last] = value

    return change


ODD: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{f"without {key}": without(key) for key in ("recurdrop", "state_dict", "optimizer_states", "loops")},
    "curve of words": set_("recurdrop", "curve", ["a", "b"]),
    "curve of four": set_("recurdrop", "curve", [(1.0, 2.0, 3.0, 4.0)]),
    "no processes": lambda state: state["recurdrop"].pop("each"),
    "processes of none": set_("recurdrop", "each", []),
    "no random state": set_("recurdrop", "each", [{"random": None, "carried": None}]),
    "weights of another model": set_("state_dict", "model.encoder.weight", torch.zeros(3, 3)),
    "weights that are none": set_("state_dict", "model.encoder.weight", 5),
    "an optimizer of other weights": set_("optimizer_states", 0, "state", 0, "exp_avg", torch.zeros(3, 3)),
    "an optimizer without groups": lambda state: state["optimizer_states"][0].pop("param_groups"),
    "an optimizer of fewer weights": lambda state: state["optimizer_states"][0]["param_groups"][0]["params"].pop(),
    "no optimizer": set_("optimizer_states", []),
    "recurdrop is a number": set_("recurdrop", 5),
}


@pytest.mark.parametrize("name", ODD)
def test_a_checkpoint_that_lacks_something_is_refused_before_training(run: Run, name: str) -> None:
    state = read_checkpoint(run.folder / CHECKPOINT)
    ODD[name](state)
    write_checkpoint(run.folder / CHECKPOINT, state, run.about)
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (the message is compared below)
        run.fit()
    one_line(raised, str(run.folder / CHECKPOINT))


def test_a_list_is_no_checkpoint_of_a_run(run: Run) -> None:
    write_checkpoint(run.folder / CHECKPOINT, [1, 2], run.about)
    for ask in (run.fit, run.curve, run.model):
        with pytest.raises(ValueError) as raised:  # noqa: PT011
            ask()
        one_line(raised, str(run.folder / CHECKPOINT))


def test_best_weights_of_another_shape_name_the_weight(run: Run) -> None:
    weights = read_checkpoint(run.folder / BEST)
    name = next(iter(weights))
    weights[name] = torch.zeros(2, 2)
    digest = write_checkpoint(run.folder / BEST, weights, run.about)
    state = read_checkpoint(run.folder / CHECKPOINT)
    state["recurdrop"]["best"] = digest
    write_checkpoint(run.folder / CHECKPOINT, state, run.about)
    with pytest.raises(ValueError, match=rf"{re.escape(name)} is torch\.float32 \(2, 2\) and not") as raised:
        run.model()
    one_line(raised, str(run.folder / BEST))


# run.json and settings.json -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"name": 5}, "name"),
        ({"seed": "1"}, "seed"),
        ({"seed": True}, "seed"),
        ({"data": 5}, "data"),
        ({"recipe": []}, "recipe"),
        ({"about": None}, "about"),
        ({"recipe": {"task": ["language"]}}, "task"),
        ({"recipe": {**RECIPE, "model": 5}}, "model"),
    ],
)
def test_a_key_of_another_type_in_run_json_is_named(run: Run, change: dict[str, Any], key: str) -> None:
    file = run.folder / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=key) as raised:
        Run.open(run.folder)
    one_line(raised)


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, "5", "[]", "{", "\xff"])
def test_other_json_is_no_run_and_no_comparison(run: Run, tmp_path: Path, text: str) -> None:
    (run.folder / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"run\.json must be") as raised:
        Run.open(run.folder)
    one_line(raised, str(run.folder))
    (tmp_path / "compared").mkdir()
    (tmp_path / "compared" / "settings.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"settings\.json|settings asked for") as raised:
        Folder(tmp_path / "compared").bind({"data": "x"})
    one_line(raised)


# Recipes --------------------------------------------------------------------------------------------------------


def changed(**parts: Any) -> dict[str, Any]:
    found = copy.deepcopy(RECIPE)
    for part, value in parts.items():
        found[part] = {**found[part], **value} if isinstance(value, dict) else value
    return found


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (changed(source=5), "source must be text"),
        (changed(data=5), "data must be a table"),
        (changed(model={"widths": [[6]]}), "model.widths must be a list, each a whole number; got [[6]]"),
        (changed(model={"widths": [6.5]}), "model.widths must be a list, each a whole number"),
        (changed(model={"widths": [10**30]}), "model.widths must be"),
        (changed(model={"widths": "6"}), "model.widths must be"),
        (changed(model={"tied": 1}), "model.tied must be true or false"),
        (changed(training={"lr": 10**400}), "training.lr must be a number; got 1000"),
        (changed(training={"lr": float("inf")}), "lr must be finite"),
        (changed(training={"lr": float("nan")}), "lr must be above 0"),
        (changed(training={"weight_decay": float("inf")}), "weight_decay must be 0 or more, and finite"),
        (changed(training={"batch": True}), "training.batch must be a whole number"),
        (changed(training={"milestones": list(range(10**5))}), ""),
        (changed(task=["language"]), "task must be one of"),
        (changed(published=[]), "published must be a table"),
    ],
)
def test_settings_of_another_type_are_named(tables: dict[str, Any], said: str) -> None:
    if not said:
        from_tables("theirs", tables)
        return
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        from_tables("theirs", tables)
    one_line(raised, said)


@pytest.mark.parametrize("value", ["[" * 5000 + "]" * 5000, "{a=" * 5000 + "1" + "}" * 5000])
def test_nested_toml_is_one_line(tmp_path: Path, value: str) -> None:
    path = tmp_path / "theirs.toml"
    path.write_text(f"task = 'language'\n[model]\nwidths = {value}\n")
    with pytest.raises(ValueError, match=r"a recipe must be TOML|widths must be") as raised:
        read_recipe(str(path))
    one_line(raised, "theirs")
    with pytest.raises(ValueError, match=r"a change's value must be a plain one|widths must be") as raised:
        read_recipe("zaremba-small", [f"model.widths={value}"])
    one_line(raised)


@pytest.mark.parametrize("value", ["-" * 10**5 + "1", "(" * 10**5, "[" * 300 + "]" * 300])
def test_nested_rates_are_no_rates(value: str) -> None:
    with pytest.raises(ValueError, match="p of Zaremba must be"):
        methods.parse(f"zaremba:{value}")


@pytest.mark.parametrize(
    "model",
    [
        {"widths": [100_000_000], "tied": False},
        {"widths": [4_000_000_000], "tied": False},
        {"widths": [2**62], "tied": False},
        {"widths": [6] * 9 + [10**7], "tied": False, "noise": ["awd"]},
        {"embedding": 2**40, "tied": False},
    ],
)
def test_a_model_that_no_machine_holds_names_the_key(tmp_path: Path, model: dict[str, Any]) -> None:
    task = language(tmp_path)
    settings = from_tables("theirs", changed(model=model)).model
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"what \[model\] describes must fit into memory") as raised:
        check_model(task, settings)
    one_line(raised, f"model.{next(iter(model))} = ")
    assert torch.equal(torch.get_rng_state(), state)


def test_data_that_no_machine_holds_name_the_key(tmp_path: Path) -> None:
    recipe = read_recipe("temporal-order", [f"data.length={10**13}"])
    with pytest.raises(
        ValueError, match=r"what \[data\] describes must fit into memory; got 'data.length = 1"
    ) as raised:
        recipe.load(None)
    one_line(raised)


@pytest.mark.parametrize(
    ("task", "key", "value"),
    [
        ("forecast", "file", "../elsewhere.csv"),
        ("forecast", "file", "/etc/passwd"),
        ("forecast", "file", "a/../../b.csv"),
        ("forecast", "file", "C:\\data\\b.csv"),
        ("forecast", "file", "..\\b.csv"),
        ("music", "file", "../elsewhere.json"),
        ("translate", "source_language", "/../../en"),
        ("translate", "target_language", "../de"),
    ],
)
def test_a_recipe_names_no_file_outside_the_folder_of_the_data(task: str, key: str, value: str) -> None:
    data = {"target": "x", "lookback": 4, key: value} if task == "forecast" else {key: value}
    with pytest.raises(
        ValueError, match=f"{key} must be the name of a file inside the folder of the data; got"
    ) as raised:
        from_tables("theirs", {"task": task, "data": data, "training": {"batch": 4, "epochs": 1, "lr": 0.1}})
    one_line(raised)


def test_a_file_in_a_folder_of_the_data_is_inside(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    rows = "".join(f"{np.sin(i):.3f}\n" for i in range(200))
    (tmp_path / "tables" / "a..b.csv").write_text(f"x\n{rows}")
    data = {"target": "x", "lookback": 4, "file": "tables/a..b.csv"}
    training = {"batch": 4, "epochs": 1, "lr": 0.1}
    recipe = from_tables("mine", {"task": "forecast", "data": data, "training": training})
    assert recipe.load(tmp_path).name == "a..b.csv"
