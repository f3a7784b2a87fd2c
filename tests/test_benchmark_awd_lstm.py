"""The training of AWD-LSTM beside its wrapper: equal models, equal data, and a run that can be interrupted."""

from __future__ import annotations

import functools
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import awd_lstm, peer_layers, peer_models
from benchmarks.peer_models import WrapperAWDLSTM

import recurdrop as rd
from recurdrop.models import AWDLSTM
from recurdrop.models.language import cross_entropy, detached

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


def masks_in_order_of_use(ours: AWDLSTM, steps: int, batch: int) -> list[torch.Tensor]:
    """Draw what the next training forward of our model draws, laid out as the wrapper asks for it."""
    found = [ours.encoder.sample_mask(torch.arange(len(ours.encoder.weight)))]
    for layer, rnn in enumerate(ours.rnns):
        (masks,) = rnn.sample_masks(steps, batch)
        assert [name for name, mask in masks._asdict().items() if mask is not None] == (
            ["input"] * (layer == 0) + ["weight_hh", "output"]
        )
        found += [masks.input] * (layer == 0) + [masks.weight_hh, masks.output]
    return found


def test_with_noise_on_both_models_are_one_in_everything_that_training_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = small().double()
    ours.encoder.p = 0.4  # so that words are dropped, few as they are
    models = {"ours": ours, "wrapper": WrapperAWDLSTM(ours).double()}
    left: list[torch.Tensor] = []

    def given(shape: Any, p: float) -> torch.Tensor:
        mask = left.pop(0)
        assert tuple(mask.shape) == tuple(shape)
        assert set(mask.unique().tolist()) <= {0.0, 1 / (1 - p)}  # a rate that differs would differ here alone
        return mask

    monkeypatch.setattr(peer_models, "_mask", lambda like, shape, p: given(shape, p))
    monkeypatch.setattr(peer_layers, "dropout", lambda raw, p, training: raw * given(raw.shape, p))
    text = torch.randint(7, (9, 5), generator=torch.Generator().manual_seed(2))
    states: dict[str, Any] = dict.fromkeys(models)
    for start, steps in ((0, 5), (5, 3)):
        words, targets = (text[start + later : start + later + steps] for later in (0, 1))
        torch.manual_seed(start + 4)
        left += masks_in_order_of_use(ours, steps, 5)
        assert start or all((mask == 0).any() for mask in left)
        torch.manual_seed(start + 4)
        found = {}
        for name, model in models.items():
            logits, state, outputs = model.train()(words, states[name], details=True)
            model.zero_grad()
            (cross_entropy(logits, targets) + awd_lstm.penalty(outputs)).backward()
            parts = {"logits": logits, "raw": outputs.raw, "dropped": outputs.dropped}
            parts |= {f"state {i}": part for i, part in enumerate(awd_lstm._tensors(state))}
            for parameter, value in model.named_parameters():
                same = parameter.replace("inner.", "").replace("raw", "weight_hh_l0").replace("embedding.", "")
                parts[same] = value.grad
            found[name], states[name] = parts, detached(state)
        assert not left
        assert len(found["ours"]) == 3 + 6 + 2 + 3 * 4  # the tied matrix once
        torch.testing.assert_close(found["wrapper"], found["ours"], rtol=1e-12, atol=1e-14)


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


def test_a_checkpoint_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(folder), "--threads", "1", "--checkpoint", str(tmp_path / "state.pt"), "--tokens"]
    awd_lstm.main([*arguments, "600"])
    for other in (["600", "--seed", "3"], ["700"]):
        with pytest.raises(ValueError, match="the checkpoint must be of this run"):
            awd_lstm.main(arguments + other)
    awd_lstm.main([*arguments, "600"])


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(folder), "--threads", "1", "--every", "1", "--tokens", "3000"]
    whole = awd_lstm.main(arguments)
    arguments += ["--checkpoint", str(tmp_path / "state.pt")]
    fsync, files = os.fsync, []

    def killed(file: int) -> None:
        files.append(file)
        if len(files) == 2:
            os.truncate(file, 100)
            raise KeyboardInterrupt
        fsync(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            awd_lstm.main(arguments)
    assert awd_lstm.main(arguments)["perplexity"] == whole["perplexity"]


def test_speeds_are_medians_that_a_pause_does_not_change() -> None:
    runs = {name: awd_lstm.Run(small(), 1) for name in ("ours", "wrapper")}
    runs["ours"].seconds, runs["wrapper"].seconds = [1.0, 2.0, 900.0], [2.0, 800.0, 900.0]
    found = awd_lstm.speeds(runs, [70, 120, 70], 20)
    assert found == {"ours": 1200.0, "wrapper": 3.0, "ratio": 2.0}


def test_models_that_differ_are_not_timed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WrapperAWDLSTM, "without_noise", lambda self: self)
    with pytest.raises(SystemExit, match="not the same"):
        awd_lstm.main(["--data", str(folder), "--threads", "1"])


@pytest.mark.skipif(not PTB.exists(), reason=f"needs {PTB.name} of the data folder")
def test_penn_treebank_has_its_published_counts() -> None:
    vocabulary, train, valid = awd_lstm.numbers(PTB)
    assert (vocabulary, len(train), len(valid)) == (10_000, 929_589, 73_760)
    assert awd_lstm.streams(train, 20).shape == (46_479, 20)
