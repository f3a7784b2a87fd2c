"""Keras in a process of its own, since it takes its backend at import: one timed step a line of JSON.

{"build": {"cell": "LSTM", "input": 650, ...}}  ->  {"built": "keras 3.15.1, jax 0.10.2"}
{"step": true}                                  ->  {"seconds": 0.1}
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

LAYERS = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}


def build(case: dict[str, Any], rate: float) -> Callable[[], float]:
    """Return the step of a layer with recurrent dropout; x and the gradient at the output are fixed."""
    import keras

    cell, shape = case["cell"], (case["batch"], case["time"], case["input"])
    layer = getattr(keras.layers, LAYERS[cell])(case["hidden"], return_sequences=True, recurrent_dropout=rate, seed=0)
    layer.build(shape)
    draw = np.random.default_rng(1)
    x = draw.standard_normal(shape, dtype=np.float32)
    gradient = draw.standard_normal((*shape[:2], case["hidden"]), dtype=np.float32)
    return (_jax if keras.backend.backend() == "jax" else _torch)(layer, x, gradient)


def _jax(layer: Any, x: Any, gradient: Any) -> Callable[[], float]:
    import jax

    def loss(weights: Any, x: Any, others: Any, gradient: Any) -> Any:
        y, others = layer.stateless_call(weights, others, x, training=True)
        return (y * gradient).sum(), others

    differentiate = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    weights = [v.value for v in layer.trainable_variables]
    others = [v.value for v in layer.non_trainable_variables]
    x, gradient = jax.device_put(x), jax.device_put(gradient)

    def step() -> float:
        nonlocal others
        start = time.perf_counter()
        (_, others), _ = jax.block_until_ready(differentiate(weights, x, others, gradient))
        return time.perf_counter() - start

    return step


def _torch(layer: Any, x: Any, gradient: Any) -> Callable[[], float]:
    import torch

    data, at_output = torch.from_numpy(x).requires_grad_(), torch.from_numpy(gradient)
    leaves = [data, *(v.value for v in layer.trainable_variables)]

    def step() -> float:
        start = time.perf_counter()
        torch.autograd.grad(layer(data, training=True), leaves, at_output)
        return time.perf_counter() - start

    return step


def limit(threads: int) -> None:
    """Let this process use so many threads; JAX takes as many as it has processors."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        torch.set_num_threads(threads)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    limit(int(sys.argv[1]))
    warnings.simplefilter("ignore")
    step: Callable[[], float] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "build" in request:
            step = build(request["build"], request["rate"])
            backend = os.environ["KERAS_BACKEND"]
            answer: dict[str, Any] = {"built": f"{backend} {metadata.version(backend)}"}
        else:
            answer = {"seconds": step() if step else None}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
