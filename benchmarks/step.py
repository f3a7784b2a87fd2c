"""Time a training step of a layer, with each kind of noise, against the plain layer of torch.nn.

A case is checked against the reference first, and one that is wrong is not timed. The candidates alternate in one
process, A B A B; what is printed is the median of each one's times over torch.nn's.

    python benchmarks/step.py [--case NAME ...] [--rounds 9] [--threads 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import time

import torch
from cases import CASES, NOISES, Case

import recurdrop as rd
from recurdrop.testing import agree, outcome

WARM_UPS = 2


def make(case: Case, noise: object, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return getattr(rd, case.cell)(case.input, case.hidden, case.layers, noise=noise, **options)


def verify(case: Case, noise: object) -> None:
    """Compare with the reference in float64 on a small batch.

    Raises:
        AssertionError: they differ.
    """
    x = torch.randn(5, 3, case.input, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, expected = (
        outcome(make(case, noise, backend=backend, dtype=torch.float64), x) for backend in ("auto", "reference")
    )
    agree(found, expected, 1e-10)


def step(layer: torch.nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> float:
    start = time.perf_counter()
    layer(x)[0].backward(gradient)
    return time.perf_counter() - start


def measure(case: Case, rounds: int) -> dict[str, dict[str, float]]:
    """Return for each candidate the ratio of its median to torch.nn's, and both medians in milliseconds."""
    x = torch.randn(case.time, case.batch, case.input)
    gradient = torch.randn(case.time, case.batch, case.hidden)
    plain = getattr(torch.nn, case.cell)(case.input, case.hidden, case.layers)
    layers = {"torch.nn": plain} | {name: make(case, noise) for name, noise in NOISES.items()}
    times: dict[str, list[float]] = {name: [] for name in layers}
    for done in range(WARM_UPS + rounds):
        for name, layer in layers.items():
            seconds = step(layer, x, gradient)
            if done >= WARM_UPS:
                times[name].append(seconds)
    base = statistics.median(times["torch.nn"])
    return {
        name: {"ratio": statistics.median(t) / base, "milliseconds": 1000 * statistics.median(t)}
        for name, t in times.items()
    }


def conditions(rounds: int) -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip() or None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps against torch.nn.")
    parser.add_argument("--case", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results: dict[str, object] = {"conditions": conditions(given.rounds), "cases": {}}
    print(results["conditions"])
    for name in given.case:
        case = CASES[name]
        for noise in NOISES.values():
            verify(case, noise)
        found = measure(case, given.rounds)
        results["cases"][name] = found
        print(f"\n{name}: {case}")
        for candidate, row in found.items():
            print(f"  {candidate:12s} {row['ratio']:5.2f} × torch.nn  ({row['milliseconds']:.1f} ms)")
    if given.json:
        with open(given.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
