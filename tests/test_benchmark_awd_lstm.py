"""The training of AWD-LSTM beside its wrapper: equal models, equal data, and a run that can be interrupted."""

from __future__ import annotations

import functools
import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import awd_lstm
from benchmarks.peer_models import WrapperAWDLSTM

import recurdrop as rd
from recurdrop.models import AWDLSTM

PTB = Path(__file__).parents[2] / "shared" / "data" / "ptb-word"
WORDS = torch.tensor([[0, 3], [1, 1], [5, 0], [2, 6]])


def small() -> AWDLSTM:
    torch.manual_seed(1)
    return AWDLSTM(7, 4, 6)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(awd_lstm, "AWDLSTM", functools.partial(AWDLSTM, embedding=4, hidden=6))
    rng = np.random.default_rng(3)
    for part, lines in (("train", 400), ("valid", 60)):
        text = "\n".join(" ".join(rng.choice(list("abcde"), 9)) for _ in range(lines))
        with gzip.open(tmp_path / f"ptb.{part}.txt.gz", "wt") as file:
            file.write(text + "\n")
    return tmp_path


def test_without_noise_both_models_are_one_and_with_it_they_are_not() -> None:
    ours = small()
    assert awd_lstm.difference(ours, WORDS) < 1e-7
    assert ours.encoder.p == 0.1
    assert ours.rnns[0].noise == rd.AWD(input=0.4, between=0.0, output=0.25, weight=0.5)
    wrapper = WrapperAWDLSTM(ours)
    assert (wrapper.dropoute, wrapper.dropouti, wrapper.dropouth, wrapper.dropout) == (0.1, 0.4, 0.25, 0.4)
    assert [rnn.p for rnn in wrapper.rnns] == [0.5] * 3
    assert sum(p.numel() for p in wrapper.parameters()) == sum(p.numel() for p in ours.parameters())
    wrapper.without_noise()
    expected, _ = wrapper(WORDS)
    for name in ("dropoute", "dropouti", "dropouth", "dropout"):
        setattr(wrapper, name, 0.7)
        assert not torch.equal(wrapper(WORDS)[0], expected), name
        assert torch.equal(wrapper.eval()(WORDS)[0], expected), name
        setattr(wrapper.train(), name, 0.0)


def test_an_interrupted_run_ends_like_one_that_was_not(folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(folder), "--every", "1", "--threads", "1"]
    whole = awd_lstm.main(arguments)
    checkpoint = ["--checkpoint", str(tmp_path / "state.pt")]
    step, steps = awd_lstm.Run.step, []

    def interrupted(run: Any, *window: Any) -> None:
        steps.append(run)
        if len(steps) == 4:
            raise KeyboardInterrupt
        step(run, *window)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(awd_lstm.Run, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            awd_lstm.main(arguments + checkpoint)
    resumed = awd_lstm.main(arguments + checkpoint)
    assert resumed["perplexity"] == whole["perplexity"]
    assert resumed["words"] == whole["words"] == 20 * (400 * 10 // 20 - 1)
    assert whole["perplexity"]["ours"] != whole["perplexity"]["wrapper"]


def test_models_that_differ_are_not_timed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WrapperAWDLSTM, "without_noise", lambda self: self)
    with pytest.raises(SystemExit, match="not the same"):
        awd_lstm.main(["--data", str(folder), "--threads", "1"])


@pytest.mark.skipif(not PTB.exists(), reason=f"needs {PTB.name} of the data folder")
def test_penn_treebank_has_its_published_counts() -> None:
    vocabulary, train, valid = awd_lstm.numbers(PTB)
    assert (vocabulary, len(train), len(valid)) == (10_000, 929_589, 73_760)
    assert awd_lstm.streams(train, 20).shape == (46_479, 20)
