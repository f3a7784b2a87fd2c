"""Monte-Carlo prediction: many samples of a model's output, several in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from recurdrop.errors import invalid
from recurdrop.masks import seeded, seeds
from recurdrop.nn.hold import (
    HeldMasks,
    Record,
    examples_in,
    held_by,
    holding,
    is_noisy,
    is_shared_by_batch,
    masked_modules,
    refuse_compiled,
)
from recurdrop.nn.noise_module import NoiseModule
from recurdrop.uncertainty.batches import batch_of, joined, repeated, rows_of
from recurdrop.uncertainty.mode import mc_dropout
from recurdrop.uncertainty.prediction import Prediction
from recurdrop.uncertainty.thread_modes import watching

Output = Literal["values", "logits", "log_probs", "probs"]
ROWS = 1024
"""Examples of a pass, samples counted, unless `chunk` says otherwise."""


def mc_predict(
    model: nn.Module,
    *args: Any,
    samples: int = 100,
    in_dims: int | Sequence[int] = 1,
    out_dim: int | None = None,
    output: Output = "values",
    class_dim: int = -1,
    select: Callable[[Any], Tensor] | None = None,
    state: Any = None,
    carry: Callable[[Any], Any] | None = None,
    chunk: int | None = None,
    keep: bool = True,
    also: Iterable[type[nn.Module]] = (),
    generator: torch.Generator | None = None,
) -> Prediction:
    """Predict by Monte-Carlo dropout: mean and spread over samples of the model's noise.

    Equation:
        mean = 1/S Σ_s f(x; m_s), m_s the masks of sample s; for classes f are probabilities, whatever the model
        returns, since the mean of log-probabilities is another thing (and never above the log of the mean).
    Masks:
        Those of layers and modules of ours are held for sample s over the whole call, and inside `hold_masks` over
        calls, so that windows of a stream may be given one by one. They depend on s and not on `chunk`; but
        `rd.nn.Dropout` without a `noise_shape`, which does not know the axis of examples, draws once for all samples of
        a pass, each element on its own. Torch's own dropout draws as it does. Modes are those of `mc_dropout`; no
        gradient is taken.
    Passes:
        Samples lie side by side as examples, s·B + b, up to `chunk` samples in a pass. Where examples share a mask
        (weight drop and its like; a `noise_shape`), a pass has one sample.
    Source:
        Gal & Ghahramani 2016, arXiv:1512.05287, sec. 5: 1000 samples for language models; arXiv:1506.02142.

    Args:
        model: any module in which examples do not meet.
        *args: of the model: tensors, or tuples, lists and dicts of them.
        samples: S, 2 or more.
        in_dims: the axis of examples in every tensor of the arguments, or one for each argument: 1 for (T, B, F),
            0 for (B, T, F).
        out_dim: the axis of examples in the output; None for that of the first argument.
        output: what the model returns: "values" (regression), "logits" (before softmax), "log_probs", "probs".
        class_dim: the axis of classes in the output, unless it has values.
        select: takes the output tensor out of what the model returns, needed if that is no tensor:
            `lambda returned: returned[0]`.
        state: the carried state of all samples, S·B examples on axis 1 as in torch's layers: `state` of the
            prediction before. Given to the model as its last argument, if not None.
        carry: takes the state out of what the model returns: `lambda returned: returned[1]`.
        chunk: samples of a pass at most. None: as many as have 1024 examples together, at least one.
        keep: whether to return the samples; without them memory does not grow with S.
        also: as for `mc_dropout`.
        generator: gives the one integer from which the masks of layers and modules of ours are drawn; torch's default
            CPU generator if None. Threads that share that one get its numbers in no certain order, so give each call a
            generator of its own where several threads predict and results must repeat.

    Returns:
        A `Prediction`, which unpacks as mean, std, samples. Half precision is averaged in float32.

    Raises:
        ValueError: arguments out of range; an output or a recurrent layer whose batch is not that of `in_dims`;
            a compiled model.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise invalid("samples must be an integer of 2 or more", samples, "Give e.g. 100.")
    if output not in get_args(Output):
        raise invalid(f"output must be one of {', '.join(map(repr, get_args(Output)))}", output, "Choose one of them.")
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise invalid("chunk must be an integer of 1 or more, or None", chunk, "Give samples of a pass.")
    refuse_compiled(model)
    batch = batch_of(args, in_dims)
    axis = out_dim if out_dim is not None else in_dims if isinstance(in_dims, int) else in_dims[0]
    size = min(samples, chunk or max(1, ROWS // max(1, batch)))
    if any(is_noisy(module) and is_shared_by_batch(module) for module in model.modules()):
        size = 1
    moments, kept, states = _Moments(), [], []
    with torch.no_grad(), mc_dropout(model, also=also), _sampling(model, samples, generator) as records:
        for start in range(0, samples, size):
            count = min(size, samples - start)
            for record, each in records:
                record.samples = each[start : start + count]
            given = repeated(args, in_dims, count)
            if state is not None:
                given.append(rows_of(state, start * batch, count * batch, samples * batch))
            with _checking(count * batch):
                returned = model(*given)
            values = _samples(returned, select, axis, count, batch, output, class_dim)
            moments.add(values)
            if keep:
                kept.append(values)
            if carry is not None:
                states.append(carry(returned))
    return Prediction(
        *moments.result(),
        torch.cat(kept) if keep else None,
        joined(states) if states else None,
        None if output == "values" else class_dim,
    )


@contextmanager
def _sampling(
    model: nn.Module, samples: int, generator: torch.Generator | None
) -> Iterator[list[tuple[Record, list[int]]]]:
    """Hold the masks of all modules that hold none yet; yield each record with the seeds of its samples."""
    modules = masked_modules(model)
    new = HeldMasks([module for module in modules if held_by(module) is None], generator)
    with holding(new.records):
        records = [record for module in modules if (record := held_by(module)) is not None]
        try:
            yield [(record, seeds(samples, seeded(record.seed))) for record in records]
        finally:
            for record in records:
                record.samples = None


@contextmanager
def _checking(rows: int) -> Iterator[None]:
    """Refuse a pass in which a layer has another batch than the samples': in_dims is then wrong."""

    def check(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not isinstance(layer, nn.RNNBase | NoiseModule):
            return
        batch = examples_in(layer, args[0] if args else kwargs["input"])
        if batch is not None and batch % rows:
            raise invalid(
                f"{type(layer).__name__} must have the {rows} examples of this pass in its batch",
                f"a batch of {batch}",
                "Give the axis of examples as in_dims: 1 for (T, B, F), 0 for (B, T, F). See to its batch_first.",
            )

    with watching(check):
        yield


def _samples(
    returned: Any,
    select: Callable[[Any], Tensor] | None,
    out_dim: int,
    count: int,
    batch: int,
    output: Output,
    class_dim: int,
) -> Tensor:
    """Return (samples, ...) values or probabilities."""
    y = returned if select is None else select(returned)
    if not isinstance(y, Tensor):
        remedy = "Say with select= which tensor it is, e.g. select=lambda returned: returned[0]."
        raise invalid("the model's output must be a tensor", type(y).__name__, remedy)
    if not -y.dim() <= out_dim < y.dim() or y.shape[out_dim] != count * batch:
        raise invalid(
            f"the output must have {count * batch} examples on axis {out_dim}",
            tuple(y.shape),
            "Give their axis as out_dim.",
        )
    y = y.to(torch.promote_types(y.dtype, torch.float32))
    if output == "logits":
        y = y.softmax(class_dim)
    elif output == "log_probs":
        y = y.exp()
    axis = out_dim % y.dim()
    values: Tensor = y.unflatten(axis, (count, batch)).movedim(axis, 0)
    return values


class _Moments:
    """Mean and standard deviation, sample by sample, so that they don't depend on the passes (Welford 1962)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, values: Tensor) -> None:
        for value in values:
            self.count += 1
            gap = value - self.mean
            self.mean = self.mean + gap / self.count
            self.squares = self.squares + gap * (value - self.mean)

    def result(self) -> tuple[Tensor, Tensor]:
        return self.mean, (self.squares / (self.count - 1)).sqrt()
