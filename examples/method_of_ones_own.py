"""A method that nobody has published: where noise enters, and how long a mask lives, is all that it says.

python examples/method_of_ones_own.py; pytest examples/method_of_ones_own.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

import recurdrop as rd
from recurdrop.methods.base import Method, Rate, rate
from recurdrop.plan import Noise, Where
from recurdrop.testing import MethodConformance


@dataclass(frozen=True)
class SharedCandidate(Method):
    """Drop the same candidates for all examples of a batch, anew at each step.

    Equation:
        g_t ← g_t ⊙ m_t / (1 - p), m_t ~ Bernoulli(1 - p), one for the batch.
    Sites:
        `candidate` of every layer.
    Shared over:
        Examples.
    Evaluation:
        Identity.
    Source:
        This example.
    Authors' code:
        This file.
    """

    name: ClassVar[str] = "shared_candidate"
    cite: ClassVar[str] = "an example"
    sharing: ClassVar[str] = "batch"

    published_rates: ClassVar[dict[str, object]] = {"p": 0.4}

    p: Rate = rate(0.4, "probability to drop, or one for each layer")

    def plan(self, where: Where) -> tuple[Noise, ...]:
        """Noise on the candidate."""
        rate = self.rate_at("p", where.layer, where.num_layers)
        return (self.noise("candidate", rate, shared=frozenset({"batch"})),)


class TestSharedCandidate(MethodConformance):
    """All that every method must hold to: p = 0, p = 1, evaluation, seeds, packing, backends, gradients, ...."""

    method: ClassVar[Method] = SharedCandidate(0.4)
    shapes: ClassVar[dict[str, str]] = {"candidate": "T 1 H"}
    cells: ClassVar[tuple[str, ...]] = ("LSTM", "GRU")


def main() -> None:
    """Use it beside a published one."""
    torch.manual_seed(0)
    rnn = rd.LSTM(4, 6, num_layers=2, noise=[SharedCandidate(0.4), rd.WeightDrop(0.5)])
    print(rd.describe(rnn))
    (masks, *_) = rnn.sample_masks(seq_len=3, batch_size=2)
    print("its mask, (T, B, H), in the first layer:", tuple(masks.candidate.shape))


if __name__ == "__main__":
    main()
