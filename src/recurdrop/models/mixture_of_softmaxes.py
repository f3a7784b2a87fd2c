"""Mixture of softmaxes: Yang et al. 2018."""

from __future__ import annotations

from torch import Tensor, nn

from recurdrop.errors import invalid
from recurdrop.nn.sequence_dropout import LockedDropout


class MixtureOfSoftmaxes(nn.Module):
    """An output layer whose distributions are not bound to a low-rank matrix of logits.

    Equation:
        π = softmax(W_π h), v_k = tanh(W_k h + b_k), p = Σ_k π_k softmax(E v_k + b). It returns log p, as log Σ_k
        exp(log π_k + log softmax(E v_k + b)), so that nothing underflows; `cross_entropy` takes that as logits.
    Shared over:
        Time: `dropout` is `LockedDropout` on all v_k. Dropout of h is the recurrent layer's.
    Evaluation:
        Without dropout.
    Source:
        Yang, Dai, Salakhutdinov, Cohen 2018, arXiv:1711.03953, with K = 15 and p = 0.29 on words of Penn Treebank.
    Authors' code:
        Returns log(p + 1e-8), which is no distribution.

    `mos.decoder.weight = encoder.weight` ties E to an embedding of width `embedding`.

    Args:
        input_size: width of h.
        vocabulary: V.
        embedding: width of v_k; None for that of h.
        components: K.
        dropout: probability to drop an element of the v_k.
        batch_first: whether h is (B, T, F), for the mask alone.

    Raises:
        ValueError: no component, or a rate outside [0, 1].
    """

    def __init__(
        self,
        input_size: int,
        vocabulary: int,
        embedding: int | None = None,
        components: int = 15,
        *,
        dropout: float = 0.29,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        if components < 1:
            raise invalid("components of MixtureOfSoftmaxes must be 1 or more", components, "Give 15 as published.")
        embedding = input_size if embedding is None else embedding
        self.prior = nn.Linear(input_size, components, bias=False)
        self.latent = nn.Linear(input_size, components * embedding)
        self.dropout = LockedDropout(dropout, batch_first=batch_first)
        self.decoder = nn.Linear(embedding, vocabulary)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return log-probabilities (T, B, V) of outputs (T, B, F)."""
        latents = self.dropout(self.latent(hidden).tanh()).unflatten(-1, (self.prior.out_features, -1))
        weights = self.prior(hidden).log_softmax(-1).unsqueeze(-1)
        mixed: Tensor = (weights + self.decoder(latents).log_softmax(-1)).logsumexp(-2)
        return mixed
