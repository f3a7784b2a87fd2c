"""What the noise itself costs, and how near the step is to the machine's matrix product."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

import recurdrop as rd
from benchmarks.cases import CASES, MAIN, NOISE, RATE, RATE_CASES, Case, every_site, in_loop
from benchmarks.rows import Row, Settings
from benchmarks.steps import Step, batch, fastest, ours, training
from benchmarks.timing import alternate
from benchmarks.verify import wrong, wrong_with

SIDE = 2048


def noise(settings: Settings) -> Iterator[Row]:
    """Every site inside the loop on ÷ no noise, on one backend, with masks drawn beforehand."""
    for name, case in CASES.items():
        if settings.wanted(name):
            yield _noise_row(name, case, settings.rounds)


def _noise_row(name: str, case: Case, rounds: int) -> Row:
    backend = fastest()
    fresh = ours(case, every_site(case.cell)).sample_masks(case.time, case.batch)
    sharings = {"a mask a step": fresh, "a mask a sequence": tuple(_over_time(masks) for masks in fresh)}
    found = {label: wrong_with(case, masks, backend) for label, masks in sharings.items()}
    x, layer = batch(case), ours(case, backend=backend)
    steps = {"no noise": training(case, layer, x)}
    steps |= {label: training(case, layer, x, masks) for label, masks in sharings.items() if not found[label]}
    times = alternate(steps, rounds)
    ratios = {label: times[label].median / times["no noise"].median for label in times if label != "no noise"}
    faults = "; ".join(f"{label}: {fault}" for label, fault in found.items() if fault)
    return Row(
        name, f"all sites ÷ none, {backend}", max(ratios.values(), default=float("nan")), NOISE, ratios, times, faults
    )


def _over_time(masks: rd.Masks) -> rd.Masks:
    """Let the first step's masks serve all steps."""
    return masks._replace(**{k: mask[:1] for k, mask in masks._asdict().items() if isinstance(mask, torch.Tensor)})


def rate(settings: Settings) -> Iterator[Row]:
    """GFLOP/s of a training step with noise ÷ that of a product with packed weights, both in one run."""
    for name in RATE_CASES:
        if settings.wanted(name):
            yield _rate_row(name, CASES[name], settings.rounds)


def _rate_row(name: str, case: Case, rounds: int) -> Row:
    method = in_loop(case.cell)[MAIN]
    fault = wrong(case, method)
    if fault:
        return Row(name, "share of the product's rate", target=RATE, wrong=fault)
    products = _products()
    times = alternate({"ours": training(case, ours(case, method), batch(case)), **products}, rounds)
    gflops = {f"{label}, GFLOP/s": 2 * SIDE**3 / times[label].median / 1e9 for label in products}
    mine = case.flops / times["ours"].median / 1e9
    best = next(iter(products))
    value = mine / gflops[f"{best}, GFLOP/s"]
    return Row(name, f"share of the rate of {best}", value, RATE, {"ours, GFLOP/s": mine} | gflops, times)


def _products() -> dict[str, Step]:
    """Return products of two square matrices, first the one with packed weights where torch has it."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(SIDE, SIDE, generator=generator) for _ in range(2))
    steps: dict[str, Step] = {}
    operators = torch.ops.mkldnn
    if torch.backends.mkldnn.is_available() and hasattr(operators, "_reorder_linear_weight"):
        packed = operators._reorder_linear_weight(b, SIDE)

        def product() -> float:
            start = time.perf_counter()
            operators._linear_pointwise(a, packed, None, "none", [], "")
            return time.perf_counter() - start

        steps["packed product"] = product

    def plain_product() -> float:
        start = time.perf_counter()
        torch.mm(a, b)
        return time.perf_counter() - start

    return steps | {"torch.mm": plain_product}
