from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest

import recurdrop as rd
from recurdrop.data.text import Corpus, prepare
from recurdrop.records import NONE, RunRecord
from recurdrop.study import compare, pool
from recurdrop.study.compare import Comparison, default_methods, parse_methods
from recurdrop.study.pool import Job, run_all
from recurdrop.train.config import Config

CONFIG = Config(hidden=4, epochs=2, batch=2, window=5, tokens=400)
METHODS = parse_methods("zaremba,locked:0.1")


def ignore(label: str, seed: int, epoch: int) -> None:
    pass


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return prepare(
        "a dog sees the cat .\nthe cat sees a dog and a cow .\n" * 30, "t.txt", vocabulary=20, tokens=400, least=3
    )


@pytest.fixture
def comparison(corpus: Corpus, tmp_path: Path) -> Comparison:
    return Comparison.prepare(corpus, CONFIG, METHODS, 2, tmp_path / "out")


def test_methods_are_parsed_and_none_is_always_there() -> None:
    found = parse_methods("zoneout:c=0.3, h=0.1,awd , zaremba:0.3,locked:0.4,0.2,0.1,none")
    assert found == {
        "none": None,
        "zoneout:c=0.3,h=0.1": rd.Zoneout(c=0.3, h=0.1),
        "awd": rd.AWD(),
        "zaremba:0.3": rd.Zaremba(0.3),
        "locked:0.4,0.2,0.1": rd.Locked(0.4, 0.2, 0.1),
    }
    assert parse_methods("NONE") == {"none": None}


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
    lstm, rnn = default_methods(Config()), default_methods(Config(cell="rnn"))
    assert lstm[NONE] is None
    assert lstm["zaremba"] == rd.Zaremba.published()
    assert set(rnn) < set(lstm)
    assert "rnndrop" not in rnn
    # at their published rates these two are one
    assert len({"weightdrop", "dropconnect"} & set(lstm)) == 1
    spelled = {name for name in rd.methods.names() if not rd.methods.get(name).by_default}
    assert spelled == {"allennlp", "haste", "tf1_variational"}
    assert set(rd.methods.names()) - set(lstm) - spelled <= {"weightdrop", "dropconnect"}
    assert not spelled & set(lstm)


@pytest.mark.parametrize(
    ("cell", "text"), [("rnn", "rnndrop"), ("gru", "zoneout:c=0.5,h=0.1"), ("lstm", "zaremba:0.1/0.2/0.3/0.4")]
)
def test_a_method_that_does_not_fit_is_refused_before_anything_runs(
    corpus: Corpus, tmp_path: Path, cell: str, text: str
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the method words it)
        Comparison.prepare(corpus, Config(cell=cell), parse_methods(text), 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_folder_is_named_after_text_and_settings(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, again, more = (Comparison.prepare(corpus, CONFIG, METHODS, seeds, None).folder.path for seeds in (1, 1, 5))
    other = Comparison.prepare(corpus, Config(hidden=5), METHODS, 1, None).folder.path
    assert first == again == more
    assert first != other
    assert first.parent == Path("recurdrop-runs")
    assert first.name.startswith("t-")


def test_an_interrupted_comparison_goes_on_without_doing_a_run_twice(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = [(label, seed) for seed in (1, 2) for label in ("none", "zaremba", "locked:0.1")]
    started: list[tuple[str, int]] = []
    train = pool.train

    def watched(
        corpus: Corpus, config: Config, label: str, noise: rd.Method | None, seed: int, on_epoch: object
    ) -> object:
        started.append((label, seed))
        if len(started) == 4:
            raise KeyboardInterrupt
        return train(corpus, config, label, noise, seed, on_epoch)  # type: ignore[arg-type]

    monkeypatch.setattr(pool, "train", watched)
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


def test_more_seeds_and_methods_add_to_what_is_there(comparison: Comparison, corpus: Corpus) -> None:
    comparison.run(0, ignore)
    wider = Comparison.prepare(corpus, CONFIG, parse_methods("zaremba,keras"), 3, comparison.folder.path)
    done: list[tuple[str, int, int]] = []
    wider.run(0, lambda *event: done.append(event))
    assert {event[:2] for event in done} == {("keras", 1), ("keras", 2), ("keras", 3), ("none", 3), ("zaremba", 3)}


def test_the_test_part_is_seen_by_winner_and_none_only_and_after_ranking(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison.run(0, ignore)
    seen: list[object] = []

    def ranked(records: list[RunRecord]) -> list[object]:
        seen.append("ranked")
        rows = {row.method: row for row in rank(records)}
        return [rows["locked:0.1"], rows["zaremba"], rows["none"]]

    def scored(corpus: Corpus, config: Config, noise: rd.Method | None, weights: dict[str, object]) -> float:
        seen.append(noise)
        return math.log(len(seen))

    rank = compare.rank
    monkeypatch.setattr(compare, "rank", ranked)
    monkeypatch.setattr(compare, "score", scored)
    locked, zaremba, none = comparison.conclude()
    assert seen == ["ranked", rd.Locked(0.1), rd.Locked(0.1), None, None]
    assert zaremba.test is None
    assert locked.test is not None
    assert none.test is not None
    assert (locked.test.mean, none.test.mean) == (pytest.approx(2.5), pytest.approx(4.5))


def test_workers_find_what_one_process_finds(corpus: Corpus, comparison: Comparison, tmp_path: Path) -> None:
    comparison.run(0, ignore)
    side_by_side = Comparison.prepare(corpus, CONFIG, METHODS, 2, tmp_path / "other")
    epochs: list[tuple[str, int, int]] = []
    side_by_side.run(2, lambda *event: epochs.append(event))
    assert len(epochs) == 12
    for mine, theirs in zip(comparison.finished(), side_by_side.finished(), strict=True):
        assert (mine.method, mine.seed, mine.curve) == (theirs.method, theirs.seed, theirs.curve)


def test_workers_leave_ctrl_c_to_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[object] = []
    monkeypatch.setattr(signal, "signal", lambda *given: handled.append(given))
    monkeypatch.setattr(pool, "_events", None, raising=False)
    pool._start_worker(None)  # type: ignore[arg-type]
    assert handled == [(signal.SIGINT, signal.SIG_IGN)]


def test_an_error_in_a_worker_is_raised_here(corpus: Corpus, comparison: Comparison) -> None:
    broken = Config(hidden=4, epochs=1, batch=10_000, window=5)  # streams without a single step
    with pytest.raises(ZeroDivisionError):
        run_all([Job(NONE, None, 1)], corpus, broken, comparison.folder, 1, ignore)
