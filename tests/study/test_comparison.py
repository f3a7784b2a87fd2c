from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_task import TRAINING, MadeTask, made_setup
from torch import nn

import recurdrop as rd
from recurdrop.kinds.base import Part, Score
from recurdrop.records import NONE, Row, RunRecord
from recurdrop.study import compare, pool
from recurdrop.study.compare import Comparison, default_methods, parse_methods
from recurdrop.study.pool import Job, run_all
from recurdrop.study.setup import Setup
from recurdrop.train.lock import only_process

METHODS = parse_methods("zaremba,locked:0.1")


def ignore(label: str, seed: int, epoch: int) -> None:
    pass


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return Comparison.prepare(made_setup(), METHODS, 2, tmp_path / "out")


def test_methods_are_parsed_and_none_is_always_there() -> None:
    found = parse_methods("zoneout:c=0.3, h=0.1,awd , zaremba:0.3,locked:0.4,0.2,0.1,none")
    assert found == (NONE, "zoneout:c=0.3,h=0.1", "awd", "zaremba:0.3", "locked:0.4,0.2,0.1")
    assert parse_methods("NONE") == (NONE,)


def test_a_label_becomes_the_noise_of_the_model() -> None:
    made = made_setup(layers=2)
    assert made.noisy(NONE) == made.model
    assert made.noisy("locked:0.4,0.2,0.1").noise == ("locked:0.4,0.2,0.1",)
    assert made.noisy("awd").hidden == 4
    torch.manual_seed(3)
    model = made.build("locked:0.4,0.2,0.1")
    assert [m.noise for m in model.modules() if isinstance(m, rd.LSTM)] == [(rd.Locked(0.4, 0.2, 0.1),)]
    after = torch.get_rng_state()
    torch.manual_seed(3)
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zonout", "zonout"),
        ("zaremba:1.5", "1.5"),
        ("zoneout:q=1", "q=1"),
        ("awd,awd", "once"),
        ("zaremba,,awd", "zaremba,'"),
        ("", "''"),
    ],
)
def test_bad_methods_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_methods(text)


def test_the_default_has_each_different_method_that_the_cell_has() -> None:
    lstm, rnn = default_methods(made_setup()), default_methods(made_setup(cell="rnn"))
    assert lstm[0] == rnn[0] == NONE
    assert set(rnn) < set(lstm)
    assert "rnndrop" not in rnn
    # at their published rates these two are one
    assert len({"weightdrop", "dropconnect"} & set(lstm)) == 1
    spelled = {name for name in rd.methods.names() if not rd.methods.get(name).by_default}
    assert spelled == {"allennlp", "haste", "tf1_variational"}
    assert set(rd.methods.names()) - set(lstm) - spelled <= {"weightdrop", "dropconnect"}
    assert not spelled & set(lstm)


def test_bad_settings_of_the_model_leave_no_default_methods_but_an_error() -> None:
    class Broken(MadeTask):
        def build(self, model: Any) -> Any:
            raise ValueError("widths don't fit")

    with pytest.raises(ValueError, match="widths"):
        default_methods(dataclasses.replace(made_setup(), task=Broken()))


@pytest.mark.parametrize(
    ("cell", "text"), [("rnn", "rnndrop"), ("gru", "zoneout:c=0.5,h=0.1"), ("lstm", "zaremba:0.1/0.2/0.3/0.4")]
)
def test_a_method_that_does_not_fit_is_refused_before_anything_runs(tmp_path: Path, cell: str, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the method words it)
        Comparison.prepare(made_setup(cell=cell), parse_methods(text), 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_compared_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.noise itself; got \('awd',\).*--methods"):
        Comparison.prepare(made_setup(noise=("awd",)), METHODS, 1, tmp_path / "out")
    large = dataclasses.replace(TRAINING, batch=33)
    with pytest.raises(ValueError, match="must have a batch; got 'none of 33'"):
        Comparison.prepare(made_setup(large), METHODS, 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_folder_is_named_after_data_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, again, more = (Comparison.prepare(made_setup(), METHODS, seeds, None).folder.path for seeds in (1, 1, 5))
    wide = Comparison.prepare(made_setup(hidden=5), METHODS, 1, None).folder.path
    fast = Comparison.prepare(made_setup(dataclasses.replace(TRAINING, lr=1.0)), METHODS, 1, None).folder.path
    assert first == again == more
    assert len({first, wide, fast}) == 3
    assert first.parent == Path("recurdrop-runs")
    assert first.name.startswith("made-")


def test_settings_go_by_the_names_that_set_takes_and_infinity_binds_again(tmp_path: Path) -> None:
    unclipped = made_setup(dataclasses.replace(TRAINING, clip=math.inf, milestones=(1, 2)))
    for _ in range(2):
        Comparison.prepare(unclipped, METHODS, 1, tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    found = [settings[key] for key in ("task", "data", "data.length", "model.hidden", "training.clip")]
    assert found == ["made", "made", 5, 4, "inf"]
    assert settings["training.milestones"] == [1, 2]
    assert "model.noise" not in settings
    with pytest.raises(ValueError, match=r"training\.clip inf \(now 1\.0\)"):
        Comparison.prepare(made_setup(), METHODS, 1, tmp_path / "out")


def test_the_record_says_what_ran(comparison: Comparison) -> None:
    seen: list[int] = []
    setup = comparison.setup
    record, weights = setup.run("zoneout:c=0.5,h=0.1", 7, seen.append)
    assert [point.update for point in record.curve] == [8, 16]
    assert len(record.step_seconds) == 16
    assert seen == [1, 2]
    assert (record.task, record.method, record.seed) == ("made", "zoneout:c=0.5,h=0.1", 7)
    assert (record.noise, record.cite) == (repr(rd.Zoneout(c=0.5, h=0.1)), rd.Zoneout.cite)
    assert record.arguments == {"c": 0.5, "h": 0.1, "shared_mask": False, "stochastic_depth": False}
    assert record.config == setup.config()
    assert record.data == {"name": "made.csv", "sha256": "made", "train": 32, "valid": 8, "test": 8}
    assert (record.metric.name, record.metric.unit, record.metric.digits) == ("RMSE", "mm", 3)
    assert record.loss_unit == "square millimetres"
    assert record.machine["threads"] == 1
    for point in record.curve:
        assert point.valid_metric == pytest.approx(math.sqrt(point.valid))
        assert point.train_metric == pytest.approx(math.sqrt(point.train))
    model = setup.build(NONE)
    model.load_state_dict(weights)
    assert setup.task.score(setup.build(NONE).eval(), "valid").loss != pytest.approx(record.best.valid)
    noisy = setup.build("zoneout:c=0.5,h=0.1").eval()
    noisy.load_state_dict(weights)
    assert setup.task.score(noisy, "valid").loss == pytest.approx(record.best.valid, rel=1e-5)
    assert setup.test("zoneout:c=0.5,h=0.1", weights) == pytest.approx(setup.task.score(noisy, "test").metric)


def test_a_run_puts_threads_back() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        record, _ = made_setup().run(NONE, 1, lambda epoch: None)
        assert (torch.get_num_threads(), record.machine["threads"]) == (2, 1)
    finally:
        torch.set_num_threads(threads)


def test_an_interrupted_comparison_goes_on_without_doing_a_run_twice(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = [(label, seed) for seed in (1, 2) for label in ("none", "zaremba", "locked:0.1")]
    started: list[tuple[str, int]] = []
    run = Setup.run

    def watched(self: Setup, label: str, seed: int, on_epoch: Callable[[int], None]) -> object:
        started.append((label, seed))
        if len(started) == 4:
            raise KeyboardInterrupt
        return run(self, label, seed, on_epoch)

    monkeypatch.setattr(Setup, "run", watched)
    with pytest.raises(KeyboardInterrupt):
        comparison.run(0, ignore)
    kept = {path: path.read_bytes() for path in (comparison.folder.path / "runs").iterdir()}
    assert len(kept) == 3
    assert [(r.method, r.seed) for r in comparison.finished()] == order[:3]

    epochs: list[tuple[str, int, int]] = []
    comparison.run(0, lambda *event: epochs.append(event))
    assert started == [*order[:4], *order[3:]]
    assert epochs == [(label, seed, epoch) for label, seed in order[3:] for epoch in (1, 2)]
    assert {path: path.read_bytes() for path in kept} == kept
    assert [(r.method, r.seed) for r in comparison.finished()] == order

    comparison.run(0, ignore)
    assert len(started) == 7


def test_more_seeds_and_methods_add_to_what_is_there(comparison: Comparison) -> None:
    comparison.run(0, ignore)
    wider = Comparison.prepare(made_setup(), parse_methods("zaremba,keras"), 3, comparison.folder.path)
    done: list[tuple[str, int, int]] = []
    wider.run(0, lambda *event: done.append(event))
    assert {event[:2] for event in done} == {("keras", 1), ("keras", 2), ("keras", 3), ("none", 3), ("zaremba", 3)}


def test_the_test_part_is_seen_by_winner_none_and_baselines_only_and_after_ranking(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison.run(0, ignore)
    seen: list[object] = []

    def ranked(records: list[RunRecord], baselines: dict[str, Score]) -> list[Row]:
        seen.append("ranked")
        rows = {row.method: row for row in rank(records, baselines)}
        return [rows[name] for name in ("zero", "locked:0.1", "zaremba", "last", "none")]

    def scored(self: MadeTask, model: nn.Module, part: Part, samples: int = 0) -> Score:
        (noise,) = (m.noise for m in model.modules() if isinstance(m, rd.LSTM))
        assert part == "test"
        assert not model.training
        seen.append(noise)
        return Score(math.nan, float(len(seen)))

    rank = compare.rank
    monkeypatch.setattr(compare, "rank", ranked)
    monkeypatch.setattr(MadeTask, "score", scored)
    zero, locked, zaremba, last, none = comparison.conclude()
    noise = (rd.Locked(0.1),)
    assert seen == ["ranked", noise, noise, (), ()]
    assert zaremba.test is None
    assert locked.test is not None
    assert none.test is not None
    assert (locked.test.mean, none.test.mean) == (2.5, 4.5)
    expected = comparison.setup.task.baselines("test")
    assert zero.test is not None and last.test is not None
    assert (zero.test.mean, last.test.mean) == (expected["zero"].metric, expected["last"].metric)
    assert zero.test.mean != zero.valid.mean


def test_workers_find_what_one_process_finds(comparison: Comparison, tmp_path: Path) -> None:
    comparison.run(0, ignore)
    side_by_side = Comparison.prepare(made_setup(), METHODS, 2, tmp_path / "other")
    epochs: list[tuple[str, int, int]] = []
    side_by_side.run(2, lambda *event: epochs.append(event))
    assert len(epochs) == 12
    for mine, theirs in zip(comparison.finished(), side_by_side.finished(), strict=True):
        assert (mine.method, mine.seed, mine.curve) == (theirs.method, theirs.seed, theirs.curve)


def test_workers_leave_ctrl_c_to_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[object] = []
    monkeypatch.setattr(signal, "signal", lambda *given: handled.append(given))
    for name in ("_events", "_setup", "_folder"):
        monkeypatch.setattr(pool, name, None, raising=False)
    pool._start_worker(None, None, None)  # type: ignore[arg-type]
    assert handled == [(signal.SIGINT, signal.SIG_IGN)]


def test_an_error_in_a_worker_is_raised_here(comparison: Comparison) -> None:
    with pytest.raises(ValueError, match="zonout"):
        run_all([Job("zonout", 1)], comparison.setup, comparison.folder, 1, ignore)


def test_a_curriculum_is_compared_with_none(tmp_path: Path) -> None:
    made = made_setup()
    made = dataclasses.replace(made, training=dataclasses.replace(made.training, curriculum=0.1))
    runs = {label: made.run(label, 1, lambda _: None)[0] for label in (NONE, "zaremba")}
    plain = made_setup().run(NONE, 1, lambda _: None)[0]
    assert runs[NONE].curve == plain.curve
    assert runs["zaremba"].curve != made_setup().run("zaremba", 1, lambda _: None)[0].curve


def test_another_process_in_the_folder_is_named_before_anything_is_trained(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_process(comparison.folder.path), pytest.raises(ValueError, match=f"where process {os.getpid()} on"):
        comparison.run(0, ignore)
    assert comparison.finished() == []
    comparison.run(0, ignore)
    with only_process(comparison.folder.path):
        comparison.run(0, ignore)  # there is nothing left to do, and finished runs may always be read


def test_a_full_disk_keeps_the_runs_before_and_the_rest_ends_as_it_would_have(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, written = os.fsync, []

    def full(descriptor: int) -> None:
        fsync(descriptor)
        written.append(descriptor)
        if len(written) == 4:  # weights and record of the first run, weights of the second
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*seed1\.json'"):
            comparison.run(0, ignore)
    assert len(comparison.finished()) == 1
    comparison.run(0, ignore)
    whole = Comparison.prepare(made_setup(), METHODS, 2, tmp_path / "whole")
    whole.run(0, ignore)
    for label in METHODS:
        mine, other = (made.folder.load_weights(label, 1) for made in (comparison, whole))
        assert all(torch.equal(mine[name], other[name]) for name in other)
