"""Neural cache: Grave et al. 2017."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from recurdrop.errors import invalid


class Memory(NamedTuple):
    """What a cache remembers of each stream, oldest first, n steps.

    Attributes:
        hidden: outputs, (n, B, F).
        words: the words that followed them, (n, B).
    """

    hidden: Tensor
    words: Tensor


class NeuralCache:
    """Raise, at evaluation, the probability of words that lately followed similar outputs.

    Equation:
        p(w) = (1 - λ) p_model(w) + λ p_cache(w), p_cache(w) = Σ_j 1[w_{j+1} = w] e^{θ h_t · h_j} / Σ_j e^{θ h_t · h_j},
        j the last N steps before t of the same stream, fewer at its start; p = p_model where there are none.
    Shared over:
        Nothing: every stream of the batch has a memory of its own.
    Evaluation:
        That is what it is for. Nothing is trained.
    Source:
        Grave, Joulin, Usunier 2017, arXiv:1612.04426. For AWD-LSTM, arXiv:1708.02182, (N, λ, θ) is (2000, 0.1, 1) on
        Penn Treebank, (500, 0.1, 1) in the authors' read-me, and (3785, 0.1279, 0.662) on WikiText-2.
    Authors' code:
        awd-lstm-lm leaves the cache out until N steps are there (`wait=True`), and at the first step after each of its
        windows too; it evaluates one stream.

    Args:
        window: N, in steps.
        weight: λ, in [0, 1].
        theta: θ, 0 or more; 0 counts words.
        wait: whether p = p_model until N steps are remembered.

    Raises:
        ValueError: an argument breaks its rule.

    Example:
        >>> cache, state, memory = NeuralCache(500, 0.1, 1.0), None, None
        >>> for words, targets in windows:  # each (T, B)
        ...     logits, state, outputs = model(words, state, details=True)
        ...     log_p, memory = cache(logits, outputs.raw, targets, memory)
        ...     nats = -log_p.gather(-1, targets.unsqueeze(-1)).sum()
    """

    def __init__(self, window: int = 500, weight: float = 0.1, theta: float = 1.0, *, wait: bool = False) -> None:
        if window < 1:
            raise invalid("window of NeuralCache must be 1 or more", window, "Give a number of steps, e.g. 500.")
        if not 0 <= weight <= 1:
            raise invalid("weight of NeuralCache must be a number in [0, 1]", weight, "Give e.g. 0.1.")
        if not 0 <= theta < math.inf:
            raise invalid("theta of NeuralCache must be a number of 0 or more", theta, "Give e.g. 1.")
        self.window, self.weight, self.theta, self.wait = window, weight, theta, wait

    @torch.no_grad()
    def __call__(
        self, logits: Tensor, hidden: Tensor, following: Tensor, memory: Memory | None = None
    ) -> tuple[Tensor, Memory]:
        """Mix the cache in.

        Args:
            logits: of the model, (T, B, V); log-probabilities are logits too.
            hidden: the last layer's raw outputs h_t, (T, B, F).
            following: the words that followed, (T, B): the targets. Those of step t and later have no part in the
                distribution of step t, so that a text can be generated with `remember`.
            memory: what the call for the window before returned; None at the start of the streams.

        Returns:
            log p, (T, B, V), and the memory after these steps.

        Raises:
            ValueError: sizes that don't belong together.
        """
        if logits.shape[:-1] != hidden.shape[:-1] or following.shape != hidden.shape[:-1] or hidden.dim() != 3:
            raise invalid(
                "logits (T, B, V), hidden (T, B, F) and following (T, B) must agree in T and B",
                (tuple(logits.shape), tuple(hidden.shape), tuple(following.shape)),
                "Give what the model returned for one window, and its targets.",
            )
        known = 0 if memory is None else len(memory.words)
        past = self._joined(memory, hidden, following)
        cached, filled = self._cache(hidden, past, known, logits)
        weight = self.weight * filled.to(logits.dtype).unsqueeze(-1)
        mixed = torch.logaddexp((1 - weight).log() + logits.log_softmax(-1), (weight * cached).log())
        return mixed, Memory(*(part[-self.window :].clone() for part in past))

    def remember(self, memory: Memory | None, hidden: Tensor, following: Tensor) -> Memory:
        """Return the memory with steps (T, B, F) added and the words (T, B) that followed them."""
        return Memory(*(part[-self.window :].clone() for part in self._joined(memory, hidden.detach(), following)))

    @staticmethod
    def _joined(memory: Memory | None, hidden: Tensor, following: Tensor) -> Memory:
        if memory is None:
            return Memory(hidden, following)
        return Memory(torch.cat([memory.hidden, hidden]), torch.cat([memory.words, following]))

    def _cache(self, hidden: Tensor, past: Memory, known: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return p_cache (T, B, V), and (T, 1) whether it has a part in p."""
        now = torch.arange(known, len(past.words), device=hidden.device).unsqueeze(-1)
        then = torch.arange(len(past.words), device=hidden.device)
        seen = ((then < now) & (then >= now - self.window)).unsqueeze(1)
        filled = now >= (self.window if self.wait else 1)
        likeness = torch.einsum("tbf,jbf->tbj", hidden, past.hidden) * self.theta
        shares = likeness.masked_fill(~seen, -math.inf).softmax(-1).masked_fill(~seen, 0.0)
        words = past.words.T.expand(len(hidden), -1, -1)
        return torch.zeros_like(logits).scatter_add_(-1, words, shares.to(logits.dtype)), filled
