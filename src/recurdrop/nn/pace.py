"""Where the compiled kernels are faster than torch's own forward, noise apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from recurdrop.ops.contract import Problem
from recurdrop.ops.dispatch import choose
from recurdrop.tracing import traced, transformed

if TYPE_CHECKING:
    from recurdrop.nn.base import Regularized

WORTH_PACKING = 16
"""Steps from which the compiled kernels run a layer faster than torch; 20 took 0.4 to 0.8 of torch's time."""
TORCH_KEEPS_PACE = 1024
"""Width below which torch evaluates LSTMs without lengths as fast: 0.95 to 1.07 of its time; 1.35 at 1150."""
MOST_PADDING = 4
"""Steps with padding, to those without, up to which a packed batch is spread out, which torch would not do."""


def outruns_torch(layer: Regularized, input: Tensor | PackedSequence) -> bool:
    """Say whether "auto" gives a layer without noise to the compiled kernels.

    They are faster from some steps on, as they arrange the weights anew in every call.
    """
    if layer.backend != "auto" or (layer.training and layer.dropout) or transformed():
        return False
    if isinstance(input, PackedSequence):
        data, steps, ragged = input.data, len(input.batch_sizes), True
        if steps * int(input.batch_sizes[0]) > MOST_PADDING * len(data):
            return False
    else:
        if input.dim() not in (2, 3):
            return False
        data, steps, ragged = input, input.shape[int(layer.batch_first and input.dim() == 3)], False
    evaluates = not (torch.is_grad_enabled() or ragged)
    if steps < WORTH_PACKING or (layer.cell == "LSTM" and evaluates and layer.hidden_size < TORCH_KEEPS_PACE):
        return False
    problem = Problem.bare(layer._mode, data, ragged=ragged)
    return not (torch.is_autocast_enabled("cpu") or traced(data)) and choose(problem).name == "native"
