"""Runs side by side: one process and one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from typing import NamedTuple

from recurdrop.study.folder import Folder
from recurdrop.study.setup import Setup

OnEpoch = Callable[[str, int, int], None]
_MOST = 8
_events: SimpleQueue[tuple[str, int, int]]
_setup: Setup
_folder: Folder


class Job(NamedTuple):
    """One run to do.

    Attributes:
        label: of the method.
        seed: of initial weights, noise and order of the batches.
    """

    label: str
    seed: int


def cores() -> int:
    """Return the number of workers that suits this machine: one for each usable core, 8 at most."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST)


def run_all(jobs: Sequence[Job], setup: Setup, folder: Folder, workers: int, on_epoch: OnEpoch) -> None:
    """Do all jobs; each finished one is in the folder at once.

    An exception, Ctrl-C among them, stops the workers; only the runs they were in are lost.

    Args:
        jobs: what to run, in this order.
        setup: what they share.
        folder: where records and weights go.
        workers: processes; 0 runs everything in this one.
        on_epoch: called with label, seed and epochs done.
    """
    if workers == 0:
        for job in jobs:
            _do(job, setup, folder, on_epoch)
        return
    context = multiprocessing.get_context("spawn")
    events: SimpleQueue[tuple[str, int, int]] = context.SimpleQueue()
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, _start_worker, (events, setup, folder)) as pool:
        try:
            pending: set[Future[None]] = {pool.submit(_do_in_worker, job) for job in jobs}
            while pending:
                done, pending = wait(pending, timeout=0.1)
                while not events.empty():
                    on_epoch(*events.get())
                for future in done:
                    future.result()
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def _do(job: Job, setup: Setup, folder: Folder, on_epoch: OnEpoch) -> None:
    folder.save(*setup.run(job.label, job.seed, lambda epoch: on_epoch(job.label, job.seed, epoch)))


def _do_in_worker(job: Job) -> None:
    _do(job, _setup, _folder, lambda *event: _events.put(event))


def _start_worker(events: SimpleQueue[tuple[str, int, int]], setup: Setup, folder: Folder) -> None:
    """Take the data once; leave Ctrl-C to the parent, and end when the parent does, even if it was killed."""
    global _events, _setup, _folder
    _events, _setup, _folder = events, setup, folder
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
