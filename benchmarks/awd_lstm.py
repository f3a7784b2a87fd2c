"""One epoch of AWD-LSTM on words of Penn Treebank, ours and a wrapper around torch.nn in turns, window by window.

`python -m benchmarks.awd_lstm --data FOLDER`, the folder with ptb.train.txt and ptb.valid.txt, plain or as .gz.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

import recurdrop as rd
from benchmarks.conditions import conditions
from benchmarks.peer_models import WrapperAWDLSTM
from benchmarks.rows import Settings
from recurdrop.errors import invalid
from recurdrop.files.text import read
from recurdrop.kinds.language.data import END
from recurdrop.kinds.language.streams import Streams
from recurdrop.models import AWDLSTM, PUBLISHED
from recurdrop.models.language import cross_entropy, detached
from recurdrop.models.stack import Outputs
from recurdrop.records import write_bytes

PRESET = PUBLISHED["awd-lstm-ptb"].training
VALIDATION_STREAMS = 10
AVERAGED = 0.1
"""Part of the epoch, at its end, over which weights are averaged too: the last ones alone are those of one window."""
ROUNDING = 2e-7
"""Largest difference allowed without noise, in float32; 5e-8 was measured."""


def penalty(outputs: Outputs) -> Tensor:
    """Return what training adds to the loss."""
    small = rd.activation_regularization(outputs.dropped, PRESET.alpha)
    return small + rd.temporal_activation_regularization(outputs.raw, PRESET.beta)


class Run:
    """One model in training, with its clock."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        self.model = model.train()
        self.optimizer = rd.NTASGD(model.parameters(), PRESET.lr, n=PRESET.nonmono, weight_decay=PRESET.weight_decay)
        self.noise = torch.Generator().manual_seed(seed).get_state()
        self.state: Any = None
        self.seconds: list[float] = []
        self.nats = 0.0

    def step(self, words: Tensor, targets: Tensor, scale: float) -> None:
        """Train on one window, with random numbers of its own."""
        outer = torch.get_rng_state()
        torch.set_rng_state(self.noise)
        start = time.perf_counter()
        self.optimizer.zero_grad()
        logits, state, outputs = self.model(words, self.state, details=True)
        loss = cross_entropy(logits, targets)
        (loss + penalty(outputs)).backward()
        clip_grad_norm_(self.model.parameters(), PRESET.clip)
        with rd.optim.rescaled_lr(self.optimizer, scale):
            self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)
        self.state = detached(state)
        self.noise = torch.get_rng_state()
        torch.set_rng_state(outer)
        self.nats += float(loss.detach()) * targets.numel()

    def state_dict(self) -> dict[str, Any]:
        """Return all that training goes on from."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "noise": self.noise,
            "state": self.state,
            "seconds": self.seconds,
            "nats": self.nats,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.noise, self.state = saved["noise"], saved["state"]
        self.seconds, self.nats = saved["seconds"], saved["nats"]


def numbers(folder: Path) -> tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the size of the vocabulary, and the words of the training and of the validation part as numbers."""
    parts = []
    for part in ("train", "valid"):
        file = folder / f"ptb.{part}.txt"
        lines = read(file if file.exists() else file.with_name(file.name + ".gz")).splitlines()
        parts.append([word for line in lines for word in (*line.split(), END)])
    places: dict[str, int] = {}
    for word in parts[0]:
        places.setdefault(word, len(places))
    train, valid = (np.array([places[word] for word in part], dtype=np.int64) for part in parts)
    return len(places), train, valid


def streams(ids: np.ndarray[Any, Any], batch: int) -> Tensor:
    """Return the text as streams side by side, (N, B)."""
    steps = len(ids) // batch
    return torch.from_numpy(np.ascontiguousarray(ids[: steps * batch].reshape(batch, steps).T))


@torch.no_grad()
def perplexity(model: nn.Module, text: Streams) -> float:
    """Return the perplexity in evaluation mode, the state carried from window to window."""
    model.eval()
    state, nats, count = None, 0.0, 0
    for words, targets in text:
        logits, state = model(words, state)
        nats += float(cross_entropy(logits, targets, reduction="sum"))
        count += targets.numel()
    model.train()
    return math.exp(nats / count)


def difference(ours: AWDLSTM, words: Tensor) -> float:
    """Return by how much logits, outputs and states of both models differ at most without noise, over two windows."""
    wrapper = WrapperAWDLSTM(ours).without_noise()
    noise, p = [rnn.noise for rnn in ours.rnns], ours.encoder.p
    try:
        ours.encoder.p = 0.0
        for rnn in ours.rnns:
            rnn.noise = rnn.noise.scaled(0.0)
        found = []
        for model in (ours.train(), wrapper.train()):
            first, state = model(words)
            found.append([first, *model(words, state, details=True)])
    finally:
        ours.encoder.p = p
        for rnn, methods in zip(ours.rnns, noise, strict=True):
            rnn.noise = methods
    return max(float((one - other).abs().amax().detach()) for one, other in zip(*map(_tensors, found), strict=True))


def _tensors(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [tensor for part in value for tensor in _tensors(part)]


def speeds(runs: dict[str, Run], lengths: Sequence[int], batch: int) -> dict[str, float]:
    """Return words per second of each, and how many times as fast ours is: medians over windows, blind to pauses."""
    words = {
        name: statistics.median(steps * batch / seconds for steps, seconds in zip(lengths, run.seconds, strict=True))
        for name, run in runs.items()
    }
    ours, wrapper = (run.seconds for run in runs.values())
    return {**words, "ratio": statistics.median(w / o for o, w in zip(ours, wrapper, strict=True))}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.awd_lstm", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with ptb.train.txt and ptb.valid.txt")
    parser.add_argument("--tokens", type=int, help="use the first N words of each part only")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    parser.add_argument("--seed", type=int, default=1111, help="of weights, noise and windows (default: 1111)")
    parser.add_argument("--every", type=int, default=50, help="windows between two lines (default: 50)")
    parser.add_argument("--checkpoint", type=Path, help="file to go on from, written with every line")
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    given = parse(arguments)
    torch.set_num_threads(given.threads)
    vocabulary, train, valid = numbers(given.data)
    text = streams(train[: given.tokens], PRESET.batch)
    windows = rd.VariableBPTT(len(text) - 1, PRESET.bptt, seed=given.seed)
    validation = Streams(valid[: given.tokens], VALIDATION_STREAMS, PRESET.bptt)
    ran_on = conditions(Settings(1, given.threads, lambda _: True))
    print(" · ".join(f"{name} {value}" for name, value in ran_on.items()), flush=True)

    torch.manual_seed(given.seed)
    ours = AWDLSTM(vocabulary)
    apart = difference(ours, text[: PRESET.bptt])
    print(f"without noise, on equal weights: logits, outputs and states differ by {apart:.1e} at most", flush=True)
    if not apart <= ROUNDING:
        raise SystemExit("the two models are not the same; nothing is timed")
    runs = {name: Run(model, given.seed) for name, model in (("ours", ours), ("wrapper", WrapperAWDLSTM(ours)))}
    lengths: list[int] = []
    about = {"seed": given.seed, "vocabulary": vocabulary, "train": text.numel(), "valid": len(valid[: given.tokens])}
    if given.checkpoint is not None and given.checkpoint.exists():
        saved = torch.load(given.checkpoint, weights_only=True)
        if saved.get("about") != about:
            rule = f"the checkpoint must be of this run, {about}"
            raise invalid(rule, saved.get("about"), "Give the arguments it was made with, or another file.")
        windows.load_state_dict(saved["windows"])
        lengths = saved["lengths"]
        for name, run in runs.items():
            run.load_state_dict(saved[name])
    for window in windows:
        words, targets = (text[window.start + later : window.stop + later] for later in (0, 1))
        for run in runs.values():
            if window.stop > (1 - AVERAGED) * windows.steps and not run.optimizer.averaging:
                run.optimizer.start_averaging()
            run.step(words, targets, window.scale)
        lengths.append(len(words))
        if len(lengths) % given.every == 0 or window.stop == windows.steps:
            _say(window.stop / windows.steps, runs, lengths)
            if given.checkpoint is not None:
                state: dict[str, Any] = {name: run.state_dict() for name, run in runs.items()}
                state |= {"windows": windows.state_dict(), "lengths": lengths, "about": about}
                torch.save(state, buffer := io.BytesIO())
                write_bytes(given.checkpoint, buffer.getvalue())
    found, averaged = dict[str, float](), dict[str, float]()
    for name, run in runs.items():
        found[name] = perplexity(run.model, validation)
        with run.optimizer.averaged():
            averaged[name] = perplexity(run.model, validation)
    result = {
        "perplexity": found,
        "perplexity of averaged weights": averaged,
        **speeds(runs, lengths, PRESET.batch),
        "words": sum(lengths) * PRESET.batch,
        "difference without noise": apart,
    }
    print(f"validation perplexity {found['ours']:.2f}, wrapper {found['wrapper']:.2f}")
    print(f"of weights averaged over the last windows {averaged['ours']:.2f}, {averaged['wrapper']:.2f}")
    if given.json is not None:
        given.json.write_text(json.dumps({"conditions": ran_on, **result}, indent=1) + "\n")
    return result


def _say(part: float, runs: dict[str, Run], lengths: Sequence[int]) -> None:
    fast = speeds(runs, lengths, PRESET.batch)
    words = sum(lengths) * PRESET.batch
    each = [f"{name} {fast[name]:.0f} words/s, ppl {math.exp(run.nats / words):.1f}" for name, run in runs.items()]
    print(f"{part:6.1%}  {'; '.join(each)}; ours is {fast['ratio']:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
