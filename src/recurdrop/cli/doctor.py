"""`recurdrop doctor`: what is installed, and what is missing and why."""

from __future__ import annotations

import platform

from rich.table import Table

from recurdrop.cli.console import Console


def doctor() -> None:
    """Say versions, threads and devices, and which backends there are and why one is missing.

    Example: recurdrop doctor
    """
    import torch

    from recurdrop.ops import native
    from recurdrop.ops.dispatch import backends
    from recurdrop.train.environment import versions

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts = {
        **versions(),
        "platform": platform.platform(),
        "torch threads": str(torch.get_num_threads()),
        "devices": ", ".join(["cpu", *devices]),
    }
    facts |= {f"backend {name}": reason or "available" for name, reason in backends()}
    facts |= native.about()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, fact in facts.items():
        table.add_row(name, fact)
    Console().print(table)
