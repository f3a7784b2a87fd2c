"""Memory of a training step, and the time that importing the library takes. Each number comes from a fresh process.

The memory is the peak of the resident set over its size before the first step, with layer and batch in place. Before
that, a tiny step has loaded what the libraries load once. The allocator is told to give every block back at once, so
that what it hoards hides nothing; what a library keeps from the step (scratch space, packed weights) counts.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.cases import IMPORT_MS, MAIN, MEMORY, MEMORY_CASES, Case, in_loop
from benchmarks.rows import Row, Settings
from benchmarks.steps import batch, ours, plain, training
from benchmarks.timing import Times
from benchmarks.verify import wrong

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
STEPS = 2
IMPORTS = 5
# The collector first looks through torch's objects, which whatever is imported next would otherwise set off.
IMPORT_CODE = """
import gc, time, torch
gc.collect()
start = time.perf_counter()
import recurdrop
print(time.perf_counter() - start)
"""


def memory(settings: Settings) -> Iterator[Row]:
    """Peak memory of a training step, ours with noise ÷ torch.nn's."""
    for name, case in MEMORY_CASES.items():
        if settings.wanted(name.split()[0]):
            yield _memory_row(name, case, settings.threads)


def _memory_row(name: str, case: Case, threads: int) -> Row:
    about = f"ours ÷ torch.nn at T {case.time}"
    fault = wrong(replace(case, time=case.time // 4), in_loop(case.cell)[MAIN])
    if fault:
        return Row(name, about, target=MEMORY, wrong=fault)
    if not RESET.exists():
        return Row(name, f"{about}: measured on Linux only")
    command = [sys.executable, "-m", "benchmarks.footprint", str(threads), name]
    peaks = {who: _number([*command, who], AT_ONCE) / 2**20 for who in ("ours", "torch.nn")}
    beside = {f"{who}, MiB": peak for who, peak in peaks.items()}
    return Row(name, about, peaks["ours"] / peaks["torch.nn"], MEMORY, beside)


def importing(settings: Settings) -> Iterator[Row]:
    """Milliseconds of `import recurdrop` after `import torch`, without the first process, which may write bytecode."""
    if settings.wanted("import"):
        seconds = [_number([sys.executable, "-c", IMPORT_CODE]) for _ in range(1 + IMPORTS)][1:]
        times = {"import": Times(statistics.median(seconds), min(seconds))}
        yield Row("import", "ms beyond torch's own", 1000 * times["import"].median, IMPORT_MS, {}, times)


def _number(command: list[str], environment: dict[str, str] | None = None) -> float:
    # What an installed package never pays for: compiling its sources at each import.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(  # noqa: S603
        command, env=own | (environment or {}), stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def _kibibytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{STATUS} has no {field}")
    return int(found[1])


def peak_bytes(case: Case, who: str) -> int:
    """Return the peak over what was there before the first step."""

    def make(case: Case) -> torch.nn.Module:
        return plain(case) if who == "torch.nn" else ours(case, in_loop(case.cell)[MAIN])

    tiny = replace(case, input=8, hidden=8, batch=2, time=2)
    training(tiny, make(tiny), batch(tiny))()
    layer, x = make(case), batch(case)
    step = training(case, layer, x)
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    before = _kibibytes("VmRSS")
    RESET.write_text("5")
    for _ in range(STEPS):
        step()
    return (_kibibytes("VmHWM") - before) * 1024


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    print(peak_bytes(MEMORY_CASES[sys.argv[2]], sys.argv[3]))
