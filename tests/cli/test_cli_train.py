from __future__ import annotations

import csv
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

import recurdrop as package
from recurdrop import recipes
from recurdrop.cli import app
from recurdrop.measured import read_measured
from recurdrop.report import curve_plot
from recurdrop.train.checkpoint import read_checkpoint
from recurdrop.train.recipe import from_tables, read_recipe
from recurdrop.train.run import Run

Command = Callable[..., Any]
RECIPE = """
task = "language"
source = "made up"

[model]
vocabulary = 0
embedding = 6
widths = [6]
noise = ["zaremba:0.3"]

[training]
batch = 2
epochs = 3
lr = 2.0
bptt = 20
clip = 5

[published]
metric = "perplexity"
valid = 12.5
"""
STOPPED = "recurdrop: stopped; o is kept, the same command goes on from there."


def prose() -> str:
    """Lines of which no two parts hold the same."""
    rng = np.random.default_rng(1)
    line = ("a", "the", "dog", "cat", "cow", "sees")
    return "".join(" ".join(rng.choice(line, 8)) + " .\n" for _ in range(60))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "small text.txt"
    path.write_text(prose())
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def trained(recurdrop: Command, recipe: Path, text: Path) -> Run:
    assert recurdrop("train", recipe, "--data", text, "--out", "o").code == 0
    return Run.open(Path("o"))


def points(run: Run) -> list[tuple[float, ...]]:
    found: list[tuple[float, ...]] = read_checkpoint(run.folder / "checkpoint.safetensors")["recurdrop"]["curve"]
    return found


def test_train_says_each_epoch_and_keeps_the_best_weights(recurdrop: Command, recipe: Path, text: Path) -> None:
    found = recurdrop("train", recipe, "--data", text, "--out", "o")
    assert (found.code, found.out) == (0, "Run: o\n")
    run = Run.open(Path("o"))
    curve = points(run)
    assert found.err.startswith("data: unknown words: 0.0 % of the validation part\n")
    assert found.said == [
        f"epoch {i + 1}: loss {train:.4f} train, {valid:.4f} valid (nats per token); "
        f"perplexity {math.exp(train):.1f}, {math.exp(valid):.1f}; lr 2"
        for i, (_, train, valid, *_) in enumerate(curve)
    ]
    assert len(curve) == 3
    assert curve[2][2] < curve[0][2]
    assert run.score("valid")[0].loss == min(valid for _, _, valid, *_ in curve)
    assert sorted(path.name for path in run.folder.iterdir() if not path.name.startswith(".")) == [
        "best.safetensors", "checkpoint.safetensors", "curve.png", "run.json",
    ]  # fmt: skip


def test_the_picture_shows_baselines_and_what_was_published(
    recurdrop: Command, recipe: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(curve_plot, "curve", lambda *given: asked.append((len(given[0]), *given[1:])) or b"png")
    once = "training.epochs=1"
    assert recurdrop("train", recipe, "--data", text, "--out", "o", "--set", once).code == 0
    task = Run.open(Path("o")).task
    baselines = {"word frequencies": task.baselines("valid")["word frequencies"].metric}
    assert asked == [(1, "tiny", task.metric, baselines, 12.5)]
    assert Path("o/curve.png").read_bytes() == b"png"
    for i, change in enumerate(("published.metric=bits", "published.valid=nan")):
        command = ("train", recipe, "--data", text, "--out", f"o{i}", "--set", once, "--set", change)
        assert recurdrop(*command).code == 0
        assert asked[-1][-1] is None


def test_settings_and_seed_reach_the_run_and_name_its_folder(recurdrop: Command, recipe: Path, text: Path) -> None:
    changes = ("--set", "training.epochs=1", "--set", "model.widths=[6, 6]", "--set", "model.cell=gru")
    command = ("train", recipe, "--data", text, *changes)
    folders = []
    for seed in (1, 2):
        found = recurdrop(*command, "--seed", seed)
        assert found.code == 0
        folders.append(Path(found.out.removeprefix("Run: ").strip()))
    assert [folder.name.split("-")[:2] for folder in folders] == [["tiny", "seed1"], ["tiny", "seed2"]]
    assert {folder.parent for folder in folders} == {Path("recurdrop-runs")}
    runs = [Run.open(folder) for folder in folders]
    for run, seed in zip(runs, (1, 2), strict=True):
        assert (run.recipe.training.epochs, run.recipe.model.widths, run.recipe.model.cell) == (1, (6, 6), "gru")
        assert (run.recipe.training.lr, run.seed) == (2.0, seed)
        assert [tuple(rnn.weight_hh_l1.shape) for rnn in run.model().rnns] == [(18, 6)]  # type: ignore[union-attr]
    assert points(runs[0]) != points(runs[1])


def test_tensorboard_has_the_curve(recurdrop: Command, recipe: Path, text: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert recurdrop("train", recipe, "--data", text, "--out", "o", "--tensorboard").code == 0
    events = EventAccumulator("o/tensorboard")
    events.Reload()
    curve = points(Run.open(Path("o")))
    for tag, place in (("valid_loss", 2), ("perplexity", 4)):
        found = events.Scalars(tag)
        assert [event.value for event in found] == pytest.approx([point[place] for point in curve], rel=1e-6)
    assert len(events.Scalars("train_loss")) == curve[-1][0]


def table(out: str) -> dict[str, list[str]]:
    """The first words of each line up to two blanks, and the rest in columns."""
    cells = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    return {row[0]: row[1:] for row in cells}


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_eval_prints_the_scores_of_best_weights_and_baselines(recurdrop: Command, trained: Run, part: Any) -> None:
    found = recurdrop("eval", "o", "--part", part)
    assert (found.code, found.err) == (0, "")
    rows = table(found.out)
    for name, score in (
        ("best weights", trained.score(part)[0]),
        ("word frequencies", trained.task.baselines(part)["word frequencies"]),
    ):
        assert rows[name] == [f"{score.metric:.1f}", f"{score.loss:.4f}"]
    if part == "test":
        assert recurdrop("eval", "o").out == found.out


def test_eval_averages_passes_with_noise(recurdrop: Command, trained: Run) -> None:
    plain = recurdrop("eval", "o").out
    torch.manual_seed(5)
    sampled = recurdrop("eval", "o", "--samples", 2)
    torch.manual_seed(5)
    score, _ = trained.score("test", samples=2)
    assert table(sampled.out)["best weights"] == [f"{score.metric:.1f}", f"{score.loss:.4f}"]
    assert sampled.out != plain


def test_eval_finds_data_that_have_moved(recurdrop: Command, trained: Run, text: Path) -> None:
    before = recurdrop("eval", "o").out
    moved = text.rename(text.with_name("moved.txt"))
    found = recurdrop("eval", "o")
    assert (found.code, len(found.err.splitlines())) == (2, 1)
    assert recurdrop("eval", "o", "--data", moved).out == before


def test_generate_writes_what_the_model_says(recurdrop: Command, trained: Run) -> None:
    found = recurdrop("generate", "o", "--prompt", "A dog", "--words", 9, "--temperature", 0)
    assert (found.code, found.err) == (0, "")
    task, model = trained.task, trained.model()
    words = task.numbers("a dog")  # type: ignore[attr-defined]
    for _ in range(9):
        words.append(int(model(torch.tensor(words)[:, None])[0][-1, 0].argmax()))
    assert found.out == task.text(words) + "\n"  # type: ignore[attr-defined]
    first = recurdrop("generate", "o", "--words", 30)
    assert first.out == recurdrop("generate", "o", "--words", 30, "--seed", 1).out
    assert first.out != recurdrop("generate", "o", "--words", 30, "--seed", 2).out
    assert 15 < len(first.out.split()) <= 30  # ends of sentences are ends of lines


def test_reproduce_puts_measured_beside_published(recurdrop: Command, recipe: Path, text: Path) -> None:
    command = ("reproduce", recipe, "--data", text, "--out", "o", "--samples", 2)
    found = recurdrop(*command)
    assert found.code == 0
    run = Run.open(Path("o"))
    best = min(range(3), key=lambda i: points(run)[i][2]) + 1
    assert found.out.splitlines()[0] == f"tiny, seed 1: best epoch {best} of 3"
    assert found.out.splitlines()[-1] == "Appended to results.csv, written to recurdrop-results/tiny-seed1.json. Run: o"
    with Path("results.csv").open() as file:
        rows = {(row["part"], row["what"]): row for row in csv.DictReader(file)}
    for part in ("valid", "test"):
        score, baseline = run.score(part)[0], run.task.baselines(part)["word frequencies"]  # type: ignore[arg-type]
        assert float(rows[part, "perplexity"]["measured"]) == score.metric
        assert float(rows[part, "perplexity of word frequencies"]["measured"]) == baseline.metric
        assert float(rows[part, "perplexity, 2 samples"]["measured"]) != score.metric
        published = "12.5" if part == "valid" else "–"
        line = next(line for line in found.out.splitlines() if re.match(rf"{part} +perplexity  ", line))
        assert line.split()[2:] == [published, f"{score.metric:.4g}"]
    row = rows["valid", "perplexity"]
    assert (row["recipe"], row["seed"], row["epochs"], row["best_epoch"]) == ("tiny", "1", "3", str(best))
    assert (float(row["published"]), rows["test", "perplexity"]["published"]) == (12.5, "nan")
    assert (row["torch"], row["folder"]) == (torch.__version__.split("+")[0], "o") or row["torch"] in torch.__version__
    recurdrop(*command, "--results", "results.csv")
    assert len(Path("results.csv").read_text().splitlines()) == 1 + 2 * len(rows)


def test_several_seeds_give_a_record_each_from_which_results_makes_its_tables(
    recurdrop: Command, recipe: Path, text: Path
) -> None:
    found = recurdrop("reproduce", recipe, "--data", text, "--seeds", 2, "--set", "training.epochs=1", "--out", "o")
    assert found.code == 0
    assert found.out.splitlines()[-1] == "All seeds: recurdrop results recurdrop-results --only tiny"
    records = read_measured(Path("recurdrop-results"))
    assert [record.seed for record in records] == [1, 2]
    for record in records:
        run = Run.open(Path("o") / f"seed{record.seed}")
        assert record.measured["valid"] == {"perplexity": run.score("valid")[0].metric}
        assert record.curve == tuple((point.train_metric, point.valid_metric) for point in run.curve())
        assert (record.published, record.precision, record.epochs) == ({"valid": 12.5}, "32", 1)
        assert record.command.startswith("recurdrop reproduce ")
    table = recurdrop("results").out.splitlines()
    values = [record.measured["test"]["perplexity"] for record in records]
    assert f"| tiny | test | {values[0]:.1f} | {values[1]:.1f} |" in table
    refused = recurdrop("results", "--only", "small")
    assert (refused.code, refused.out) == (2, "")
    assert "--only must name recipes with records, tiny; got 'small'" in refused.err


def test_recipes_lists_all_with_their_numbers_and_shows_one(recurdrop: Command) -> None:
    found = recurdrop("recipes")
    assert (found.code, found.err) == (0, "")
    rows = {line.split()[0]: line for line in found.out.splitlines() if line[:1].strip()}
    for name in recipes.names():
        numbers = recipes.tables(name).get("published", {})
        assert rows[name].split()[1] == recipes.tables(name)["task"]
        assert numbers.get("metric", "") in rows[name]
        for part in ("valid", "test"):
            value = numbers.get(part, math.nan)
            assert ("–" if math.isnan(value) else f"{value:g}") in rows[name].split()
    shown = recurdrop("recipes", "zaremba-small")
    Path("mine.toml").write_text(shown.out)
    copied, original = read_recipe("mine.toml"), read_recipe("zaremba-small")
    assert copied.tables() == original.tables() == from_tables("x", original.tables()).tables()


def test_an_interrupted_run_goes_on_and_ends_with_the_same_weights(
    recurdrop: Command, recipe: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("train", recipe, "--data", text)
    assert recurdrop(*command, "--out", "whole").code == 0
    whole = Run.open(Path("whole"))
    draw, handler = curve_plot.curve, signal.getsignal(signal.SIGINT)

    def stop(curve: list[Any], *given: Any) -> bytes:
        if len(curve) == 2:
            raise KeyboardInterrupt
        return draw(curve, *given)

    monkeypatch.setattr(curve_plot, "curve", stop)
    found = recurdrop(*command, "--out", "o")
    assert (found.code, found.out) == (130, "")
    assert [line.split(":")[0] for line in found.said] == ["epoch 1", "epoch 2", "recurdrop"]
    assert found.err.splitlines()[-1] == STOPPED
    assert signal.getsignal(signal.SIGINT) is handler
    run = Run.open(Path("o"))
    assert points(run) == points(whole)[:1]
    assert recurdrop("eval", "o").code == 0

    monkeypatch.setattr(curve_plot, "curve", draw)
    found = recurdrop(*command, "--out", "o")
    assert (found.code, found.out) == (0, "Run: o\n")
    assert [line.split(":")[0] for line in found.said] == ["epoch 2", "epoch 3"]
    assert points(run) == points(whole)
    for name in ("best", "checkpoint"):
        ours, theirs = (read_checkpoint(each.folder / f"{name}.safetensors") for each in (run, whole))
        if name == "checkpoint":
            ours, theirs = ours["state_dict"], theirs["state_dict"]
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert torch.equal(value, theirs[key])


def test_a_reproduction_that_is_stopped_claims_nothing(
    recurdrop: Command, recipe: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(curve_plot, "curve", stop)
    found = recurdrop("reproduce", recipe, "--data", text, "--out", "o")
    assert (found.code, found.out, found.err.splitlines()[-1]) == (130, "", STOPPED)
    assert len(Path("results.csv").read_text().splitlines()) == 1


def test_ctrl_c_outside_training_is_one_line(recurdrop: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "prepare", stop)
    found = recurdrop("train", recipe)
    assert (found.code, found.out, found.err.strip()) == (130, "", "recurdrop: stopped.")


SCRIPT = """
import signal
from recurdrop.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell may have switched it off
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_real_ctrl_c_ends_with_code_130_and_keeps_the_run(
    recurdrop: Command, recipe: Path, text: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.py").write_text(SCRIPT)
    command = ["train", str(recipe), "--data", str(text), "--out", "o", "--set", "training.epochs=100000"]
    process = subprocess.Popen(
        [sys.executable, "run.py", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "o" / "checkpoint.safetensors").exists():
            assert process.poll() is None, "ended before it could be stopped"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == STOPPED
    assert "Traceback" not in err
    run = Run.open(tmp_path / "o")
    done = len(points(run))
    assert done >= 1
    assert run.score("valid")[0].loss == min(valid for _, _, valid, *_ in points(run))


BAD: dict[str, tuple[list[str], list[str]]] = {
    "recipe": (["train", "zaremba"], ["goes by its name, or is a .toml file; got 'zaremba'", "zaremba-small"]),
    "missing recipe": (["train", "no.toml"], ["a recipe must be a file that can be read", "no.toml"]),
    "no TOML": (["train", "small text.txt.toml"], ["a recipe must be TOML"]),
    "task": (["train", "task.toml"], ["task must be one of language", "'cooking'"]),
    "keys": (
        ["train", "keys.toml"],
        ["there is no 'modle'; did you mean 'model'?", "data has no 'sett'; did you mean 'set'?",
         "training has no 'learning'", "training.batch must be a whole number; got 'two'", "training.lr is missing",
         "model: a method must be one that recurdrop has; got 'zonout'"],
    ),
    "set key": (["train", "tiny.toml", "--set", "training.epoch=3"], ["has no 'epoch'; did you mean 'epochs'?"]),
    "set type": (["train", "tiny.toml", "--set", "training.epochs=2.5"], ["must be a whole number; got 2.5"]),
    "set form": (["train", "tiny.toml", "--set", "epochs=2"], ["a change is part.key=value; got 'epochs=2'"]),
    "set source": (["train", "tiny.toml", "--set", "source.x=2"], ["a change is of a key in a table"]),
    "rule": (["train", "tiny.toml", "--set", "data.vocabulary=1"], ["vocabulary must be 2 or more; got 1"]),
    "noise": (["train", "tiny.toml", "--set", "model.noise=['zonout']"], ["zonout"]),
    "end": (["train", "tiny.toml", "--set", "training.epochs=0"], ["training needs an end"]),
    "no data": (["train", "zaremba-small"], ["ptb-word needs --data", "simple-examples.tgz"]),
    "missing data": (["train", "tiny.toml", "--data", "none.txt"], ["must be a file that exists; got 'none.txt'"]),
    "wrong folder": (["train", "zaremba-small", "--data", "."], ["ptb.train.txt or ptb.train.txt.gz"]),
    "seed": (["train", "tiny.toml", "--seed", "x"], ["--seed"]),
    "accelerator": (["train", "tiny.toml", "--accelerator", "tpu"], ["--accelerator is cpu, gpu or auto", "tpu"]),
    "precision": (["train", "tiny.toml", "--precision", "16"], ["--precision 32 or bf16-mixed", "16"]),
    "devices": (["reproduce", "tiny.toml", "--devices", "0"], ["--devices 1 or more", "0"]),
    "processes": (["train", "tiny.toml", "--devices", "3"], ["training.batch must divide among the processes"]),
    "out in use": (["train", "tiny.toml", "--out", "."], ["--out must be a new folder"]),
    "out other run": (["train", "tiny.toml", "--out", "o", "--seed", "2"], ["--out must be a new folder, or hold"]),
    "out file": (["train", "tiny.toml", "--out", "tiny.toml/o"], ["--out must be a folder that can be written"]),
    "results": (["reproduce", "tiny.toml", "--out", "o", "--results", "tiny.toml"], ["--results must be a file of"]),
    "results folder": (["reproduce", "tiny.toml", "--out", "o", "--results", "."], ["--results must be a file"]),
    "no run": (["eval", "."], ["RUN must be the folder of a run"]),
    "broken run": (["eval", "broken"], ["run.json must be that of a run"]),
    "untrained": (["eval", "new"], ["a run has weights once an epoch has a validation loss"]),
    "one sample": (["reproduce", "tiny.toml", "--samples", "1"], ["--samples must be 0 for none, or 2 or more; got 1"]),
    "seed below 0": (["train", "tiny.toml", "--seed", "-1"], ["--seed must be 0 or more and below 2**32; got -1"]),
    "cell": (["train", "tiny.toml", "--out", "n", "--set", "model.cell=gruu"], ["cell"]),
    "another kind's setting": (["train", "jsb-rnn", "--set", "training.alpha=2.0"], ["training.alpha means nothing"]),
    "part": (["eval", "o", "--part", "dev"], ["--part must be one of train, valid, test; got 'dev'"]),
    "samples": (["eval", "o", "--samples", "-1"], ["--samples must be 0 for none, or 2 or more; got -1"]),
    "other data": (["eval", "o", "--data", "other.txt"], ["the data must be those of the training", "other.txt"]),
    "generate no run": (["generate", "none"], ["RUN must be the folder of a run"]),
    "words": (["generate", "o", "--words", "0"], ["--words must be 1 or more"]),
    "temperature": (["generate", "o", "--temperature", "-1"], ["temperature must be 0 or more; got -1.0"]),
    "recipes": (["recipes", "zaremba"], ["there is no recipe 'zaremba'", "zaremba-small"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def some_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one epoch, and one of none."""
    folder = tmp_path_factory.mktemp("some")
    (folder / "tiny.toml").write_text(RECIPE)
    text = folder / "small text.txt"
    text.write_text(prose())
    recipe = read_recipe(str(folder / "tiny.toml"))
    Run.prepare(recipe, text, 1, folder / "o").fit()
    Run.prepare(recipe, text, 1, folder / "new")
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_code_2(recurdrop: Command, some_run: Path, case: str) -> None:
    text = some_run / "small text.txt"
    for name in ("o", "new"):
        Path(name).symlink_to(some_run / name)
    Path("tiny.toml").write_text(RECIPE)
    Path("small text.txt.toml").write_text("a dog sees")
    Path("task.toml").write_text(RECIPE.replace('"language"', '"cooking"'))
    Path("keys.toml").write_text(
        RECIPE.split("[published]")[0]
        .replace("[model]", "[modle]")
        .replace("lr", "learning")
        .replace("batch = 2", 'batch = "two"')
        + "\n[data]\nsett = 1\n[model]\nvocabulary = 0\nembedding = 6\nwidths = [6]\nnoise = ['zonout']\n"
    )
    Path("other.txt").write_text(text.read_text().replace("cow", "cat"))
    Path("broken").mkdir()
    Path("broken/run.json").write_text("[]")
    arguments, words = BAD[case]
    if arguments[0] in ("train", "reproduce") and "--data" not in arguments and "zaremba-small" not in arguments:
        arguments = [*arguments, "--data", str(text)]
    found = recurdrop(*arguments)
    assert found.code == 2
    assert found.out == ""
    (line,) = found.said
    assert line.startswith("recurdrop: ")
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize("option", [("--accelerator", "tpu"), ("--precision", "64"), ("--devices", "-1")])
def test_a_machine_that_there_is_not_is_refused_before_anything_is_written(
    recurdrop: Command, recipe: Path, text: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    before = sorted(tmp_path.iterdir())
    for command in ("train", "reproduce"):
        assert recurdrop(command, recipe, "--data", text, *option).code == 2
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has one")
def test_a_gpu_that_there_is_not_is_one_line(recurdrop: Command, recipe: Path, text: Path) -> None:
    found = recurdrop("train", recipe, "--data", text, "--out", "o", "--accelerator", "gpu")
    assert (found.code, found.out) == (2, "")
    (line,) = found.said
    assert line.startswith("recurdrop: --accelerator and --devices must be what this machine has; ")


def test_a_run_whose_data_have_changed_is_refused(recurdrop: Command, recipe: Path, text: Path, trained: Run) -> None:
    text.write_text(text.read_text().replace("cow", "cat"))
    found = recurdrop("train", recipe, "--data", text, "--out", "o")
    assert (found.code, "--out must be a new folder, or hold this very run" in found.err) == (2, True)
    found = recurdrop("eval", "o")
    assert (found.code, "the data must be those of the training" in found.err) == (2, True)


@pytest.mark.parametrize("name", ["checkpoint", "best"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "its checksum differs"),
        (lambda data: data[:-7], "must be a whole safetensors file"),
        (lambda data: b"", "must be a whole safetensors file"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_the_reason(
    recurdrop: Command, recipe: Path, text: Path, trained: Run, name: str, damage: Callable[[bytes], bytes], reason: str
) -> None:
    file = trained.folder / f"{name}.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    damaged = file.read_bytes()
    commands = [("train", recipe, "--data", text, "--out", "o"), *[("eval", "o"), ("generate", "o")] * (name == "best")]
    for command in commands:
        found = recurdrop(*command)
        assert (found.code, found.out) == (2, "")
        (line,) = found.said
        assert reason in line
        assert f"{name}.safetensors" in line
    assert file.read_bytes() == damaged


def test_a_checkpoint_of_another_run_is_refused(recurdrop: Command, recipe: Path, text: Path, trained: Run) -> None:
    assert recurdrop("train", recipe, "--data", text, "--out", "o2", "--seed", 2).code == 0
    Path("o2/best.safetensors").replace("o/best.safetensors")
    found = recurdrop("eval", "o")
    assert (found.code, "which is of another run" in found.err) == (2, True)


COMMANDS = sorted(typer.main.get_command(app()).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_ends_with_an_example_of_it(
    recurdrop: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    found = recurdrop(name, "--help")
    assert (found.code, found.err) == (0, "")
    lines = [line.strip() for line in found.out.splitlines()]
    (example,) = (line for line in lines if line.startswith("Example: "))
    words = example.split()
    assert words[1:3] == ["recurdrop", name]
    options = {option for param in typer.main.get_command(app()).commands[name].params for option in param.opts}  # type: ignore[attr-defined]
    assert {word for word in words[3:] if word.startswith("--")} <= options


def test_all_commands_are_there(recurdrop: Command) -> None:
    commands = [
        "compare",
        "curves",
        "doctor",
        "eval",
        "generate",
        "methods",
        "predict",
        "recipes",
        "reproduce",
        "results",
        "train",
    ]
    assert commands == COMMANDS
    found = recurdrop("--help")
    assert all(re.search(rf"\b{name}\b", found.out) for name in COMMANDS)


def test_help_and_recipes_import_nothing_heavy() -> None:
    code = """
import sys
from recurdrop.cli import main
for words in (["--help"], ["recipes"], ["recipes", "gal-large"], ["train", "--help"]):
    try:
        main(words)
    except SystemExit as stop:
        print(stop.code, file=sys.stderr)
heavy = ("lightning", "pandas", "matplotlib", "jinja2", "safetensors", "datasets", "tensorboard", "sacrebleu")
print(*[name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr.split() == ["0"] * 4


def test_curves_of_two_runs_in_one_picture(
    recurdrop: Command, some_run: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recurdrop.report import overfitting_plot

    drawn: dict[str, Any] = {}
    right = overfitting_plot.overfitting_plot

    def seen(runs: Any, **rest: Any) -> bytes:
        drawn.update(runs=runs, **rest)
        return right(runs, **rest)

    monkeypatch.setattr(overfitting_plot, "overfitting_plot", seen)
    second = Path("second.toml")
    second.write_text(RECIPE)
    run = Run.prepare(read_recipe(str(second)), some_run / "small text.txt", 2, Path("p"))
    curve = run.fit().curve
    found = recurdrop("curves", some_run / "o", "p", "--out", "both.png")
    assert (found.code, found.out) == (0, "both.png\n")
    assert Path("both.png").read_bytes().startswith(b"\x89PNG")
    assert list(drawn["runs"]) == ["tiny", "second"]
    assert drawn["runs"]["second"] == ([p.train_metric for p in curve], [p.valid_metric for p in curve])
    assert drawn["baseline"] == ("word frequencies", run.task.baselines("valid")["word frequencies"].metric)
    assert drawn["label"] == "perplexity"
    other = Run.prepare(read_recipe(str(second)), None, 1, Path("q"))
    other.fit()
    assert recurdrop("curves", "p", "q").err.startswith("recurdrop: runs in one picture are on the same data")
    assert recurdrop("curves", some_run / "new").err.startswith("recurdrop: a checkpoint must be a file")
