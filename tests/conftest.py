"""One thread a process, since the tests run in several, and the hand-written cells importable."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent / "methods"))
