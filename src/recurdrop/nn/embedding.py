"""Dropout of words: rows of an embedding, or token numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recurdrop.errors import invalid
from recurdrop.masks import draw_keep, draw_keep_types, inverted
from recurdrop.nn.noise_module import NoiseModule, Sequences, data_of, multiplier_dtype, multiply
from recurdrop.nn.sequences import repacked, rows_of


class EmbeddingDropout(NoiseModule):
    """Dropout of whole rows of an embedding: a dropped word vanishes wherever it occurs.

    Equation:
        y_tb = E[w_tb] · m[w_tb] / (1 - p), the bits m (V,) 0 with probability p; with `per_example`, m_b[w_tb].
    Shared over:
        The features, all steps, and the batch: one bit for each word type (AWD). `per_example=True`: one for each
        example and word type (Gal). The bits are functions of the word's number, so that only the rows that occur are
        touched; nothing of size V is made.
    Evaluation:
        Off: y = E[w]. p = 0 draws nothing; p = 1 gives zeros.
    Source:
        Gal & Ghahramani 2016, arXiv:1512.05287, sec. 4.2, with p = 0.3 in the large model of Penn Treebank;
        Merity et al. 2018, arXiv:1708.02182, sec. 4.3, with p = 0.1.
    Authors' code:
        In Gal's first scripts equal words of an example hardly ever shared their bit; mended in the `_v3` ones. Their
        Monte-Carlo test leaves word dropout off. awd-lstm-lm masks the whole (V, E) matrix, with the same result.

    The embedding's weight is never changed and stays the same Parameter: a decoder tied to it (`decoder.weight =
    embedding_dropout.weight`) sees every row, as published. `padding_idx`, `max_norm`, `scale_grad_by_freq` and
    `sparse` are the embedding's.

    Args:
        embedding: the embedding to wrap.
        p: the probability to drop a row, in [0, 1]; as an attribute, may be reassigned at any time.
        per_example: whether each example has bits of its own.
        batch_first: whether token numbers are (B, T) rather than (T, B), as in torch's recurrent layers. It is not
            guessed, and matters with `per_example` and where masks are held or shared (`rd.hold_masks`,
            `rd.two_passes_at_once`).

    Raises:
        ValueError: what is no `nn.Embedding`; p outside [0, 1].
    """

    def __init__(
        self, embedding: nn.Embedding, p: float = 0.1, *, per_example: bool = False, batch_first: bool = False
    ) -> None:
        super().__init__(p)
        if not isinstance(embedding, nn.Embedding):
            raise invalid("EmbeddingDropout wraps an nn.Embedding", type(embedding).__name__, "Give it the embedding.")
        self.embedding = embedding
        self.per_example = per_example
        self.batch_first = batch_first

    @property
    def weight(self) -> Tensor:
        """The embedding's weight (V, E), for a decoder tied to it."""
        return self.embedding.weight

    @property
    def batch_axis(self) -> int:
        """The axis of examples."""
        return 0 if self.batch_first else 1

    def forward(self, input: Sequences, *, mask: Tensor | None = None) -> Any:
        """Look rows up, and drop words.

        Args:
            input: token numbers (T, B), (B, T) with `batch_first`, one sequence (T,), or a `PackedSequence` of them;
                without `per_example`, of any shape.
            mask: what `sample_mask` returned, the input's shape with a last axis of 1: this mask, in training and
                evaluation alike.

        Returns:
            The rows, with a last axis of E; of a `PackedSequence`, one.

        Raises:
            ValueError: with `per_example` an input of other axes; a mask that does not fit.
        """
        ids = data_of(input)
        rows: Tensor = self.embedding(ids)
        mask = self._mask(input, mask, rows.shape)
        looked_up = repacked(input, rows) if isinstance(input, PackedSequence) else rows
        return looked_up if mask is None else multiply(looked_up, mask)

    def _draw(self, input: Sequences, generator: torch.Generator | None) -> Tensor:
        ids = data_of(input)
        examples = _examples(self, input) if self.per_example else ids.new_zeros((), dtype=torch.int64)
        keep = draw_keep_types(self.p, examples, ids, generator=generator)
        return inverted(keep, self.p, multiplier_dtype(self.weight)).unsqueeze(-1)

    def extra_repr(self) -> str:
        """Return the arguments, for the module's text."""
        return f"p={self.p:g}, per_example={self.per_example}, batch_first={self.batch_first}"


class WordDropout(NoiseModule):
    """Replacement of token numbers by that of the unknown word.

    Equation:
        w'_tb = u with probability p, else w_tb; u the number of the unknown word.
    Shared over:
        Nothing with `per="token"`: each position has its own bit. With `per="type"`, equal tokens of one example share
        it, as in Gal's word dropout, but a dropped word becomes u and not the zero vector.
    Evaluation:
        Off. p = 0 draws nothing; p = 1 replaces every token but those in `keep`.
    Source:
        Bowman et al. 2016, arXiv:1511.06349, sec. 3.1, on the decoder's inputs. To zero vectors, take
        `EmbeddingDropout`; to zero each position's vector on its own, `Dropout(p, noise_shape=(None, None, 1))`.

    Args:
        p: the probability to replace a token, in [0, 1]; as an attribute, may be reassigned at any time.
        unk: the number of the unknown word.
        per: "token" or "type".
        keep: numbers that are never replaced, such as those of padding and of the start of a sentence.
        batch_first: whether token numbers are (B, T) rather than (T, B); matters as in `EmbeddingDropout`.

    Raises:
        ValueError: p outside [0, 1], or another `per`.
    """

    def __init__(
        self, p: float, *, unk: int, per: str = "token", keep: Iterable[int] = (), batch_first: bool = False
    ) -> None:
        super().__init__(p)
        if per not in ("token", "type"):
            raise invalid("per of WordDropout must be 'token' or 'type'", per, "Choose one of them.")
        self.unk = unk
        self.per = per
        self.keep = tuple(keep)
        self.batch_first = batch_first

    @property
    def batch_axis(self) -> int:
        """The axis of examples."""
        return 0 if self.batch_first else 1

    def forward(self, input: Sequences, *, mask: Tensor | None = None) -> Any:
        """Replace tokens.

        Args:
            input: token numbers (T, B), (B, T) with `batch_first`, one sequence (T,), or a `PackedSequence` of them;
                with `per="token"`, of any shape.
            mask: what `sample_mask` returned, True where a token stays: this mask, in training and evaluation alike.

        Returns:
            What the input was, with tokens replaced.

        Raises:
            ValueError: with `per="type"` an input of other axes; a mask that does not fit.
        """
        ids = data_of(input)
        mask = self._mask(input, mask, ids.shape)
        if mask is None:
            return input
        replaced = torch.where(mask, ids, self.unk)
        return repacked(input, replaced) if isinstance(input, PackedSequence) else replaced

    def _draw(self, input: Sequences, generator: torch.Generator | None) -> Tensor:
        ids = data_of(input)
        if self.per == "type":
            keep = draw_keep_types(self.p, _examples(self, input), ids, generator=generator)
        else:
            keep = self._of_positions(input, generator)
        for token in self.keep:
            keep = keep | (ids == token)
        return keep

    def _of_positions(self, input: Sequences, generator: torch.Generator | None) -> Tensor:
        """Return one bit for each token, drawn by step and example, so that it depends on no other size."""
        ids = data_of(input)
        if isinstance(input, PackedSequence):
            sizes = (len(input.batch_sizes), int(input.batch_sizes[0]), 1)
            steps, examples = (rows.to(ids.device) for rows in rows_of(input))
            return draw_keep(self.p, sizes, device=ids.device, generator=generator)[steps, examples, 0]
        turned = self.batch_first and ids.dim() > 1
        shape = ids.transpose(0, 1).shape if turned else ids.shape
        time, batch = (*shape, 1, 1)[:2]
        keep = draw_keep(self.p, (time, batch, math.prod(shape[2:])), device=ids.device, generator=generator)
        keep = keep.reshape(shape)
        return keep.transpose(0, 1) if turned else keep

    def extra_repr(self) -> str:
        """Return the arguments, for the module's text."""
        return f"p={self.p:g}, unk={self.unk}, per={self.per!r}, keep={self.keep}, batch_first={self.batch_first}"


def _examples(module: EmbeddingDropout | WordDropout, input: Sequences) -> Tensor:
    """Return the number of each token's example, broadcasting to the tokens."""
    ids = data_of(input)
    if isinstance(input, PackedSequence):
        return rows_of(input)[1].to(ids.device)
    if ids.dim() == 1:
        return ids.new_zeros((), dtype=torch.int64)
    if ids.dim() != 2:
        raise invalid(
            f"{type(module).__name__} with bits of each example takes (T, B), (B, T) or (T,)",
            tuple(ids.shape),
            "Bring the token numbers into one of these shapes.",
        )
    numbers = torch.arange(ids.shape[module.batch_axis], device=ids.device)
    return numbers.unsqueeze(1) if module.batch_first else numbers
