"""Peers with recurrent dropout on: their time ÷ that of ours doing the same."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import recurdrop as rd
from benchmarks.cases import CASES, PEERS, Case, Noise
from benchmarks.peer_layers import CellLoop, DroppedMatrix
from benchmarks.rows import Row, Settings
from benchmarks.steps import Step, batch, ours, training
from benchmarks.timing import alternate
from benchmarks.verify import wrong

P = 0.3
PAUSE = 0.02
"""Seconds of rest before a step, in which the threads of the step before go to sleep."""

OURS: dict[str, Noise] = {
    "variational": rd.Variational(recurrent=P),
    "keras": rd.Keras(recurrent_dropout=P),
    "weightdrop": rd.WeightDrop(P),
}
RIVALS = {"Keras on JAX": "keras", "Keras on torch": "keras", "loop over cells": "variational"}
"""Each peer with noise inside the loop, and the one of ours that does the same."""
WRAPPER, EAGER = "weight-drop wrapper", "our PyTorch path"


class KerasWorker:
    """A process with Keras on one backend, asked for one step at a time."""

    def __init__(self, backend: str, threads: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "benchmarks.keras_worker", str(threads)],
            env=os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt is for us; the worker ends when its input does
        )

    def build(self, case: Case) -> None:
        self._ask({"build": dataclasses.asdict(case), "rate": P})

    def step(self) -> float:
        seconds: float = self._ask({"step": True})["seconds"]
        return seconds

    def _ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the Keras worker ended with status {self._process.wait()}; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> KerasWorker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def peers(settings: Settings) -> Iterator[Row]:
    cases = {name: case for name, case in CASES.items() if settings.wanted(name)}
    there = [name for name in ("jax", "torch") if all(importlib.util.find_spec(m) for m in ("keras", name))]
    with ExitStack() as stack:
        workers = {name: stack.enter_context(KerasWorker(name, settings.threads)) for name in there if cases}
        for name, case in cases.items():
            yield from _rows(name, case, workers, settings.rounds)


def _rows(name: str, case: Case, workers: Mapping[str, KerasWorker], rounds: int) -> Iterator[Row]:
    x = batch(case)
    found = {label: wrong(case, noise) for label, noise in OURS.items()}
    found[EAGER] = wrong(case, OURS["variational"], backend="eager")
    steps: dict[str, Step] = {label: training(case, ours(case, n), x) for label, n in OURS.items() if not found[label]}
    if not found[EAGER]:
        steps[EAGER] = training(case, ours(case, OURS["variational"], "eager"), x)
    for backend, worker in workers.items():
        worker.build(case)
        steps["Keras on JAX" if backend == "jax" else "Keras on torch"] = worker.step
    steps["loop over cells"] = training(case, CellLoop(case, P), x)
    steps[WRAPPER] = training(case, DroppedMatrix(case, P), x)
    times = alternate(steps, rounds, pause=PAUSE)

    def ratio(peer: str, mine: str) -> dict[str, float]:
        return {peer: times[peer].median / times[mine].median} if {peer, mine} <= times.keys() else {}

    ratios = {k: v for peer, mine in RIVALS.items() for k, v in ratio(peer, mine).items()}
    best = min(ratios.values(), default=math.nan)
    faults = "; ".join(f"{label}: {found[label]}" for label in ("variational", "keras", EAGER) if found[label])
    yield Row(name, "best peer ÷ ours", best, PEERS, ratios | ratio(EAGER, "variational"), times, faults)
    dropped = ratio(WRAPPER, "weightdrop").get(WRAPPER, math.nan)
    yield Row(name, f"{WRAPPER} ÷ ours", dropped, PEERS, wrong=found["weightdrop"])
